/** Snapshots, checkpoints, backups. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, int, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, none } from '../procedure.ts';
import { domain, domainCheckpoint, domainSnapshot, optionalText, text } from '../structs.ts';

/** The same flag in all of their XML: what read-only connections may not ask for. */
const XML_SECURE = 1;

export const DOMAIN_SNAPSHOT_PROCEDURES = {
  domainSnapshotCreateXml: call(
    185,
    'virDomainSnapshotCreateXML',
    { dom: domain, xmlDesc: text, flags: uint },
    { snap: domainSnapshot },
    { writes: true },
  ),
  domainSnapshotGetXmlDesc: call(
    186,
    'virDomainSnapshotGetXMLDesc',
    { snap: domainSnapshot, flags: uint },
    { xml: text },
    { writesWhen: ({ flags }) => (flags & XML_SECURE) !== 0 },
  ),
  domainSnapshotNum: call(187, 'virDomainSnapshotNum', { dom: domain, flags: uint }, { num: int }),
  domainSnapshotListNames: call(
    188,
    'virDomainSnapshotListNames',
    { dom: domain, maxnames: int, flags: uint },
    { names: array(text, Max.domainSnapshotList) },
  ),
  domainSnapshotLookupByName: call(
    189,
    'virDomainSnapshotLookupByName',
    { dom: domain, name: text, flags: uint },
    { snap: domainSnapshot },
  ),
  domainHasCurrentSnapshot: call(190, 'virDomainHasCurrentSnapshot', { dom: domain, flags: uint }, { result: int }),
  domainSnapshotCurrent: call(191, 'virDomainSnapshotCurrent', { dom: domain, flags: uint }, { snap: domainSnapshot }),
  domainRevertToSnapshot: call(192, 'virDomainRevertToSnapshot', { snap: domainSnapshot, flags: uint }, none, {
    writes: true,
  }),
  domainSnapshotDelete: call(193, 'virDomainSnapshotDelete', { snap: domainSnapshot, flags: uint }, none, {
    writes: true,
  }),
  domainSnapshotGetParent: call(
    244,
    'virDomainSnapshotGetParent',
    { snap: domainSnapshot, flags: uint },
    { snap: domainSnapshot },
  ),
  domainSnapshotNumChildren: call(
    246,
    'virDomainSnapshotNumChildren',
    { snap: domainSnapshot, flags: uint },
    { num: int },
  ),
  domainSnapshotListChildrenNames: call(
    247,
    'virDomainSnapshotListChildrenNames',
    { snap: domainSnapshot, maxnames: int, flags: uint },
    { names: array(text, Max.domainSnapshotList) },
  ),
  domainSnapshotIsCurrent: call(
    271,
    'virDomainSnapshotIsCurrent',
    { snap: domainSnapshot, flags: uint },
    { current: int },
  ),
  domainSnapshotHasMetadata: call(
    272,
    'virDomainSnapshotHasMetadata',
    { snap: domainSnapshot, flags: uint },
    { metadata: int },
  ),
  domainListAllSnapshots: call(
    274,
    'virDomainListAllSnapshots',
    { dom: domain, needResults: int, flags: uint },
    { snapshots: array(domainSnapshot, Max.domainSnapshotList), ret: int },
  ),
  domainSnapshotListAllChildren: call(
    275,
    'virDomainSnapshotListAllChildren',
    { snapshot: domainSnapshot, needResults: int, flags: uint },
    { snapshots: array(domainSnapshot, Max.domainSnapshotList), ret: int },
  ),
  domainCheckpointCreateXml: call(
    411,
    'virDomainCheckpointCreateXML',
    { dom: domain, xmlDesc: text, flags: uint },
    { checkpoint: domainCheckpoint },
    { writes: true },
  ),
  domainCheckpointGetXmlDesc: call(
    412,
    'virDomainCheckpointGetXMLDesc',
    { checkpoint: domainCheckpoint, flags: uint },
    { xml: text },
    { writesWhen: ({ flags }) => (flags & XML_SECURE) !== 0 },
  ),
  domainListAllCheckpoints: call(
    413,
    'virDomainListAllCheckpoints',
    { dom: domain, needResults: int, flags: uint },
    { checkpoints: array(domainCheckpoint, Max.domainCheckpointList), ret: int },
  ),
  domainCheckpointListAllChildren: call(
    414,
    'virDomainCheckpointListAllChildren',
    { checkpoint: domainCheckpoint, needResults: int, flags: uint },
    { checkpoints: array(domainCheckpoint, Max.domainCheckpointList), ret: int },
  ),
  domainCheckpointLookupByName: call(
    415,
    'virDomainCheckpointLookupByName',
    { dom: domain, name: text, flags: uint },
    { checkpoint: domainCheckpoint },
  ),
  domainCheckpointGetParent: call(
    416,
    'virDomainCheckpointGetParent',
    { checkpoint: domainCheckpoint, flags: uint },
    { parent: domainCheckpoint },
  ),
  domainCheckpointDelete: call(417, 'virDomainCheckpointDelete', { checkpoint: domainCheckpoint, flags: uint }, none, {
    writes: true,
  }),
  domainBackupBegin: call(
    421,
    'virDomainBackupBegin',
    { dom: domain, backupXml: text, checkpointXml: optionalText, flags: uint },
    none,
    { writes: true },
  ),
  domainBackupGetXmlDesc: call(422, 'virDomainBackupGetXMLDesc', { dom: domain, flags: uint }, { xml: text }),
} as const;

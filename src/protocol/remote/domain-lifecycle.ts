/** Domains: definition, start and end, state, saving. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { int, uhyper, uint } from '../../xdr/codec.ts';
import { call, none } from '../procedure.ts';
import { domain, optionalText, text, uuid } from '../structs.ts';

/** virDomainXMLFlags: what read-only connections may not ask for. */
const XML_SECURE = 1;
const XML_MIGRATABLE = 8;

export const DOMAIN_LIFECYCLE_PROCEDURES = {
  domainCreate: call(9, 'virDomainCreate', { dom: domain }, none, { writes: true }),
  domainCreateXml: call(10, 'virDomainCreateXML', { xmlDesc: text, flags: uint }, { dom: domain }, { writes: true }),
  domainDefineXml: call(11, 'virDomainDefineXML', { xml: text }, { dom: domain }, { writes: true }),
  domainDestroy: call(12, 'virDomainDestroy', { dom: domain }, none, { writes: true }),
  domainGetXmlDesc: call(
    14,
    'virDomainGetXMLDesc',
    { dom: domain, flags: uint },
    { xml: text },
    { writesWhen: ({ flags }) => (flags & (XML_SECURE | XML_MIGRATABLE)) !== 0 },
  ),
  domainGetAutostart: call(15, 'virDomainGetAutostart', { dom: domain }, { autostart: int }),
  domainGetInfo: call(
    16,
    'virDomainGetInfo',
    { dom: domain },
    { state: uint, maxMem: uhyper, memory: uhyper, nrVirtCpu: uint, cpuTime: uhyper },
  ),
  domainGetOsType: call(19, 'virDomainGetOSType', { dom: domain }, { type: text }),
  domainLookupById: call(22, 'virDomainLookupByID', { id: int }, { dom: domain }),
  domainLookupByName: call(23, 'virDomainLookupByName', { name: text }, { dom: domain }),
  domainLookupByUuid: call(24, 'virDomainLookupByUUID', { uuid }, { dom: domain }),
  domainReboot: call(27, 'virDomainReboot', { dom: domain, flags: uint }, none, { writes: true }),
  domainResume: call(28, 'virDomainResume', { dom: domain }, none, { writes: true }),
  domainSetAutostart: call(29, 'virDomainSetAutostart', { dom: domain, autostart: int }, none, { writes: true }),
  domainShutdown: call(33, 'virDomainShutdown', { dom: domain }, none, { writes: true }),
  domainSuspend: call(34, 'virDomainSuspend', { dom: domain }, none, { writes: true }),
  domainUndefine: call(35, 'virDomainUndefine', { dom: domain }, none, { writes: true }),
  domainCoreDump: call(53, 'virDomainCoreDump', { dom: domain, to: text, flags: uint }, none, { writes: true }),
  domainRestore: call(54, 'virDomainRestore', { from: text }, none, { writes: true }),
  domainSave: call(55, 'virDomainSave', { dom: domain, to: text }, none, { writes: true }),
  domainIsActive: call(150, 'virDomainIsActive', { dom: domain }, { active: int }),
  domainIsPersistent: call(151, 'virDomainIsPersistent', { dom: domain }, { persistent: int }),
  domainManagedSave: call(182, 'virDomainManagedSave', { dom: domain, flags: uint }, none, { writes: true }),
  domainHasManagedSaveImage: call(183, 'virDomainHasManagedSaveImage', { dom: domain, flags: uint }, { result: int }),
  domainManagedSaveRemove: call(184, 'virDomainManagedSaveRemove', { dom: domain, flags: uint }, none, {
    writes: true,
  }),
  domainCreateWithFlags: call(
    196,
    'virDomainCreateWithFlags',
    { dom: domain, flags: uint },
    { dom: domain },
    { writes: true },
  ),
  domainIsUpdated: call(202, 'virDomainIsUpdated', { dom: domain }, { updated: int }),
  domainGetState: call(212, 'virDomainGetState', { dom: domain, flags: uint }, { state: int, reason: int }),
  domainUndefineFlags: call(231, 'virDomainUndefineFlags', { dom: domain, flags: uint }, none, { writes: true }),
  domainSaveFlags: call(232, 'virDomainSaveFlags', { dom: domain, to: text, dxml: optionalText, flags: uint }, none, {
    writes: true,
  }),
  domainRestoreFlags: call(233, 'virDomainRestoreFlags', { from: text, dxml: optionalText, flags: uint }, none, {
    writes: true,
  }),
  domainDestroyFlags: call(234, 'virDomainDestroyFlags', { dom: domain, flags: uint }, none, { writes: true }),
  domainSaveImageGetXmlDesc: call(
    235,
    'virDomainSaveImageGetXMLDesc',
    { file: text, flags: uint },
    { xml: text },
    { writes: true },
  ),
  domainSaveImageDefineXml: call(236, 'virDomainSaveImageDefineXML', { file: text, dxml: text, flags: uint }, none, {
    writes: true,
  }),
  domainReset: call(245, 'virDomainReset', { dom: domain, flags: uint }, none, { writes: true }),
  domainShutdownFlags: call(258, 'virDomainShutdownFlags', { dom: domain, flags: uint }, none, { writes: true }),
  domainCreateXmlWithFiles: call(
    309,
    'virDomainCreateXMLWithFiles',
    { xmlDesc: text, flags: uint },
    { dom: domain },
    { writes: true },
  ),
  domainCreateWithFiles: call(
    310,
    'virDomainCreateWithFiles',
    { dom: domain, flags: uint },
    { dom: domain },
    { writes: true },
  ),
  domainCoreDumpWithFormat: call(
    334,
    'virDomainCoreDumpWithFormat',
    { dom: domain, to: text, dumpformat: uint, flags: uint },
    none,
    { writes: true },
  ),
  domainDefineXmlFlags: call(
    350,
    'virDomainDefineXMLFlags',
    { xml: text, flags: uint },
    { dom: domain },
    { writes: true },
  ),
  domainRename: call(
    358,
    'virDomainRename',
    { dom: domain, newName: optionalText, flags: uint },
    { retcode: int },
    { writes: true },
  ),
  domainManagedSaveGetXmlDesc: call(
    388,
    'virDomainManagedSaveGetXMLDesc',
    { dom: domain, flags: uint },
    { xml: text },
    { writesWhen: ({ flags }) => (flags & XML_SECURE) !== 0 },
  ),
  domainManagedSaveDefineXml: call(
    389,
    'virDomainManagedSaveDefineXML',
    { dom: domain, dxml: optionalText, flags: uint },
    none,
    { writes: true },
  ),
  domainSetLifecycleAction: call(
    390,
    'virDomainSetLifecycleAction',
    { dom: domain, type: uint, action: uint, flags: uint },
    none,
    { writes: true },
  ),
  domainGraphicsReload: call(448, 'virDomainGraphicsReload', { dom: domain, type: uint, flags: uint }, none, {
    writes: true,
  }),
  domainGetAutostartOnce: call(449, 'virDomainGetAutostartOnce', { dom: domain }, { autostart: int }),
  domainSetAutostartOnce: call(450, 'virDomainSetAutostartOnce', { dom: domain, autostart: int }, none, {
    writes: true,
  }),
} as const;

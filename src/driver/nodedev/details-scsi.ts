/** SCSI hosts with their Fibre Channel sides, targets and devices. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Described, DetailSources } from './details.ts';
import { cleanText, parseNumber, readText, type SysDevice } from './sys-device.ts';

interface ClassDevice {
  /** Undefined where there is no such attribute. */
  readonly read: (attribute: string) => string | undefined;
  readonly has: (attribute: string) => boolean;
}

function classDevice(sys: string, kind: string, name: string): ClassDevice {
  const dir = join(sys, 'class', kind, name);
  return {
    read: (attribute) => cleanText(readText(join(dir, attribute))),
    has: (attribute) => existsSync(join(dir, attribute)),
  };
}

export function describeScsiHost(device: SysDevice, { sys }: DetailSources): Described | undefined {
  const host = parseNumber(/^host(\d+)$/.exec(device.name)?.[1]);
  if (host === undefined) return undefined;
  const unique = parseNumber(classDevice(sys, 'scsi_host', device.name).read('unique_id'));
  const channel = fibreChannel(classDevice(sys, 'fc_host', device.name));
  const ports = ['fc_host', 'scsi_host'].flatMap((kind) => virtualPorts(classDevice(sys, kind, device.name)));
  return {
    details: { type: 'scsi_host', host, unique_id: unique, capability: [...channel, ...ports.slice(0, 1)] },
  };
}

function fibreChannel({
  read,
}: ClassDevice): { type: 'fc_host'; wwnn: string; wwpn: string; fabric_wwn?: string | undefined }[] {
  const [wwpn, wwnn, fabric] = ['port_name', 'node_name', 'fabric_name'].map((name) => bareWwn(read(name)));
  return wwpn === undefined || wwnn === undefined ? [] : [{ type: 'fc_host', wwnn, wwpn, fabric_wwn: fabric }];
}

function virtualPorts({ read, has }: ClassDevice): { type: 'vport_ops'; max_vports: number; vports: number }[] {
  // Whoever can make them has a file for it, which only root may write, and nobody read.
  if (!has('vport_create')) return [];
  const max = parseNumber(read('max_npiv_vports'));
  const used = parseNumber(read('npiv_vports_inuse'));
  return max === undefined || used === undefined ? [] : [{ type: 'vport_ops', max_vports: max, vports: used }];
}

function bareWwn(text: string | undefined): string | undefined {
  return text?.replace(/^0x/, '');
}

export function describeScsiTarget(device: SysDevice, { sys }: DetailSources): Described {
  const rport = device.path.split('/').find((part) => part.startsWith('rport-'));
  const wwpn = rport === undefined ? undefined : classDevice(sys, 'fc_remote_ports', rport).read('port_name');
  return {
    details: {
      type: 'scsi_target',
      target: device.name,
      capability: rport === undefined || wwpn === undefined ? [] : [{ type: 'fc_remote_port', rport, wwpn }],
    },
  };
}

/** By number; others have no name. */
const TYPES: Readonly<Record<number, string>> = {
  0: 'disk',
  1: 'tape',
  3: 'processor',
  4: 'worm',
  5: 'cdrom',
  6: 'scanner',
  7: 'mod',
  8: 'changer',
  12: 'raid',
  13: 'enclosure',
};

export function describeScsi(device: SysDevice): Described | undefined {
  const [host, bus, target, lun] = device.name.split(':').map((part) => parseNumber(part));
  if (host === undefined || bus === undefined || target === undefined || lun === undefined) return undefined;
  return {
    details: { type: 'scsi', host, bus, target, lun, scsiType: TYPES[device.number('type') ?? -1] },
  };
}

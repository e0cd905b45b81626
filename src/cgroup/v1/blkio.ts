/** Disk traffic in cgroup v1. Its twin is `../v2/io.ts`. */
import { existsSync } from 'node:fs';
import type { CgroupAction } from '../action.ts';
import { blockDeviceNumber, blockDevicePath } from '../block-device.ts';
import { readIfThere, readNumber, requireRange, write } from '../files.ts';
import type { BlkioDeviceTuning, BlkioTuning } from '../tuning.ts';

const THROTTLES = [
  ['readBytesSec', 'blkio.throttle.read_bps_device'],
  ['writeBytesSec', 'blkio.throttle.write_bps_device'],
  ['readIopsSec', 'blkio.throttle.read_iops_device'],
  ['writeIopsSec', 'blkio.throttle.write_iops_device'],
] as const satisfies readonly (readonly [keyof BlkioDeviceTuning, string])[];

/** `numberOf` tells a device's number from its node's path. */
export function setBlkio(directory: string, tuning: BlkioTuning, numberOf = blockDeviceNumber): CgroupAction[] {
  const actions: CgroupAction[] = [];
  if (tuning.weight !== undefined) actions.push(setWeight(directory, tuning.weight));
  for (const device of tuning.devices ?? []) {
    for (const [field, file] of THROTTLES) {
      const value = device[field];
      if (value !== undefined)
        actions.push(write(directory, file, `${numberOf(device.path, directory, file)} ${value}`));
    }
    if (device.weight === undefined) continue;
    const file = bfqFile(directory, 'blkio.weight_device', 'blkio.bfq.weight_device');
    // 0 gives it the group's own weight again.
    if (device.weight !== 0) requireWeight(device.weight, directory, file);
    actions.push(write(directory, file, `${numberOf(device.path, directory, file)} ${device.weight}`));
  }
  return actions;
}

/** CFQ's file is gone with Linux 5.0; BFQ has one of its own, with another range. */
function setWeight(directory: string, weight: number): CgroupAction {
  const file = bfqFile(directory, 'blkio.weight', 'blkio.bfq.weight');
  requireWeight(weight, directory, file);
  return write(directory, file, weight);
}

function requireWeight(weight: number, directory: string, file: string): void {
  requireRange('the weight', weight, { min: file.startsWith('blkio.bfq.') ? 1 : 100, max: 1000, directory, file });
}

/** The group may not be there yet: then its parent tells what the kernel has. */
function bfqFile(directory: string, file: string, bfqFileName: string): string {
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  const isThere = (name: string): boolean => existsSync(`${directory}/${name}`) || existsSync(`${parent}/${name}`);
  return !isThere(file) && isThere(bfqFileName) ? bfqFileName : file;
}

/** Devices are those that have a limit or a weight of their own. */
export function readBlkio(directory: string, pathOf = blockDevicePath): BlkioTuning {
  const devices = new Map<string, BlkioDeviceTuning>();
  const weights = ['blkio.weight_device', 'blkio.bfq.weight_device'].map((file) => ['weight', file] as const);
  for (const [field, file] of [...weights, ...THROTTLES]) {
    for (const line of (readIfThere(directory, file) ?? '').split('\n')) {
      const [number, value] = line.split(/\s+/);
      // BFQ's file begins with `default 100`.
      if (number === undefined || value === undefined || !number.includes(':')) continue;
      devices.set(number, { ...(devices.get(number) ?? { path: pathOf(number) }), [field]: Number(value) });
    }
  }
  return {
    weight: readNumber(directory, 'blkio.weight') ?? readDefault(directory, 'blkio.bfq.weight'),
    ...(devices.size === 0 ? {} : { devices: [...devices.values()] }),
  };
}

/** `default 100` with Linux 5.x, `100` before. */
function readDefault(directory: string, file: string): number | undefined {
  const weight = /^(?:default )?(\d+)$/m.exec(readIfThere(directory, file) ?? '')?.[1];
  return weight === undefined ? undefined : Number(weight);
}

/** What went to and from one device. */
export interface IoStats {
  /** `8:0`. */
  readonly device: string;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly readOps: number;
  readonly writeOps: number;
}

/** The throttling layer counts everything, whatever the scheduler. */
export function statBlkio(directory: string): IoStats[] {
  const devices = new Map<string, { readBytes: number; writeBytes: number; readOps: number; writeOps: number }>();
  const count = (file: string, read: 'readBytes' | 'readOps', written: 'writeBytes' | 'writeOps'): void => {
    for (const line of (readIfThere(directory, file) ?? '').split('\n')) {
      const [device, direction, value] = line.split(' ');
      if (device === undefined || value === undefined || (direction !== 'Read' && direction !== 'Write')) continue;
      const entry = devices.get(device) ?? { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 };
      entry[direction === 'Read' ? read : written] = Number(value);
      devices.set(device, entry);
    }
  };
  count('blkio.throttle.io_service_bytes', 'readBytes', 'writeBytes');
  count('blkio.throttle.io_serviced', 'readOps', 'writeOps');
  return [...devices].map(([device, stats]) => ({ device, ...stats }));
}

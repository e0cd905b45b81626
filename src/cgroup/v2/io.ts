/** Disk traffic in cgroup v2. Its twin is `../v1/blkio.ts`. */
import { existsSync } from 'node:fs';
import type { CgroupAction } from '../action.ts';
import { blockDeviceNumber } from '../block-device.ts';
import { readIfThere, requireRange, write } from '../files.ts';
import type { BlkioTuning } from '../tuning.ts';
import type { IoStats } from '../v1/blkio.ts';

const THROTTLES = [
  ['readBytesSec', 'rbps'],
  ['writeBytesSec', 'wbps'],
  ['readIopsSec', 'riops'],
  ['writeIopsSec', 'wiops'],
] as const;

/** `numberOf` tells a device's number from its node's path. */
export function setIo(directory: string, tuning: BlkioTuning, numberOf = blockDeviceNumber): CgroupAction[] {
  const actions: CgroupAction[] = [];
  const weightFile = ioWeightFile(directory);
  if (tuning.weight !== undefined) {
    requireRange('the weight', tuning.weight, { min: 1, max: 10_000, directory, file: weightFile });
    actions.push(write(directory, weightFile, `default ${tuning.weight}`));
  }
  for (const device of tuning.devices ?? []) {
    const limits = THROTTLES.flatMap(([field, key]) => {
      const value = device[field];
      return value === undefined ? [] : [`${key}=${value === 0 ? 'max' : value}`];
    });
    if (limits.length > 0) {
      actions.push(write(directory, 'io.max', `${numberOf(device.path, directory, 'io.max')} ${limits.join(' ')}`));
    }
    if (device.weight !== undefined) {
      actions.push(write(directory, weightFile, `${numberOf(device.path, directory, weightFile)} ${device.weight}`));
    }
  }
  return actions;
}

/** io.cost's file, else BFQ's. The group may not be there yet: then one beside or above it tells what the kernel has. */
function ioWeightFile(directory: string): string {
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  const isThere = (name: string): boolean => existsSync(`${directory}/${name}`) || existsSync(`${parent}/${name}`);
  return !isThere('io.weight') && isThere('io.bfq.weight') ? 'io.bfq.weight' : 'io.weight';
}

export function readIo(directory: string): BlkioTuning {
  const text = readIfThere(directory, 'io.weight') ?? readIfThere(directory, 'io.bfq.weight') ?? '';
  const weight = /^(?:default )?(\d+)$/m.exec(text)?.[1];
  return { weight: weight === undefined ? undefined : Number(weight) };
}

export function statIo(directory: string): IoStats[] {
  return (readIfThere(directory, 'io.stat') ?? '').split('\n').flatMap((line): IoStats[] => {
    const [device, ...fields] = line.trim().split(' ');
    if (device === undefined || !device.includes(':')) return [];
    const values = new Map(fields.map((field) => field.split('=')).map(([key = '', value]) => [key, Number(value)]));
    const of = (key: string): number => values.get(key) ?? 0;
    return [{ device, readBytes: of('rbytes'), writeBytes: of('wbytes'), readOps: of('rios'), writeOps: of('wios') }];
  });
}

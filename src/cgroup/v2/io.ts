/** Disk traffic in cgroup v2. Its twin is `../v1/blkio.ts`. */
import { existsSync } from 'node:fs';
import type { CgroupAction } from '../action.ts';
import { blockDeviceNumber, blockDevicePath } from '../block-device.ts';
import { readIfThere, requireRange, write } from '../files.ts';
import type { BlkioDeviceTuning, BlkioTuning } from '../tuning.ts';
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
    requireWeight(tuning.weight, directory, weightFile);
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
      const number = numberOf(device.path, directory, weightFile);
      if (device.weight !== 0) requireWeight(device.weight, directory, weightFile);
      actions.push(write(directory, weightFile, `${number} ${device.weight === 0 ? 'default' : device.weight}`));
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

/** BFQ's own range is smaller than io.cost's. */
function requireWeight(weight: number, directory: string, file: string): void {
  requireRange('the weight', weight, { min: 1, max: file === 'io.bfq.weight' ? 1000 : 10_000, directory, file });
}

/** Devices are those that have a limit or a weight of their own; what is unlimited is 0. */
export function readIo(directory: string, pathOf = blockDevicePath): BlkioTuning {
  const weights = readIfThere(directory, 'io.weight') ?? readIfThere(directory, 'io.bfq.weight') ?? '';
  const weight = /^(?:default )?(\d+)$/m.exec(weights)?.[1];
  const devices = new Map<string, BlkioDeviceTuning>();
  for (const [, number = '', value] of weights.matchAll(/^(\d+:\d+) (\d+)$/gm)) {
    devices.set(number, { path: pathOf(number), weight: Number(value) });
  }
  for (const line of (readIfThere(directory, 'io.max') ?? '').split('\n')) {
    const [number = '', ...fields] = line.trim().split(' ');
    if (!number.includes(':')) continue;
    const limits = fields.flatMap((field): [string, number][] => {
      const [key, value] = field.split('=');
      const name = THROTTLES.find(([, kernelName]) => kernelName === key)?.[0];
      return name === undefined ? [] : [[name, value === 'max' ? 0 : Number(value)]];
    });
    devices.set(number, { ...(devices.get(number) ?? { path: pathOf(number) }), ...Object.fromEntries(limits) });
  }
  return {
    weight: weight === undefined ? undefined : Number(weight),
    ...(devices.size === 0 ? {} : { devices: [...devices.values()] }),
  };
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

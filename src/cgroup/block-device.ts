/** Block devices by number, as the I/O controllers name them. */
import { readFileSync, statSync } from 'node:fs';
import { CgroupError } from './action.ts';

/** Linux's `dev_t` as Node reports it. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const value = BigInt(rdev);
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n);
  const minor = (value & 0xffn) | ((value >> 12n) & 0xffffff00n);
  return { major: Number(major), minor: Number(minor) };
}

/** `8:0`. @throws CgroupError for what is no block device */
export function blockDeviceNumber(path: string, directory: string, file: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  const refuse = (rule: string, fix: string): CgroupError =>
    new CgroupError({ operation: 'write', directory, file, value: path, rule, fix });
  if (stats === undefined) throw refuse(`${path} does not exist`, 'correct <path>');
  if (!stats.isBlockDevice())
    throw refuse(`${path} is not a block device`, 'name the node of a whole disk, as /dev/sda');
  const { major, minor } = deviceNumbers(stats.rdev);
  return `${major}:${minor}`;
}

/** The node of a device by its number (`8:0`), as udev and devtmpfs name it; where sysfs does not know, by the number itself. */
export function blockDevicePath(number: string, sysDevBlock = '/sys/dev/block'): string {
  try {
    const name = /^DEVNAME=(.+)$/m.exec(readFileSync(`${sysDevBlock}/${number}/uevent`, 'utf8'))?.[1];
    if (name !== undefined) return `/dev/${name}`;
  } catch {
    // Gone, or no sysfs here: the number says which it was.
  }
  return `/dev/block/${number}`;
}

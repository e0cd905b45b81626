/** The whole disk, if it is one, on which a file lies: cgroups limit those, not parts of them and no file systems in memory. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { deviceNumbers } from '../../src/cgroup/block-device.ts';

export function wholeDiskOf(path: string): { number: string; path: string } | undefined {
  const { major, minor } = deviceNumbers(statSync(path).dev);
  const sysfs = `/sys/dev/block/${major}:${minor}`;
  const name = existsSync(sysfs) ? /^DEVNAME=(.+)$/m.exec(readFileSync(`${sysfs}/uevent`, 'utf8'))?.[1] : undefined;
  return name === undefined || existsSync(`${sysfs}/partition`)
    ? undefined
    : { number: `${major}:${minor}`, path: `/dev/${name}` };
}

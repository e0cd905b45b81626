/** Which network devices there are, read from /proc: that of sysfs may be another network namespace's. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Names of the network devices of this network namespace. */
export function listDevices(proc = '/proc'): string[] {
  return readFileSync(join(proc, 'net/dev'), 'utf8')
    .split('\n')
    .flatMap((line) => (line.includes(':') ? [line.slice(0, line.indexOf(':')).trim()] : []));
}

/** What is mounted where, and how a mount that a crashed process has left is undone. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Remover } from '../core/ledger-removers.ts';
import { findProgram } from '../process/find-program.ts';

const runFile = promisify(execFile);

export interface Mount {
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
}

/** All mounts of this namespace, in the order in which they were made (proc_pid_mountinfo(5)). */
export function readMounts(mountInfoPath = '/proc/self/mountinfo'): Mount[] {
  return readFileSync(mountInfoPath, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const fields = line.split(' ');
      const dash = fields.indexOf('-', 6);
      const [mountPoint, type, source] = [fields[4], fields[dash + 1], fields[dash + 2]];
      if (dash < 0 || mountPoint === undefined || type === undefined || source === undefined) return [];
      return [{ mountPoint: unescape(mountPoint), type, source: unescape(source) }];
    });
}

/** The topmost mount at exactly that path. */
export function findMount(path: string, mountInfoPath?: string): Mount | undefined {
  return readMounts(mountInfoPath).findLast(({ mountPoint }) => mountPoint === path);
}

/** `mount` `{path, source}`: unmounted where that source is still mounted there. */
export const MOUNT_REMOVERS = {
  mount: async ({ path, source }) => {
    if (typeof path !== 'string' || typeof source !== 'string') throw new TypeError('its record has no path or source');
    if (findMount(path)?.source !== source) return;
    await runFile(findProgram('umount'), [path]);
  },
} as const satisfies Readonly<Record<string, Remover>>;

/** Space, tab, newline and backslash are in octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

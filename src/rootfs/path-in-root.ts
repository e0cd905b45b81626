/**
 * Paths inside a root as its own programs see them: absolute links and `..` stay within it. For reading and writing files of a root that
 * nobody changes meanwhile: there is no openat2(2) in Node, so that a running guest's root needs more than this.
 */
import { lstatSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { failed } from './image-store.ts';

/** As the kernel's own limit. */
const MAX_LINKS = 40;

/**
 * The host's path of `path` in `root`, all links on the way and at its end followed inside. What does not exist yet is taken as it is named.
 * @throws VirtError OPERATION_FAILED for links that go round in circles, or through what is no folder
 */
export function resolveInRoot(root: string, path: string): string {
  const pending = path.split('/').filter((part) => part !== '');
  let inside: string[] = [];
  let links = 0;
  while (pending.length > 0) {
    const part = pending.shift();
    if (part === undefined || part === '.') continue;
    if (part === '..') {
      inside = inside.slice(0, -1);
      continue;
    }
    const here = join(root, ...inside, part);
    const stats = lstatSync(here, { throwIfNoEntry: false });
    if (stats?.isSymbolicLink() === true) {
      if (++links > MAX_LINKS)
        throw failed(`${path} in ${root} is a circle of symbolic links`, ErrorCode.OPERATION_FAILED);
      const target = readlinkSync(here);
      if (target.startsWith('/')) inside = [];
      pending.unshift(...target.split('/').filter((name) => name !== ''));
      continue;
    }
    if (stats !== undefined && !stats.isDirectory() && pending.length > 0) {
      throw failed(`${path} in ${root} leads through ${part}, which is no folder`, ErrorCode.OPERATION_FAILED);
    }
    inside.push(part);
  }
  return join(root, ...inside);
}

/**
 * Whether systemd has handed the caller's v2 group over (`Delegate=`): it marks such groups with an extended attribute, which Node cannot
 * read by itself. Not part of `detectCgroups`, since it loads koffi.
 */
import { loadKoffi } from '../core/koffi.ts';
import { type CgroupHost, v2Hierarchy } from './host.ts';

/** The first since systemd 236, readable by root only; the second since 251. */
const MARKS = ['trusted.delegate', 'user.delegate'];

/** Whether a file has an extended attribute. */
export type HasAttribute = (path: string, name: string) => boolean;

/**
 * The host with `unified.delegation` filled in. A group that was made in a delegated one is delegated too. Where attributes cannot be read
 * (no koffi, no C library) the host is given back as it is.
 */
export async function detectDelegation(host: CgroupHost, hasAttribute?: HasAttribute): Promise<CgroupHost> {
  const { unified } = host;
  const hierarchy = v2Hierarchy(host);
  if (unified === undefined || hierarchy?.ownDirectory === undefined) return host;
  const has = hasAttribute ?? (await loadHasAttribute());
  if (has === undefined) return host;
  const groups = upwards(hierarchy.ownDirectory, hierarchy.mountPoint);
  const isMarked = groups.some((directory) => MARKS.some((name) => has(directory, name)));
  return isMarked ? { ...host, unified: { ...unified, delegation: 'systemd' } } : host;
}

/** A group and those above it, to the top of what is mounted. */
function upwards(directory: string, mountPoint: string): string[] {
  const groups = [directory];
  for (let at = directory; at !== mountPoint && at.startsWith(`${mountPoint}/`); ) {
    at = at.slice(0, at.lastIndexOf('/'));
    groups.push(at);
  }
  return groups;
}

async function loadHasAttribute(): Promise<HasAttribute | undefined> {
  try {
    const koffi = await loadKoffi();
    const getxattr = koffi
      .load(null)
      .func('long getxattr(const char *path, const char *name, void *value, size_t size)');
    return (path, name) => Number(getxattr(path, name, null, 0)) >= 0;
  } catch {
    // An optional package: without it nobody knows, which is what `none` says.
    return undefined;
  }
}

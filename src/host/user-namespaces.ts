/**
 * User namespaces of this host: whether a process may have one, and which ids its user may use in it (`/etc/subuid`, `/etc/subgid`). Facts only;
 * containers and the doctor decide what follows from them.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lookUpProgram } from '../process/find-program.ts';

/** Why there are none, and what to do about it. */
export interface NoUserNamespaces {
  readonly why: string;
  /** A command for root's shell, or advice. */
  readonly fix: string;
  readonly isCommand: boolean;
}

export interface UserNamespaceQuestion {
  /** Root's own: switches for users without rights do not count. */
  readonly isRoot: boolean;
  readonly proc?: string | undefined;
  /** Whether one that was made really gives rights; AppArmor's answer depends on the program. */
  readonly probe?: (() => boolean) | undefined;
}

/** As many ids of the host as a user may use besides its own, from `first` on. */
export interface IdBlock {
  readonly first: number;
  readonly count: number;
}

/** What a user has for the users and groups in its namespaces. */
export interface SubordinateIds {
  readonly uids: readonly IdBlock[];
  readonly gids: readonly IdBlock[];
}

/** @returns undefined where they can be had */
export function whyNoUserNamespaces({
  isRoot,
  proc = '/proc',
  probe = canMakeOne,
}: UserNamespaceQuestion): NoUserNamespaces | undefined {
  const allowed = read(join(proc, 'sys/user/max_user_namespaces'));
  if (allowed === undefined) {
    return { why: 'this kernel has none (CONFIG_USER_NS)', fix: 'use another kernel', isCommand: false };
  }
  if (allowed === '0') return bySysctl('user.max_user_namespaces', '15000', 'user.max_user_namespaces is 0');
  if (isRoot) return undefined;
  if (read(join(proc, 'sys/kernel/unprivileged_userns_clone')) === '0') {
    const name = 'kernel.unprivileged_userns_clone';
    return bySysctl(name, '1', `${name} is 0: they are root's alone`);
  }
  if (read(join(proc, 'sys/kernel/apparmor_restrict_unprivileged_userns')) === '1' && !probe()) {
    const name = 'kernel.apparmor_restrict_unprivileged_userns';
    return bySysctl(name, '0', `AppArmor gives users no rights in them (${name} is 1)`);
  }
  return undefined;
}

/** Whether a user's namespace can have a /proc of its own: the kernel gives it none that shows more than one that is there. */
export function whyNoProc(proc = '/proc'): NoUserNamespaces | undefined {
  const covered = coveredProc(read(join(proc, 'self/mountinfo')) ?? '');
  if (covered === undefined) return undefined;
  return {
    why: `${covered} is covered, as container engines do, and the kernel gives nobody in one a /proc that shows more`,
    fix: 'docker run --security-opt systempaths=unconfined …   # podman: unmask=ALL',
    isCommand: true,
  };
}

function bySysctl(name: string, value: string, why: string): NoUserNamespaces {
  return { why, fix: `sysctl -w ${name}=${value}`, isCommand: true };
}

/** What lies on a part of every /proc that there is; directories that are made for being mounted on do not count. */
function coveredProc(mountinfo: string): string | undefined {
  const mounts = mountinfo
    .split('\n')
    .map((line) => line.split(' - '))
    .map(([place = '', kind = '']) => ({ root: place.split(' ')[3], at: place.split(' ')[4] ?? '', kind }));
  const covers = mounts
    .filter(({ root, kind }) => root === '/' && kind.startsWith('proc '))
    .map(({ at: whole }) =>
      mounts.find(({ at }) => at.startsWith(`${whole}/`) && !isForMounts(at.slice(whole.length))),
    );
  return covers.includes(undefined) ? undefined : covers[0]?.at;
}

function isForMounts(place: string): boolean {
  return PLACES_FOR_MOUNTS.some((known) => place === known || place.startsWith(`${known}/`));
}

const PLACES_FOR_MOUNTS = ['/sys/fs/binfmt_misc', '/fs/nfsd', '/openprom', '/xen'];

/** The user's lines, by its name or number. Without newuidmap and newgidmap they are of no use. */
export function readSubordinateIds(
  { uid, name }: { readonly uid: number; readonly name: string | undefined },
  { etc = '/etc' }: { readonly etc?: string | undefined } = {},
): SubordinateIds {
  const blocks = (file: string): IdBlock[] =>
    (read(join(etc, file)) ?? '').split('\n').flatMap((line) => {
      const [owner, first, count] = line.trim().split(':');
      if (owner === undefined || (owner !== name && owner !== String(uid))) return [];
      const block = { first: Number(first), count: Number(count) };
      return Number.isInteger(block.first) && block.first > 0 && block.count > 0 ? [block] : [];
    });
  return { uids: blocks('subuid'), gids: blocks('subgid') };
}

/** The programs that write maps for a user, with root's rights; undefined where one is missing. */
export function findIdMappers(
  find: (program: string) => string | undefined = lookUpProgram,
): { readonly uid: string; readonly gid: string } | undefined {
  const uid = find('newuidmap');
  const gid = find('newgidmap');
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

function canMakeOne(): boolean {
  return spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'true']).status === 0;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    // Not this kernel's, or this host has no such file.
    return undefined;
  }
}

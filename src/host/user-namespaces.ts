/**
 * User namespaces of this host: whether a process may have one, and which ids its user may use in it (`/etc/subuid`, `/etc/subgid`). Facts only;
 * containers and the doctor decide what follows from them.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lookUpProgram } from '../process/find-program.ts';

/** Why there are none, and what root does about it. */
export interface NoUserNamespaces {
  readonly why: string;
  readonly fix: string;
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
  if (allowed === undefined) return { why: 'this kernel has none (CONFIG_USER_NS)', fix: 'use another kernel' };
  if (allowed === '0') {
    return { why: 'user.max_user_namespaces is 0', fix: 'as root: sysctl user.max_user_namespaces=15000' };
  }
  if (isRoot) return undefined;
  if (read(join(proc, 'sys/kernel/unprivileged_userns_clone')) === '0') {
    return {
      why: "kernel.unprivileged_userns_clone is 0: they are root's alone",
      fix: 'as root: sysctl kernel.unprivileged_userns_clone=1',
    };
  }
  if (read(join(proc, 'sys/kernel/apparmor_restrict_unprivileged_userns')) === '1' && !probe()) {
    return {
      why: 'AppArmor gives no rights in them (kernel.apparmor_restrict_unprivileged_userns is 1)',
      fix: 'as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile with userns for unshare',
    };
  }
  return undefined;
}

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
export function findIdMappers(): { readonly uid: string; readonly gid: string } | undefined {
  const uid = lookUpProgram('newuidmap');
  const gid = lookUpProgram('newgidmap');
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

/**
 * Users and groups by name or number as libvirt writes them (`libvirt-qemu`, `100`, `+0`), from /etc/passwd and /etc/group, and through
 * getent(1) where they are kept elsewhere. Reads only.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type Owner, SecurityError } from './label-plan.ts';

export interface User extends Owner {
  readonly name: string;
}

/** What is known of names. */
export interface UserNames {
  user(nameOrUid: string | number): User | undefined;
  group(nameOrGid: string | number): { readonly name: string; readonly gid: number } | undefined;
  /** Groups that list the user as a member, without its own. */
  groupsOf(userName: string): readonly number[];
}

export interface UserNamesPlaces {
  /** Default `/etc`. */
  readonly etc?: string;
  /** Asked for what the files do not have; default: getent(1). Gives one line, or nothing. */
  readonly ask?: (database: 'passwd' | 'group', key: string) => string | undefined;
}

/** Highest id; the one above means "unchanged" to chown(2). */
const MAX_ID = 0xffff_fffe;

/** The host's names. Files are read once. */
export function readUserNames({ etc = '/etc', ask = askGetent }: UserNamesPlaces = {}): UserNames {
  const users = linesOf(`${etc}/passwd`).flatMap((line) => parseUser(line) ?? []);
  const groups = linesOf(`${etc}/group`).flatMap((line) => parseGroup(line) ?? []);
  return {
    user: (key) =>
      users.find(({ name, uid }) => (typeof key === 'number' ? uid === key : name === key)) ??
      parseUser(ask('passwd', String(key)) ?? ''),
    group: (key) =>
      groups.find(({ name, gid }) => (typeof key === 'number' ? gid === key : name === key)) ??
      parseGroup(ask('group', String(key)) ?? ''),
    groupsOf: (userName) => groups.flatMap(({ gid, members }) => (members.includes(userName) ? [gid] : [])),
  };
}

/** `+0`, a name, or a number that is no name. @throws SecurityError naming what there is not */
export function resolveUser(text: string, names: UserNames): number {
  if (text.startsWith('+')) return parseId(text.slice(1), text);
  const user = names.user(text);
  if (user !== undefined && user.name === text) return user.uid;
  if (/^\d+$/.test(text)) return parseId(text, text);
  throw new SecurityError(`there is no user '${text}'; make it with: useradd --system ${text}`, { model: 'dac' });
}

/** Like `resolveUser`. */
export function resolveGroup(text: string, names: UserNames): number {
  if (text.startsWith('+')) return parseId(text.slice(1), text);
  const group = names.group(text);
  if (group !== undefined && group.name === text) return group.gid;
  if (/^\d+$/.test(text)) return parseId(text, text);
  throw new SecurityError(`there is no group '${text}'; make it with: groupadd --system ${text}`, { model: 'dac' });
}

/** A DAC label, `USER:GROUP`. @throws SecurityError */
export function parseOwner(label: string, names: UserNames): Owner {
  const [user, group, ...rest] = label.split(':');
  if (user === undefined || user === '' || group === undefined || group === '' || rest.length > 0) {
    throw new SecurityError(`the DAC label '${label}' is not USER:GROUP, like +107:+107 or qemu:qemu`, {
      model: 'dac',
    });
  }
  return { uid: resolveUser(user, names), gid: resolveGroup(group, names) };
}

/** What `formatOwner` writes, with or without the signs. @throws SecurityError */
export function parseNumericOwner(label: string): Owner {
  const [, uid, gid] = /^\+?(\d{1,10}):\+?(\d{1,10})$/.exec(label) ?? [];
  if (uid === undefined || gid === undefined) {
    throw new SecurityError(`'${label}' is not +UID:+GID`, { model: 'dac' });
  }
  return { uid: parseId(uid, label), gid: parseId(gid, label) };
}

export function formatOwner({ uid, gid }: Owner): string {
  return `+${uid}:+${gid}`;
}

/** What initgroups(3) would give: the group itself, and those that list the user. */
export function supplementaryGroups({ uid, gid }: Owner, names: UserNames): number[] {
  const name = names.user(uid)?.name;
  const others = name === undefined ? [] : names.groupsOf(name);
  return [...new Set([gid, ...others])];
}

function parseId(digits: string, whole: string): number {
  const id = /^\d{1,10}$/.test(digits) ? Number(digits) : Number.NaN;
  if (id <= MAX_ID) return id;
  throw new SecurityError(`'${whole}' is no user or group id: a number up to ${MAX_ID}`, { model: 'dac' });
}

function parseUser(line: string): User | undefined {
  const [name, , uid, gid] = line.trim().split(':');
  if (name === undefined || name === '' || uid === undefined || gid === undefined) return undefined;
  return { name, uid: Number(uid), gid: Number(gid) };
}

function parseGroup(line: string): { name: string; gid: number; members: string[] } | undefined {
  const [name, , gid, members = ''] = line.trim().split(':');
  if (name === undefined || name === '' || gid === undefined) return undefined;
  return { name, gid: Number(gid), members: members.split(',').filter(Boolean) };
}

/** Without the file (a bare container), only numbers are known. */
function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}

/** Network directories. No program, or no such entry: nothing. */
function askGetent(database: 'passwd' | 'group', key: string): string | undefined {
  const { status, stdout } = spawnSync('getent', ['--', database, key], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0] : undefined;
}

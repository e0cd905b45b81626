/** Users and groups as text: passwd(5), shadow(5), group(5), gshadow(5) with fixed ids. Pure: texts in, texts out; what is right already stays. */
import { ErrorCode } from '../core/errors.ts';
import { failed } from './image-store.ts';

export interface GroupSpec {
  readonly name: string;
  readonly gid: number;
}

export interface UserSpec {
  readonly name: string;
  readonly uid: number;
  /** Main group; it is made with the user's name where there is none of that number. */
  readonly gid: number;
  /** Further groups by name, which must be there or be made. */
  readonly groups?: readonly string[] | undefined;
  /** Default `/home/NAME`. */
  readonly home?: string | undefined;
  readonly shell: string;
}

export const ACCOUNT_FILES = ['passwd', 'shadow', 'group', 'gshadow'] as const;
/** Texts of the files in `/etc`; undefined: there is none, and none is made but passwd and group. */
export type AccountTexts = Readonly<Record<(typeof ACCOUNT_FILES)[number], string | undefined>>;

const NAME = /^[a-z_][a-z0-9_.-]{0,30}\$?$/i;

/**
 * The texts with those accounts. `today`: days since 1970, for shadow's date of the last change.
 * @throws VirtError INVALID_ARG for names and numbers that cannot be, OPERATION_INVALID when one is taken
 */
export function planAccounts(
  texts: AccountTexts,
  { groups, users, today }: { groups: readonly GroupSpec[]; users: readonly UserSpec[]; today: number },
): AccountTexts {
  const files = {
    passwd: lines(texts.passwd),
    shadow: lines(texts.shadow),
    group: lines(texts.group),
    gshadow: lines(texts.gshadow),
  };
  // Before its group, so that what is wrong with the user is said of the user.
  for (const user of users) checkUser(files, user);
  const wanted = [
    ...groups,
    ...users.filter(
      ({ gid }) => !groups.some((group) => group.gid === gid) && findBy(files.group, 2, gid) === undefined,
    ),
  ];
  for (const { name, gid } of wanted) addGroup(files, { name, gid });
  for (const user of users) addUser(files, user, today);
  return {
    passwd: joined(files.passwd),
    group: joined(files.group),
    shadow: texts.shadow === undefined ? undefined : joined(files.shadow),
    gshadow: texts.gshadow === undefined ? undefined : joined(files.gshadow),
  };
}

type Files = Record<(typeof ACCOUNT_FILES)[number], string[]>;

function addGroup(files: Files, { name, gid }: GroupSpec): void {
  requireName(name, 'group');
  requireId(gid, name);
  const there = findBy(files.group, 0, name);
  if (there !== undefined) {
    requireSame('group', name, 'number', there[2], gid);
  } else {
    const other = findBy(files.group, 2, gid);
    if (other !== undefined) throw taken(`group ${name} cannot have the number ${gid}: it is that of ${other[0]}`);
    files.group.push(`${name}:x:${gid}:`);
  }
  if (findBy(files.gshadow, 0, name) === undefined) files.gshadow.push(`${name}:!::`);
}

/** @throws VirtError when it cannot be, or is there otherwise */
function checkUser(files: Files, { name, uid, gid, home = `/home/${name}`, shell }: UserSpec): void {
  requireName(name, 'user');
  requireId(uid, name);
  requireId(gid, name);
  if (!/^\/[^:\n]*$/.test(home) || !/^\/[^:\n]*$/.test(shell)) {
    throw failed(`home and shell of ${name} are absolute paths without colons`, ErrorCode.INVALID_ARG);
  }
  const there = findBy(files.passwd, 0, name);
  if (there !== undefined) {
    requireSame('user', name, 'number', there[2], uid);
    requireSame('user', name, "group's number", there[3], gid);
    return;
  }
  const other = findBy(files.passwd, 2, uid);
  if (other !== undefined) throw taken(`user ${name} cannot have the number ${uid}: it is that of ${other[0]}`);
}

function addUser(files: Files, user: UserSpec, today: number): void {
  const { name, uid, gid, home = `/home/${name}`, shell } = user;
  // Two of the wishes may have the same number.
  checkUser(files, user);
  if (findBy(files.passwd, 0, name) === undefined) files.passwd.push(`${name}:x:${uid}:${gid}::${home}:${shell}`);
  if (findBy(files.shadow, 0, name) === undefined) files.shadow.push(`${name}:!:${today}:0:99999:7:::`);
  for (const group of user.groups ?? []) {
    if (findBy(files.group, 0, group) === undefined)
      throw failed(`user ${name} cannot be in group ${group}: there is none; --group makes one`, ErrorCode.INVALID_ARG);
    join(files.group, group, name);
    if (findBy(files.gshadow, 0, group) !== undefined) join(files.gshadow, group, name);
  }
}

/** The last field of both files is the members. */
function join(file: string[], group: string, name: string): void {
  const at = file.findIndex((line) => line.split(':')[0] === group);
  const fields = (file[at] ?? '').split(':');
  const members = (fields[3] ?? '').split(',').filter((member) => member !== '');
  if (members.includes(name)) return;
  file[at] = [...fields.slice(0, 3), [...members, name].join(',')].join(':');
}

function findBy(file: readonly string[], field: number, value: string | number): string[] | undefined {
  return file.map((line) => line.split(':')).find((fields) => fields[field] === String(value));
}

function requireName(name: string, what: string): void {
  if (!NAME.test(name)) throw failed(`'${name}' is no name of a ${what}`, ErrorCode.INVALID_ARG);
}

function requireId(id: number, name: string): void {
  // The last is "no change" to chown(2).
  if (!Number.isInteger(id) || id < 0 || id >= 2 ** 32 - 1)
    throw failed(`${name} cannot have the number ${id}`, ErrorCode.INVALID_ARG);
}

function requireSame(what: string, name: string, field: string, is: string | undefined, wanted: number): void {
  if (is !== String(wanted)) throw taken(`${what} ${name} is there already, its ${field} is ${is}, not ${wanted}`);
}

function taken(message: string): Error {
  return failed(message, ErrorCode.OPERATION_INVALID);
}

function lines(text: string | undefined): string[] {
  return (text ?? '').split('\n').filter((line) => line !== '');
}

function joined(file: readonly string[]): string {
  return file.map((line) => `${line}\n`).join('');
}

/** Users and groups by the names that a running container has for them. Reads its files, follows none of its links. */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { errnoOf } from '../../../process/process-error.ts';

export interface UserInside {
  readonly uid: number;
  readonly gid: number;
  /** Where the container says. */
  readonly home?: string | undefined;
}

/** `USER` or `USER:GROUP`, each a name or a number. @throws VirtError INVALID_ARG for a name that it does not have */
export function idsInside(initPid: number, text: string, procRoot = '/proc'): UserInside {
  const [user = '', group] = text.split(':', 2);
  const read = (file: string): string[][] => readTable(`${procRoot}/${initPid}/root`, file);
  const found = findRow(read('passwd'), user);
  const uid = numberOf(user) ?? numberOf(found?.[2]);
  if (uid === undefined) throw unknown('user', user);
  if (group === undefined) return { uid, gid: numberOf(found?.[3]) ?? 0, home: found?.[5] };
  const gid = numberOf(group) ?? numberOf(findRow(read('group'), group)?.[2]);
  if (gid === undefined) throw unknown('group', group);
  return { uid, gid, home: found?.[5] };
}

/** By name, else by number. */
function findRow(rows: readonly string[][], wanted: string): string[] | undefined {
  return rows.find(([name]) => name === wanted) ?? rows.find((row) => row[2] === wanted);
}

/** A link would be followed on the host: then there is no such table. */
function readTable(root: string, file: string): string[][] {
  let folder: number | undefined;
  let fd: number | undefined;
  try {
    folder = openSync(`${root}/etc`, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    fd = openSync(`/proc/self/fd/${folder}/${file}`, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    return readFileSync(fd, 'utf8')
      .split('\n')
      .map((line) => line.split(':'));
  } catch (error) {
    if (['ENOENT', 'ELOOP', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
    if (folder !== undefined) closeSync(folder);
  }
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

function unknown(what: string, name: string): VirtError {
  return new VirtError(`the container has no ${what} '${name}' (its /etc): use a number`, {
    code: ErrorCode.INVALID_ARG,
    domain: ErrorDomain.LXC,
  });
}

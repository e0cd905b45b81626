/**
 * Who starts containers here. Root of the host needs nothing; anybody else becomes root of a user namespace around the runtime first, and what
 * that is allowed follows from here: which ids it has, what a definition may not ask of it. Pure: facts in, decisions out.
 */
import type { IdBlock, SubordinateIds } from '../../../host/user-namespaces.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { Idmap, IdRange } from '../../../model/domain/idmap.ts';
import { refuse } from './container-context.ts';

/** A user without rights. Of root there is none. */
export interface Person {
  readonly uid: number;
  readonly gid: number;
  /** Where the system has one. */
  readonly name?: string | undefined;
  /** The namespace around the runtime: its ids (`start`), and the host's that they are (`target`). The first is the user, as root. */
  readonly ids: Idmap;
  /** Programs that write such maps; without them there is but the user itself. */
  readonly mappers?: { readonly uid: string; readonly gid: string } | undefined;
}

export interface PersonFacts extends SubordinateIds {
  readonly uid: number;
  readonly gid: number;
  readonly name?: string | undefined;
  readonly mappers?: Person['mappers'];
}

/** Both are needed: a map of users alone leaves the groups unusable. */
export function planPerson({ uid, gid, name, uids, gids, mappers }: PersonFacts): Person {
  const isMapped = mappers !== undefined && uids.length > 0 && gids.length > 0;
  return {
    uid,
    gid,
    name,
    ids: { uids: inOrder(uid, isMapped ? uids : []), gids: inOrder(gid, isMapped ? gids : []) },
    ...(isMapped ? { mappers } : {}),
  };
}

function inOrder(own: number, blocks: readonly IdBlock[]): IdRange[] {
  const ranges: IdRange[] = [{ start: 0, target: own, count: 1 }];
  let start = 1;
  for (const { first, count } of blocks) {
    ranges.push({ start, target: first, count });
    start += count;
  }
  return ranges;
}

/** Only root is there: programs in the container cannot become anybody else. */
export function isAlone({ mappers }: Person): boolean {
  return mappers === undefined;
}

/** What newuidmap and newgidmap are told, and the kernel: inside, outside, count. */
export function mapLines(ranges: readonly IdRange[]): string[][] {
  return ranges.map(({ start, target, count }) => [String(start), String(target), String(count)]);
}

/** A definition's map, which speaks of the host's ids, as the namespace around the runtime numbers them. @throws VirtError for ids of others */
export function withinPerson({ uids, gids }: Idmap, person: Person): Idmap {
  const inside = (kind: 'uid' | 'gid', ranges: readonly IdRange[]): IdRange[] =>
    ranges.map((range) => {
      const own = person.ids[`${kind}s`].find(
        ({ target, count }) => range.target >= target && range.target + range.count <= target + count,
      );
      return own === undefined
        ? refuse(notYours(kind, range, person))
        : { ...range, target: own.start + range.target - own.target };
    });
  return { uids: inside('uid', uids), gids: inside('gid', gids) };
}

function notYours(kind: 'uid' | 'gid', { target, count }: IdRange, person: Person): string {
  const has = person.ids[`${kind}s`].map((own) => words(own.target, own.count)).join(', ');
  const who = person.name ?? person.uid;
  const [file, option] = kind === 'uid' ? ['/etc/subuid', '--add-subuids'] : ['/etc/subgid', '--add-subgids'];
  return (
    `<idmap> has the ${kind}s ${words(target, count)} of the host, user ${who} may use ${has}; ` +
    (isAlone(person)
      ? `install uidmap, and as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${who}`
      : `name others, or as root: usermod ${option} ${target}-${target + count - 1} ${who} (${file})`)
  );
}

function words(first: number, count: number): string {
  return count === 1 ? String(first) : `${first}-${first + count - 1}`;
}

/**
 * For a root file system whose files are of a user's subordinate ids, as builders without rights make them: its owner is the container's root.
 * Undefined where it is the user's own, or somebody else's.
 */
export function impliedIdmap(
  owner: { readonly uid: number; readonly gid: number },
  { ids }: Person,
): Idmap | undefined {
  const from = (first: number, ranges: readonly IdRange[]): IdRange | undefined => {
    const own = ranges.slice(1).find(({ target, count }) => first >= target && first < target + count);
    return own === undefined ? undefined : { start: 0, target: first, count: own.target + own.count - first };
  };
  const uid = from(owner.uid, ids.uids);
  const gid = from(owner.gid, ids.gids);
  return uid === undefined || gid === undefined ? undefined : { uids: [uid], gids: [gid] };
}

/** Every id of the namespace around the runtime as itself, for a namespace in it: the kernel takes no range that two of its own make up. */
export function sameIds({ ids }: Person): Idmap {
  const same = (ranges: readonly IdRange[]): IdRange[] => ranges.map((range) => ({ ...range, target: range.start }));
  return { uids: same(ids.uids), gids: same(ids.gids) };
}

/** How to be it. */
export const AS_ROOT = "use sudo, or a daemon of root's (lxc:///system)";

/** What the host's kernel lets root alone do. @throws VirtError CONFIG_UNSUPPORTED naming what it is, and how to do without or to get it */
export function refuseRootsOwn({ devices, idmap, memoryBacking, lxcNamespace }: Domain, person: Person): void {
  const rootsOwn = (what: string, instead: string): never =>
    refuse(`${what} is root's to have, and this process is user ${person.name ?? person.uid}: ${instead}`);
  for (const { type, target } of devices?.filesystems ?? []) {
    if (type !== 'file' && type !== 'block') continue;
    rootsOwn(
      `<filesystem type='${type}'> on ${target?.dir ?? '?'} (a mount of a file system's image)`,
      `put its files into a directory and use type='mount', or ${AS_ROOT}`,
    );
  }
  const interfaces = devices?.interfaces ?? [];
  for (const { type } of interfaces) {
    if (type !== 'user') rootsOwn(`<interface type='${type}'>`, `use <interface type='user'>, or ${AS_ROOT}`);
  }
  for (const { type } of devices?.hostdevs ?? []) {
    if (type === 'net') rootsOwn("<hostdev type='net'>", `use <interface type='user'>, or ${AS_ROOT}`);
  }
  if (memoryBacking?.hugepages !== undefined) rootsOwn('<hugepages>', `leave them out, or ${AS_ROOT}`);
  const shared = (['sharenet', 'shareipc', 'shareuts'] as const).find((name) => lxcNamespace?.[name] !== undefined);
  if (shared !== undefined)
    rootsOwn(`<lxc:${shared}> (a namespace of another container)`, `leave it out, or ${AS_ROOT}`);
  if (idmap !== undefined && (devices?.consoles ?? []).length > 1) {
    rootsOwn('a second <console> with <idmap>', `leave one of them out, or ${AS_ROOT}`);
  }
}

/**
 * Groups of guests that are gone: found by their names, in libvirt's layouts old and new, and by having no process in them. Whose group a
 * living program has just made is not known here: the caller names those.
 */
import { readFileSync, statSync } from 'node:fs';
import { removeGroups } from './apply.ts';
import { detectCgroups } from './detect.ts';
import { namesIn } from './files.ts';
import type { CgroupHost } from './host.ts';
import { type NamedGuest, parseGuestGroup } from './layout.ts';

export interface StaleGroup {
  readonly directory: string;
  readonly guest: NamedGuest;
}

export interface StaleOptions {
  readonly host?: CgroupHost;
  /** Groups that are somebody's although nobody is in them yet. */
  readonly owned?: ReadonlySet<string>;
  /** Younger ones may be waiting for their first process; default 10 s. */
  readonly minimumAgeMs?: number;
}

const MINIMUM_AGE_MS = 10_000;
/** Partitions and slices may be nested; guests are not deeper than this. */
const MAX_DEPTH = 8;

/** Empty groups of guests. */
export function findStaleGroups({
  host = detectCgroups(),
  owned,
  minimumAgeMs = MINIMUM_AGE_MS,
}: StaleOptions = {}): StaleGroup[] {
  const roots = host.hierarchies.filter(({ readOnly }) => !readOnly);
  return roots.flatMap(({ mountPoint }) => {
    return search(mountPoint, '', 0).filter(({ directory }) => {
      return owned?.has(directory) !== true && ageMs(directory) >= minimumAgeMs && isEmpty(directory);
    });
  });
}

/** Removes them. @throws CgroupError when a process has joined one of them meanwhile */
export async function removeStaleGroups(groups: readonly StaleGroup[]): Promise<void> {
  await removeGroups(groups.map(({ directory }) => directory));
}

/** A guest's group is not looked into: what is in it is the guest's. */
function search(mountPoint: string, path: string, depth: number): StaleGroup[] {
  if (depth > MAX_DEPTH) return [];
  return namesIn(`${mountPoint}${path}`).flatMap((name) => {
    const below = `${path}/${name}`;
    const guest = parseGuestGroup(below);
    return guest === undefined ? search(mountPoint, below, depth + 1) : [{ directory: `${mountPoint}${below}`, guest }];
  });
}

/** On v2 the kernel says so of the whole tree; on v1 every group is asked. */
function isEmpty(directory: string): boolean {
  const events = read(`${directory}/cgroup.events`);
  if (events !== '') return /^populated 0$/m.test(events);
  return (
    read(`${directory}/cgroup.procs`) === '' && namesIn(directory).every((name) => isEmpty(`${directory}/${name}`))
  );
}

function ageMs(directory: string): number {
  const stats = statSync(directory, { throwIfNoEntry: false });
  // Our clock has whole milliseconds; the file's more, so that it could be ahead.
  return stats === undefined ? -1 : Date.now() - Math.floor(stats.ctimeMs);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

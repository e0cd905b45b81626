/** Which systemd a container's root holds, read from its files: nothing of it is run. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { listNames } from '../core/list-names.ts';
import { readText } from './finding.ts';

export interface GuestSystemd {
  readonly version: number;
  /** `JoinControllers=` with nothing behind it: no links between controllers are made. */
  readonly joinsNothing: boolean;
}

/** Where distributions keep systemd's own libraries; since version 231 one has the version in its name. */
const LIBRARY_FOLDERS = ['usr/lib/systemd', 'lib/systemd', 'usr/lib64/systemd', 'lib64/systemd'];
const PROGRAMS = ['lib/systemd/systemd', 'usr/lib/systemd/systemd'];
/** A program of this size is something else, or a trap. */
const MAX_PROGRAM_BYTES = 32 << 20;

/** What is in a root folder; undefined without systemd, or where its version cannot be told. */
export function readGuestSystemd(root: string): GuestSystemd | undefined {
  const version = libraryVersion(root) ?? programVersion(root);
  return version === undefined ? undefined : { version, joinsNothing: joinsNothing(root) };
}

function libraryVersion(root: string): number | undefined {
  const folders = [...LIBRARY_FOLDERS, ...multiarchFolders(root)];
  const names = folders.flatMap((folder) => listNames(join(root, folder)));
  const versions = names.flatMap((name) => {
    const version = /^libsystemd-shared-(\d{3})\b/.exec(name)?.[1];
    return version === undefined ? [] : [Number(version)];
  });
  return versions.length === 0 ? undefined : Math.max(...versions);
}

/** Debian's since 2023: `usr/lib/x86_64-linux-gnu/systemd`. */
function multiarchFolders(root: string): string[] {
  return listNames(join(root, 'usr/lib'))
    .filter((name) => name.includes('-linux-gnu'))
    .map((name) => `usr/lib/${name}/systemd`);
}

/** What an older one says of itself when it begins: `systemd 215 running in system mode`. */
function programVersion(root: string): number | undefined {
  for (const program of PROGRAMS) {
    const path = join(root, program);
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size === 0 || size > MAX_PROGRAM_BYTES) continue;
    const text = readBytes(path);
    const version = /systemd (\d{2,3})[^\0]{0,60} running in /.exec(text)?.[1] ?? /systemd (\d{2,3})\n/.exec(text)?.[1];
    if (version !== undefined) return Number(version);
  }
  return undefined;
}

function joinsNothing(root: string): boolean {
  const drops = listNames(join(root, 'etc/systemd/system.conf.d')).toSorted();
  const files = ['system.conf', ...drops.map((name) => `system.conf.d/${name}`)];
  const settings = files.flatMap((name) => {
    const text = readText(join(root, 'etc/systemd', name)) ?? '';
    return Array.from(text.matchAll(/^[ \t]*JoinControllers[ \t]*=[ \t]*(.*)$/gm), ([, value]) => value);
  });
  return settings.at(-1)?.trim() === '';
}

function readBytes(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // Not for us to read: its version cannot be told.
    return '';
  }
}

/** Stopping, continuing and ending all processes of a group, on v1 and v2. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { CgroupError } from './action.ts';
import { readGroupFile, writeGroupFile } from './apply.ts';
import { groupsIn, readIfThere, readKeyed } from './files.ts';
import type { CgroupPlace } from './host.ts';

interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

const POLL_MS = 2;
/** Processes in uninterruptible sleep freeze and end late. */
const PATIENCE_MS = 10_000;

/** Stops every process of the group, and returns when they have stopped. @throws CgroupError */
export async function freeze(place: CgroupPlace, options: Waiting = {}): Promise<void> {
  await setFrozen(place, true, options);
}

export async function thaw(place: CgroupPlace, options: Waiting = {}): Promise<void> {
  await setFrozen(place, false, options);
}

async function setFrozen({ path, v1, v2 }: CgroupPlace, frozen: boolean, { signal }: Waiting): Promise<void> {
  const what = frozen ? 'freeze' : 'thaw';
  const v1Directory = v1['freezer'];
  if (v2 !== undefined) {
    writeGroupFile(v2.directory, 'cgroup.freeze', frozen ? '1' : '0');
    await until(
      () => readKeyed(v2.directory, 'cgroup.events')['frozen'] === (frozen ? 1 : 0),
      what,
      v2.directory,
      signal,
    );
  } else if (v1Directory !== undefined) {
    const state = frozen ? 'FROZEN' : 'THAWED';
    writeGroupFile(v1Directory, 'freezer.state', state);
    await until(() => readGroupFile(v1Directory, 'freezer.state').trim() === state, what, v1Directory, signal);
  } else {
    throw noFreezer(what, path);
  }
}

function noFreezer(operation: string, directory: string): CgroupError {
  return new CgroupError({
    operation,
    directory,
    rule: 'the group is neither in a v2 hierarchy nor in one with the freezer controller',
    fix: 'mount the freezer controller, or cgroup2',
  });
}

/**
 * Ends every process of the group and of those in it with SIGKILL, also those that are being started, and returns when none is left.
 * @throws CgroupError
 */
export async function killAll(place: CgroupPlace, { signal }: Waiting = {}): Promise<void> {
  const { path, v1, v2 } = place;
  if (v2 !== undefined && readIfThere(v2.directory, 'cgroup.freeze') !== undefined) {
    try {
      writeGroupFile(v2.directory, 'cgroup.kill', '1');
    } catch (error) {
      // Before Linux 5.14 there is no such file.
      if (!(error instanceof CgroupError && error.errno === 'ENOENT')) throw error;
      await killFrozen(place, [v2.directory], signal);
    }
    await until(() => readKeyed(v2.directory, 'cgroup.events')['populated'] === 0, 'kill', v2.directory, signal);
    return;
  }
  requireThere(place);
  // Threads may be in sub-groups that some of the hierarchies have.
  const directories = [...new Set(v1['freezer'] === undefined ? Object.values(v1) : [v1['freezer']])];
  const [first] = directories;
  if (first === undefined) throw noFreezer('kill', path);
  await until(() => killOnce(place, directories, signal), 'kill', first, signal);
}

/** One that was removed is not one without a freezer. */
function requireThere({ path, v1, v2 }: CgroupPlace): void {
  const directories = [...Object.values(v1), ...(v2 === undefined ? [] : [v2.directory])];
  if (directories.length === 0 || directories.some((directory) => existsSync(directory))) return;
  throw new CgroupError({
    operation: 'kill',
    directory: directories[0] ?? path,
    errno: 'ENOENT',
    rule: 'there is no such group; a group that was removed had no process any more',
  });
}

/** @returns whether none was left; without a freezer some may start others meanwhile, which are next */
async function killOnce(
  place: CgroupPlace,
  directories: readonly string[],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (pidsIn(directories).length === 0) return true;
  await killFrozen(place, directories, signal);
  return false;
}

/** Frozen first, so that none of them starts another meanwhile; SIGKILL waits for them until they are thawed. */
async function killFrozen(
  place: CgroupPlace,
  directories: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const canFreeze = place.v2 !== undefined || place.v1['freezer'] !== undefined;
  if (canFreeze) await freeze(place, { signal });
  for (const pid of pidsIn(directories)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }
  if (canFreeze) await thaw(place, { signal });
}

/** Those that live, in these groups and in those below: ended ones stay listed until their parents have waited for them, in v1. */
function pidsIn(directories: readonly string[]): number[] {
  const pids = directories.flatMap((directory) => [
    ...(readIfThere(directory, 'cgroup.procs') ?? '').split('\n').filter((line) => line !== '' && !isZombie(line)),
    ...pidsIn(groupsIn(directory)),
  ]);
  return [...new Set(pids.map(Number))];
}

function isZombie(pid: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    // It has ended.
    return true;
  }
}

async function until(
  isDone: () => boolean | Promise<boolean>,
  what: string,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let waitedMs = 0; !(await isDone()); waitedMs += POLL_MS) {
    if (waitedMs >= PATIENCE_MS) {
      throw new CgroupError({
        operation: what,
        directory,
        rule: `after ${PATIENCE_MS / 1000} s some process is still in the kernel's hands (state D in ps)`,
        fix: 'see what it waits for: cat /proc/PID/wchan',
      });
    }
    await pause(POLL_MS, undefined, { signal });
  }
}

/**
 * Carries out changes of cgroups, one after the other, and stops at the first that fails, with the kernel's rule behind it. The path of a
 * guest's start goes through here, so it is plain synchronous system calls.
 */
import { closeSync, constants, mkdirSync, openSync, readFileSync, rmdirSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { LogSource } from '../core/log-source.ts';
import { type CgroupAction, CgroupError } from './action.ts';
import { type AttachDeviceProgram, refusing } from './device-program.ts';
import { groupsIn } from './files.ts';
import { type CgroupOperation, ruleOf } from './rules.ts';

const log = new LogSource('util.cgroup');
/** Processes that keep coming: somebody starts them faster than they can be moved. */
const MAX_EVACUATION_ROUNDS = 100;
/** A process that was killed leaves its group a moment later. */
const REMOVAL_PATIENCE_MS = 2000;
const REMOVAL_POLL_MS = 2;

export interface AppliedActions {
  /** What did not work and was allowed not to. */
  readonly notes: readonly string[];
  /** The errors behind those of the notes that come from writes. */
  readonly tolerated: readonly CgroupError[];
  /** Groups that were not there before, parents first. */
  readonly made: readonly string[];
}

export interface ApplyOptions {
  /** How device programs are attached (`loadDevicePrograms`); without it they count as not available. */
  readonly attach?: AttachDeviceProgram | undefined;
}

/** @throws CgroupError of the first change that fails; those before it stay */
export function applyActions(actions: readonly CgroupAction[], options: ApplyOptions = {}): AppliedActions {
  const { attach = refusing('the means to load it were not given') } = options;
  using writer = new GroupWriter();
  const done = { notes: [], tolerated: [], made: [], writer };
  for (const action of actions) applyOne(action, attach, done);
  const { notes, tolerated, made } = done;
  return { notes, tolerated, made };
}

/** Keeps the file open that was written last: rules for devices come one by one, all in one file. */
class GroupWriter implements Disposable {
  #path: string | undefined;
  #fd = -1;

  /** @throws CgroupError */
  write(directory: string, file: string, value: string): void {
    try {
      const path = `${directory}/${file}`;
      if (path !== this.#path) {
        this[Symbol.dispose]();
        // Without O_CREAT: a file that is not there is ENOENT then, not EACCES.
        this.#fd = openSync(path, constants.O_WRONLY);
        this.#path = path;
      }
      // The kernel is not even asked when nothing is written; a line without text empties a list.
      writeSync(this.#fd, value === '' ? '\n' : value, 0);
    } catch (cause) {
      throw failure('write', { directory, file, value, cause });
    }
  }

  [Symbol.dispose](): void {
    if (this.#path !== undefined) closeSync(this.#fd);
    this.#path = undefined;
  }
}

interface Done {
  readonly notes: string[];
  readonly tolerated: CgroupError[];
  readonly made: string[];
  readonly writer: GroupWriter;
}

function applyOne(action: CgroupAction, attach: AttachDeviceProgram, done: Done): void {
  log.debug('applyActions', () => formatAction(action));
  switch (action.kind) {
    case 'mkdir':
      if (makeGroup(action.directory)) done.made.push(action.directory);
      return;
    case 'write':
      return tolerateWrite(action, done);
    case 'copy-from-parent':
      return copyFromParent(action.directory, action.file, done);
    case 'evacuate':
      return evacuate(action.from, action.to, action.pids, done.notes);
    case 'attach-device-program':
      return attachProgram(action, attach, done.notes);
    case 'rmdir':
      return removeTreeNow(action.directory);
  }
}

/** Makes one group. @returns false when it is there already */
function makeGroup(directory: string): boolean {
  try {
    mkdirSync(directory);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === 'EEXIST') return false;
    throw failure('make', { directory, cause });
  }
}

/** @throws CgroupError */
export function writeGroupFile(directory: string, file: string, value: string): void {
  using writer = new GroupWriter();
  writer.write(directory, file, value);
}

/** @throws CgroupError */
export function readGroupFile(directory: string, file: string): string {
  try {
    return readFileSync(`${directory}/${file}`, 'utf8');
  } catch (cause) {
    throw failure('read', { directory, file, cause });
  }
}

function tolerateWrite(action: Extract<CgroupAction, { kind: 'write' }>, { notes, tolerated, writer }: Done): void {
  try {
    writer.write(action.directory, action.file, action.value);
  } catch (error) {
    const isTolerated = error instanceof CgroupError && action.tolerate?.errnos.includes(error.errno ?? '') === true;
    if (!isTolerated) throw error;
    tolerated.push(error);
    notes.push(`${action.tolerate?.note ?? ''}: ${error.message}`);
  }
}

function attachProgram(
  action: Extract<CgroupAction, { kind: 'attach-device-program' }>,
  attach: AttachDeviceProgram,
  notes: string[],
): void {
  try {
    attach(action.directory, action.rules);
  } catch (error) {
    if (action.optional !== true || !(error instanceof CgroupError)) throw error;
    notes.push(`device nodes are not restricted: ${error.message}`);
  }
}

/** A group that was just made has nothing of its own there; where the kernel has copied it already, it is the same once more. */
function copyFromParent(directory: string, file: string, { made }: Pick<Done, 'made'>): void {
  if (!made.includes(directory) && readGroupFile(directory, file).trim() !== '') return;
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  writeGroupFile(directory, file, readGroupFile(parent, file).trim());
}

function evacuate(from: string, to: string, pids: readonly number[] | undefined, notes: string[]): void {
  const stuck = new Set<string>();
  for (let round = 0; round < MAX_EVACUATION_ROUNDS; round++) {
    const left = readGroupFile(from, 'cgroup.procs')
      .split('\n')
      .filter(
        (pid) => pid !== '' && pid !== '0' && !stuck.has(pid) && (pids === undefined || pids.includes(Number(pid))),
      );
    if (left.length === 0) {
      if (stuck.size > 0) notes.push(`kernel threads stay in ${from}: ${[...stuck].join(', ')}`);
      return;
    }
    for (const pid of left) {
      try {
        writeGroupFile(to, 'cgroup.procs', pid);
      } catch (error) {
        const errno = error instanceof CgroupError ? error.errno : undefined;
        // It has ended since it was listed.
        if (errno === 'ESRCH') continue;
        if (errno !== 'EINVAL') throw error;
        stuck.add(pid);
      }
    }
  }
  throw new CgroupError({
    operation: 'empty',
    directory: from,
    rule: `after ${MAX_EVACUATION_ROUNDS} rounds it still has processes: they are started faster than they can be moved`,
    fix: 'stop what starts them, and try again',
  });
}

/** Removes a group and those in it, deepest first; what is not there is fine. @throws CgroupError */
function removeTreeNow(directory: string): void {
  // Most groups have none in them: the kernel is asked first, and the group is read only where it refuses.
  const refusal = removeOne(directory);
  if (refusal === undefined) return;
  // Why it could not be removed says more than why it cannot be read.
  const children = groupsIn(directory);
  for (const child of children) removeTreeNow(child);
  const final = children.length === 0 ? refusal : removeOne(directory);
  if (final !== undefined) throw failure('remove', { directory, cause: final });
}

/** @returns why it is still there */
function removeOne(directory: string): unknown {
  try {
    rmdirSync(directory);
    return undefined;
  } catch (cause) {
    return errnoOf(cause) === 'ENOENT' ? undefined : cause;
  }
}

/**
 * Removes groups once their last processes are gone, which takes the kernel a moment after their end.
 * @throws CgroupError when processes stay in one of them
 */
export async function removeGroups(
  directories: readonly string[],
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  // Deepest first: a group is removed after those in it.
  const deepestFirst = directories.toSorted((a, b) => b.length - a.length);
  for (const directory of deepestFirst) await removeWhenEmpty(directory, options.signal);
}

async function removeWhenEmpty(directory: string, signal: AbortSignal | undefined): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += REMOVAL_POLL_MS) {
    try {
      removeTreeNow(directory);
      log.debug('removeGroups', () => `removed ${directory}`);
      return;
    } catch (error) {
      const isBusy = error instanceof CgroupError && error.errno === 'EBUSY';
      if (!isBusy || waitedMs >= REMOVAL_PATIENCE_MS) throw error;
    }
    await pause(REMOVAL_POLL_MS, undefined, { signal });
  }
}

/** One action as a line for a shell, for people to read and to run. */
export function formatAction(action: CgroupAction): string {
  if (action.kind === 'mkdir') return `mkdir -p ${quote(action.directory)}`;
  if (action.kind === 'rmdir') return `rmdir ${quote(action.directory)}`;
  if (action.kind === 'attach-device-program') {
    return `# attach a device program of ${action.rules.length} rules to ${action.directory}`;
  }
  if (action.kind === 'evacuate') {
    const which = action.pids === undefined ? `$(cat ${quote(`${action.from}/cgroup.procs`)})` : action.pids.join(' ');
    return `for pid in ${which}; do echo $pid > ${quote(`${action.to}/cgroup.procs`)}; done`;
  }
  const target = quote(`${action.directory}/${action.file}`);
  if (action.kind === 'copy-from-parent') return `cat ${quote(`${action.directory}/../${action.file}`)} > ${target}`;
  return `echo ${quote(action.value)} > ${target}`;
}

export function formatActions(actions: readonly CgroupAction[]): string {
  return actions.map((action) => `${formatAction(action)}\n`).join('');
}

function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function failure(
  operation: CgroupOperation,
  about: { directory: string; file?: string; value?: string; cause: unknown },
): CgroupError {
  const errno = errnoOf(about.cause);
  const rule = errno === undefined ? undefined : ruleOf(operation, about.file, errno);
  return new CgroupError({ operation, ...about, errno, ...rule });
}

/** The errno by the kernel's name. libuv calls 95 ENOTSUP, which is the same number on Linux and stands in none of its documents. */
function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return code === 'ENOTSUP' ? 'EOPNOTSUPP' : code;
}

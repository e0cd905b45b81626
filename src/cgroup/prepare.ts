/**
 * Makes the caller's v2 group fit for guests with limits, in a container without systemd: out of a threaded state, processes into a leaf,
 * controllers enabled for children. The plan is pure data that can be printed; it moves nobody else's processes unless told to.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { CgroupAction, CgroupError } from './action.ts';
import { type AppliedActions, applyActions } from './apply.ts';
import { type CgroupHierarchy, type CgroupHost, type UnifiedState, v2Hierarchy } from './host.ts';
import {
  absentError,
  populatedError,
  readOnlyError,
  threadedError,
  unseenError,
  unusableError,
} from './prepare-refusals.ts';

/** What guests can use, in the order that fails cleanly: a domain controller first never turns a group threaded. */
const CONTROLLERS = ['memory', 'io', 'pids', 'cpu', 'cpuset'];
/** Controllers whose mere enabling in a populated group turns it threaded. */
const THREADED = ['cpu', 'cpuset', 'pids', 'perf_event'];
/**
 * A controller that this kernel or this moment does not allow (`cpu` while there are real-time processes, for instance) is no reason to
 * go without the others.
 */
const SINGLE_REFUSALS = ['EINVAL', 'ENOENT', 'ENODEV'];
/** Where the processes go; systemd's own name for its first leaf, so that nobody takes it for a guest. */
export const LEAF = 'init.scope';

export interface PrepareOptions {
  /** Move processes that are not the caller's too: the CI agent, a shell, PID 1. */
  readonly moveForeign?: boolean | undefined;
  /** Default: memory, io, pids, cpu and cpuset, as far as they are there. */
  readonly controllers?: readonly string[] | undefined;
  /** Those of them that may be refused one by one, with a note. Without `controllers`: all. */
  readonly optional?: readonly string[] | undefined;
  /** Processes that may be moved without asking: default this process and its descendants. */
  readonly ownPids?: readonly number[] | undefined;
  /** Default: read from the group's `cgroup.procs`. */
  readonly residents?: readonly number[] | undefined;
  /** Where several plans are made in a row; default: looked at anew. */
  readonly parent?: GuestParent | undefined;
}

/** The group that gets guests, as it is now. */
export interface GuestParent {
  readonly directory: string;
  readonly state: UnifiedState;
  /** Controllers that it may hand down. */
  readonly available: readonly string[];
}

export interface PreparePlan {
  /** The group that gets guests: the caller's own, or the one above when the caller sits in its leaf. */
  readonly directory: string;
  readonly actions: readonly CgroupAction[];
  /** Gives back what the actions changed. */
  readonly undo: readonly CgroupAction[];
  /** What is done and why, for people. */
  readonly notes: readonly string[];
  /** Why it cannot be done; then there are no actions. */
  readonly refusals: readonly CgroupError[];
}

/** What is to be done on this host. An empty plan without refusals: nothing, guests can have their limits. */
export function planPrepare(host: CgroupHost, options: PrepareOptions = {}): PreparePlan {
  const hierarchy = v2Hierarchy(host);
  const { unified } = host;
  if (hierarchy === undefined || unified === undefined || hierarchy.ownDirectory === undefined)
    return planWithoutV2(host);
  const { directory, state: at, available } = options.parent ?? lookAtParent(hierarchy, unified);
  const wanted = CONTROLLERS.filter((name) => (options.controllers ?? CONTROLLERS).includes(name));
  const usable = wanted.filter((name) => available.includes(name));
  const missing =
    at.type === 'domain threaded' ? again(usable, at) : usable.filter((name) => !at.enabled.includes(name));
  const absent = wanted.filter((name) => !available.includes(name) && options.controllers !== undefined);
  const nothing = { directory, actions: [], undo: [], notes: [] };
  if (absent.length > 0) return { ...nothing, refusals: [absentError(directory, absent)] };
  if (missing.length === 0) return { ...nothing, refusals: [] };
  if (!hierarchy.writable) return { ...nothing, refusals: [readOnlyError(hierarchy, directory)] };
  return planSteps(directory, at, missing, options);
}

/** What guests' groups will be made in; undefined without v2, or where the caller's group cannot be seen. */
export function readGuestParent(host: CgroupHost): GuestParent | undefined {
  const hierarchy = v2Hierarchy(host);
  if (hierarchy?.ownDirectory === undefined || host.unified === undefined) return undefined;
  return lookAtParent(hierarchy, host.unified);
}

/** Whether all of them are handed down already, so that there is nothing to prepare. */
export function isPrepared({ state }: GuestParent, controllers: readonly string[]): boolean {
  return state.type !== 'domain threaded' && controllers.every((name) => state.enabled.includes(name));
}

function lookAtParent(hierarchy: CgroupHierarchy, unified: UnifiedState): GuestParent {
  const directory = guestParent(hierarchy);
  if (directory === hierarchy.ownDirectory) return { directory, state: unified, available: hierarchy.controllers };
  return { directory, state: readState(directory), available: readWords(directory, 'cgroup.controllers') };
}

/** What is switched off to get a group out of its threaded state is switched on again, memory and io before it. */
function again(usable: readonly string[], { enabled }: UnifiedState): string[] {
  return [...usable, ...enabled.filter((name) => !usable.includes(name))];
}

export interface PreparedGroup extends AppliedActions {
  /** The controllers that groups below it have now. */
  readonly enabled: readonly string[];
}

/**
 * Carries a plan out. Unless the controllers were named, one that cannot be had is `tolerated` when there are others.
 * @throws CgroupError of the first step that fails; the plan's `undo` gives back what was done by then
 */
export function prepare(plan: PreparePlan): PreparedGroup {
  const [refusal] = plan.refusals;
  if (refusal !== undefined) throw refusal;
  const applied = applyActions(plan.actions);
  const enabled = readWords(plan.directory, 'cgroup.subtree_control');
  const [first] = applied.tolerated;
  if (first !== undefined && enabled.length === 0) throw first;
  return { ...applied, enabled };
}

function planSteps(
  directory: string,
  at: UnifiedState,
  missing: readonly string[],
  options: PrepareOptions,
): PreparePlan {
  const actions: CgroupAction[] = [];
  const undo: CgroupAction[] = [];
  const notes: string[] = [];
  const control = (value: string): CgroupAction & { kind: 'write' } => {
    return { kind: 'write', directory, file: 'cgroup.subtree_control', value };
  };
  // The hierarchy's root may hold processes and enable controllers; so may any group that holds none.
  const residents = at.type === 'root' ? [] : (options.residents ?? readPids(directory));
  const own = residents.length === 0 ? [] : (options.ownPids ?? descendantsOf(process.pid));
  const refusal = refusalOf(directory, at, { residents, own }, missing, options);
  if (refusal !== undefined) return { directory, actions: [], undo: [], notes: [], refusals: [refusal] };
  const isThreaded = at.type === 'domain threaded';
  if (isThreaded) {
    const threaded = at.enabled.filter((name) => THREADED.includes(name));
    for (const name of threaded) actions.push(control(`-${name}`));
    notes.push(
      `${directory} is '${at.type}' since ${threaded.join(' and ')} were enabled in it while it held processes: undone first`,
    );
  }
  if (residents.length > 0) {
    const leaf = `${directory}/${LEAF}`;
    actions.push(
      { kind: 'mkdir', directory: leaf },
      { kind: 'evacuate', from: directory, to: leaf, ...(options.moveForeign === true ? {} : { pids: own }) },
    );
    undo.push({ kind: 'evacuate', from: leaf, to: directory }, { kind: 'rmdir', directory: leaf });
    notes.push(
      `${residents.length} processes move to ${leaf}: a group that holds processes cannot give controllers to its children`,
    );
  }
  for (const name of missing) {
    const tolerate = { errnos: SINGLE_REFUSALS, note: `guests go without ${name}` };
    actions.push({ ...control(`+${name}`), ...(isOptional(name, options) ? { tolerate } : {}) });
  }
  undo.unshift(...missing.toReversed().map((name) => control(`-${name}`)));
  notes.push(`enabled for the groups below ${directory}: ${missing.join(', ')}`);
  return { directory, actions, undo, notes, refusals: [] };
}

function refusalOf(
  directory: string,
  { type, enabled }: UnifiedState,
  { residents, own }: { residents: readonly number[]; own: readonly number[] },
  missing: readonly string[],
  { moveForeign }: PrepareOptions,
): CgroupError | undefined {
  const isStuck = type === 'domain threaded' && !enabled.some((name) => THREADED.includes(name));
  if (isStuck || type === 'domain invalid' || type === 'threaded') return threadedError(directory, type);
  const unseen = residents.filter((pid) => pid === 0);
  if (unseen.length > 0) return unseenError(directory, unseen.length);
  const foreign = residents.filter((pid) => !own.includes(pid));
  return foreign.length === 0 || moveForeign === true ? undefined : populatedError(directory, foreign, missing);
}

function isOptional(name: string, { controllers, optional }: PrepareOptions): boolean {
  return controllers === undefined || optional?.includes(name) === true;
}

/** Where guests' groups go: beside the caller when the caller sits in a leaf that was made for it. */
export function guestParent({ ownDirectory = '', mountPoint }: CgroupHierarchy): string {
  const isLeaf = ownDirectory.endsWith(`/${LEAF}`) && ownDirectory.length > mountPoint.length;
  return isLeaf ? ownDirectory.slice(0, -LEAF.length - 1) : ownDirectory;
}

function planWithoutV2(host: CgroupHost): PreparePlan {
  const refusal = unusableError(host);
  return {
    directory: v2Hierarchy(host)?.mountPoint ?? '/sys/fs/cgroup',
    actions: [],
    undo: [],
    notes: refusal === undefined ? ['cgroup v1: groups can have limits as it is'] : [],
    refusals: refusal === undefined ? [] : [refusal],
  };
}

function readState(directory: string): UnifiedState {
  const [type] = readLines(directory, 'cgroup.type');
  return {
    type: type === undefined ? 'root' : isType(type) ? type : 'domain',
    enabled: readWords(directory, 'cgroup.subtree_control'),
    processes: readPids(directory).length,
    delegation: 'none',
  };
}

function isType(text: string): text is UnifiedState['type'] {
  return ['domain', 'domain threaded', 'domain invalid', 'threaded'].includes(text);
}

function readPids(directory: string): number[] {
  // Pid 0 is a process of an outer PID namespace.
  return readWords(directory, 'cgroup.procs').map(Number);
}

function readWords(directory: string, file: string): string[] {
  return readLines(directory, file).flatMap((line) => line.split(' '));
}

/** A file that is not there (the root's type) or not readable (a threaded group's processes) is empty. */
function readLines(directory: string, file: string): string[] {
  try {
    return readFileSync(`${directory}/${file}`, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  } catch {
    return [];
  }
}

/** This process and all below it, by the parents that /proc names. */
function descendantsOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = /\) \S (\d+)/.exec(readLines(`/proc/${name}`, 'stat')[0] ?? '')?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const found = new Set([pid]);
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const [child, parent] of parents) if (found.has(parent)) found.add(child);
  }
  return [...found];
}

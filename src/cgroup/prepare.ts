/**
 * Makes the caller's v2 group fit for guests with limits, in a container without systemd: out of a threaded state, processes into a leaf,
 * controllers enabled for children. The plan is pure data that can be printed; it moves nobody else's processes unless told to.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type CgroupAction, CgroupError } from './action.ts';
import { type AppliedActions, applyActions } from './apply.ts';
import { type CgroupHierarchy, type CgroupHost, type UnifiedState, v2Hierarchy } from './host.ts';

/** What guests can use, in the order that fails cleanly: a domain controller first never turns a group threaded. */
const CONTROLLERS = ['memory', 'io', 'pids', 'cpu', 'cpuset'];
/** Controllers whose mere enabling in a populated group turns it threaded. */
const THREADED = ['cpu', 'cpuset', 'pids', 'perf_event'];
/** Where the processes go; systemd's own name for its first leaf, so that nobody takes it for a guest. */
export const LEAF = 'init.scope';

export interface PrepareOptions {
  /** Move processes that are not the caller's too: the CI agent, a shell, PID 1. */
  readonly moveForeign?: boolean | undefined;
  /** Default: memory, io, pids, cpu and cpuset, as far as they are there. */
  readonly controllers?: readonly string[] | undefined;
  /** Processes that may be moved without asking: default this process and its descendants. */
  readonly ownPids?: readonly number[] | undefined;
  /** Default: read from the group's `cgroup.procs`. */
  readonly residents?: readonly number[] | undefined;
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
  const directory = guestParent(hierarchy);
  const at = directory === hierarchy.ownDirectory ? unified : readState(directory);
  const available =
    directory === hierarchy.ownDirectory ? hierarchy.controllers : readWords(directory, 'cgroup.controllers');
  const wanted = CONTROLLERS.filter((name) => (options.controllers ?? CONTROLLERS).includes(name));
  const usable = wanted.filter((name) => available.includes(name));
  const missing = usable.filter((name) => !at.enabled.includes(name));
  const absent = wanted.filter((name) => !available.includes(name) && options.controllers !== undefined);
  const nothing = { directory, actions: [], undo: [], notes: [] };
  if (absent.length > 0) return { ...nothing, refusals: [absentError(directory, absent)] };
  if (missing.length === 0) return { ...nothing, refusals: [] };
  if (!hierarchy.writable) return { ...nothing, refusals: [readOnlyError(hierarchy, directory)] };
  return planSteps(directory, at, { missing, usable }, options);
}

/** Carries a plan out. @throws CgroupError of the first step that fails; `undo` gives back what was done by then */
export function prepare(plan: PreparePlan): AppliedActions {
  const [refusal] = plan.refusals;
  if (refusal !== undefined) throw refusal;
  return applyActions(plan.actions);
}

function planSteps(
  directory: string,
  at: UnifiedState,
  { missing, usable }: { missing: readonly string[]; usable: readonly string[] },
  options: PrepareOptions,
): PreparePlan {
  const actions: CgroupAction[] = [];
  const undo: CgroupAction[] = [];
  const notes: string[] = [];
  const control = (value: string): CgroupAction => ({
    kind: 'write',
    directory,
    file: 'cgroup.subtree_control',
    value,
  });
  // The hierarchy's root may hold processes and enable controllers; so may any group that holds none.
  const residents = at.type === 'root' ? [] : (options.residents ?? readPids(directory));
  const own = options.ownPids ?? descendantsOf(process.pid);
  const foreign = residents.filter((pid) => !own.includes(pid));
  if (foreign.length > 0 && options.moveForeign !== true) {
    return { directory, actions: [], undo: [], notes: [], refusals: [populatedError(directory, foreign, missing)] };
  }
  const isThreaded = at.type === 'domain threaded' || at.type === 'domain invalid' || at.type === 'threaded';
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
  for (const name of isThreaded ? usable : missing) actions.push(control(`+${name}`));
  undo.unshift(...missing.toReversed().map((name) => control(`-${name}`)));
  notes.push(`enabled for the groups below ${directory}: ${missing.join(', ')}`);
  return { directory, actions, undo, notes, refusals: [] };
}

/** Where guests' groups go: beside the caller when the caller sits in a leaf that was made for it. */
export function guestParent({ ownDirectory = '', mountPoint }: CgroupHierarchy): string {
  const isLeaf = ownDirectory.endsWith(`/${LEAF}`) && ownDirectory.length > mountPoint.length;
  return isLeaf ? ownDirectory.slice(0, -LEAF.length - 1) : ownDirectory;
}

function planWithoutV2(host: CgroupHost): PreparePlan {
  const base = { directory: v2Hierarchy(host)?.mountPoint ?? '/sys/fs/cgroup', actions: [], undo: [] };
  if (host.hierarchies.some(({ version, controllers }) => version === 1 && controllers.length > 0)) {
    return { ...base, notes: ['cgroup v1: groups can have limits as it is'], refusals: [] };
  }
  if (v2Hierarchy(host) !== undefined) {
    const refusal = new CgroupError({
      operation: 'prepare',
      directory: base.directory,
      rule: "this process's own group is not below what is mounted there",
      fix: 'start the container with --cgroupns=private, or mount cgroup2 inside its cgroup namespace',
    });
    return { ...base, notes: [], refusals: [refusal] };
  }
  const refusal = new CgroupError({
    operation: 'prepare',
    directory: '/sys/fs/cgroup',
    rule: 'no cgroup hierarchy is mounted',
    fix: 'mount one: mount -t cgroup2 none /sys/fs/cgroup',
  });
  return { ...base, notes: [], refusals: [refusal] };
}

function populatedError(directory: string, foreign: readonly number[], missing: readonly string[]): CgroupError {
  const some = foreign.slice(0, 5).join(', ');
  return new CgroupError({
    operation: 'enable',
    directory,
    file: 'cgroup.subtree_control',
    value: missing.map((name) => `+${name}`).join(' '),
    rule: `a group that holds processes cannot give controllers to its children, and ${foreign.length} of other programs are in it (pid ${some}${foreign.length > 5 ? ', …' : ''})`,
    fix: "let them be moved into a leaf: 'nestling ci prepare --cgroups=move'",
  });
}

function absentError(directory: string, absent: readonly string[]): CgroupError {
  return new CgroupError({
    operation: 'enable',
    directory,
    file: 'cgroup.subtree_control',
    value: absent.map((name) => `+${name}`).join(' '),
    errno: 'ENOENT',
    rule: 'the controller is not in cgroup.controllers here: the group above does not hand it down, or a v1 hierarchy has it',
    fix: 'start the container or the service with that controller delegated (systemd: Delegate=yes), or boot with cgroup_no_v1=all',
  });
}

function readOnlyError({ readOnly }: CgroupHierarchy, directory: string): CgroupError {
  return new CgroupError({
    operation: 'write',
    directory,
    file: 'cgroup.subtree_control',
    errno: readOnly ? 'EROFS' : 'EACCES',
    rule: readOnly ? 'the hierarchy is mounted read-only' : "the group is not this user's",
    fix: readOnly
      ? 'run the container with --privileged, or -v /sys/fs/cgroup:/sys/fs/cgroup:rw and --cgroupns=private'
      : "start the program under 'systemd-run --user --scope -p Delegate=yes', or as root",
  });
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

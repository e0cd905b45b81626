/**
 * Turns what a child is to have before its program runs (parent-death signal, cgroups, limits, affinity, user) into a
 * chain of stock commands that exec one another. Pure: data in, data out. It starts nothing.
 *
 * The chain, outermost first, each link only when asked for:
 *   sh (join cgroups, oom_score_adj) → prlimit → taskset → nice → setpriv (user, capabilities, parent-death signal)
 *     → sh (last check, security label) → program
 * Each link is an execve of its own, so that the last shell does the first one's part too where no privilege is given up in between.
 * Privileged links come before setpriv gives the privileges up. setpriv sets the signal after the user, because a change
 * of credentials clears it. The last shell comes after the signal is armed: had the parent died before, no signal would
 * ever come, but then the shell's parent is another process and it leaves. So there is no moment at which the parent's
 * death is missed. A program that is setuid or has file capabilities clears the signal again: that is the kernel's rule.
 */

import type { GroupJoin } from './group-join.ts';
import { ProcessError } from './process-error.ts';

/** Exit code of a link that could not do its part: the same convention as `env`, `nice` and `timeout`. */
export const SETUP_FAILED_EXIT_CODE = 125;

export type LimitName =
  | 'as'
  | 'core'
  | 'cpu'
  | 'data'
  | 'fsize'
  | 'locks'
  | 'memlock'
  | 'msgqueue'
  | 'nice'
  | 'nofile'
  | 'nproc'
  | 'rss'
  | 'rtprio'
  | 'rttime'
  | 'sigpending'
  | 'stack';
/** In the kernel's units (bytes, files, seconds: see prlimit(2)). */
export type LimitValue = number | 'unlimited';

/** What the child has before its program runs. */
export interface ChildSetup {
  /** SIGKILL the child when this process ends, however it ends. Only from the main thread. */
  dieWithParent?: boolean;
  /** Host CPU numbers that the child may run on. */
  affinity?: readonly number[];
  /** Niceness, added to this process's own. */
  nice?: number;
  user?: number;
  group?: number;
  /** Supplementary groups, when `user` or `group` is given; default none. */
  supplementaryGroups?: readonly number[];
  /** No capability, and no way to get one by executing anything. As root: an ordinary user who owns root's files. */
  clearCapabilities?: boolean;
  /** Written by the child last of all: the label that the program is executed with (`/proc/self/attr/exec`). */
  execLabels?: readonly ExecLabel[];
  /** Soft and hard limit alike, or each of its own. */
  limits?: Partial<Record<LimitName, LimitValue | { soft: LimitValue; hard: LimitValue }>>;
  /** Files that the child writes its own pid to (`cgroup.procs`), in this order. */
  cgroupProcs?: readonly string[];
  /** -1000 to 1000; lowering it needs CAP_SYS_RESOURCE. */
  oomScoreAdj?: number;
}

export interface ExecLabel {
  readonly file: string;
  readonly label: string;
}

export interface WrapFacts {
  /** Pid of the process that spawns. */
  parentPid: number;
  isMainThread: boolean;
  /** Absolute path of a tool; throws when there is none. */
  locate: (tool: string) => string;
  /** How a group is joined by its `cgroup.procs` file. */
  planJoin: (procs: string) => GroupJoin;
  /** The child's fd (3 to 9) on which the chain reports; undefined: nothing is reported. */
  statusFd?: number | undefined;
  /** Before the program is executed, wait for a line on the status fd; its end means that the parent is gone. */
  hold?: boolean;
}

export interface WrappedCommand {
  command: string;
  args: string[];
}

/** Whether the chain is needed at all. */
export function needsWrapper(setup: ChildSetup): boolean {
  return (
    setup.dieWithParent === true ||
    (setup.affinity?.length ?? 0) > 0 ||
    (setup.nice ?? 0) !== 0 ||
    setup.user !== undefined ||
    setup.group !== undefined ||
    setup.clearCapabilities === true ||
    (setup.execLabels?.length ?? 0) > 0 ||
    Object.keys(setup.limits ?? {}).length > 0 ||
    (setup.cgroupProcs?.length ?? 0) > 0 ||
    setup.oomScoreAdj !== undefined
  );
}

/**
 * The command to spawn instead of `program`. Arguments stay array elements all the way; no text of the caller's is ever
 * read by a shell as program text.
 * @throws ProcessError for a parent-death signal outside the main thread, or what `locate` throws
 */
export function wrapCommand(program: WrappedCommand, setup: ChildSetup, facts: WrapFacts): WrappedCommand {
  if (setup.dieWithParent === true && !facts.isMainThread) throw workerThreadError(program.command);
  const prepare = prepareStep(setup, facts);
  const between = [...limitsLink(setup, facts), ...affinityLink(setup, facts), ...niceLink(setup, facts)];
  const isOneShell = between.length === 0 && !givesUpPrivileges(setup);
  const chain = [
    ...(isOneShell ? [] : shellLink(facts, 'nestling-prepare', prepare, { words: [], lines: ['exec "$@"'] })),
    ...between,
    ...setprivLink(setup, facts),
    ...shellLink(facts, 'nestling-exec', isOneShell ? prepare : undefined, lastStep(setup, facts)),
    program.command,
    ...program.args,
  ];
  return { command: chain[0] ?? program.command, args: chain.slice(1) };
}

function workerThreadError(command: string): ProcessError {
  return new ProcessError(
    `cannot start ${command} with dieWithParent from a worker thread: the kernel sends the parent-death signal when ` +
      'the spawning thread ends, not the process; start it from the main thread',
    { operation: 'spawn', command },
  );
}

/** Part of a shell's script, and the words that it takes off its arguments. */
interface ShellStep {
  readonly words: readonly string[];
  readonly lines: readonly string[];
}

/** Without anything to prepare there is no first shell. */
function shellLink(facts: WrapFacts, name: string, prepare: ShellStep | undefined, last: ShellStep): string[] {
  if (prepare === undefined && name === 'nestling-prepare') return [];
  const steps = [...(prepare === undefined ? [] : [prepare]), last];
  const script = steps.flatMap(({ lines }) => lines).join('\n');
  return [facts.locate('sh'), '-c', script, name, ...steps.flatMap(({ words }) => words)];
}

function givesUpPrivileges({ user, group, clearCapabilities }: ChildSetup): boolean {
  return user !== undefined || group !== undefined || clearCapabilities === true;
}

/**
 * dash's `echo` reports every failed write as "I/O error", so on failure the external printf tries again and names the errno.
 * `$$` rather than `/proc/self` or 0: that printf is another process.
 */
function prepareStep(setup: ChildSetup, facts: WrapFacts): ShellStep | undefined {
  const files = setup.cgroupProcs ?? [];
  if (files.length === 0 && setup.oomScoreAdj === undefined) return undefined;
  const oom = setup.oomScoreAdj === undefined ? '' : String(setup.oomScoreAdj);
  return {
    words: [
      oom,
      String(files.length),
      ...files.map(facts.planJoin).flatMap(({ thread, process }) => [thread, process]),
    ],
    lines: [
      'put() {',
      '  { echo "$1" >"$2"; } 2>/dev/null && return',
      `  { printf 'cannot write %s to %s: ' "$3" "$2" >&2; env printf '%s\\n' "$3" >"$2" || exit ${SETUP_FAILED_EXIT_CODE}; } 2>&${facts.statusFd ?? 2}`,
      '}',
      '[ -z "$1" ] || put "$1" "/proc/$$/oom_score_adj" "$1"',
      'count=$2; shift 2',
      'while [ "$count" -gt 0 ]; do',
      '  [ -n "$1" ] && { echo 0 >"$1"; } 2>/dev/null || put "$$" "$2" "$$"',
      '  count=$((count - 1)); shift 2',
      'done',
    ],
  };
}

function limitsLink(setup: ChildSetup, facts: WrapFacts): string[] {
  const limits = Object.entries(setup.limits ?? {});
  if (limits.length === 0) return [];
  const options = limits.map(([name, value]) =>
    typeof value === 'object' ? `--${name}=${value.soft}:${value.hard}` : `--${name}=${value}:${value}`,
  );
  return [facts.locate('prlimit'), ...options];
}

function affinityLink(setup: ChildSetup, facts: WrapFacts): string[] {
  if (setup.affinity === undefined || setup.affinity.length === 0) return [];
  return [facts.locate('taskset'), '--cpu-list', setup.affinity.join(',')];
}

function niceLink(setup: ChildSetup, facts: WrapFacts): string[] {
  return (setup.nice ?? 0) === 0 ? [] : [facts.locate('nice'), '-n', String(setup.nice)];
}

function setprivLink(setup: ChildSetup, facts: WrapFacts): string[] {
  const options: string[] = [];
  if (setup.group !== undefined) options.push('--regid', String(setup.group));
  if (setup.user !== undefined) options.push('--reuid', String(setup.user));
  if (options.length > 0) {
    const groups = setup.supplementaryGroups ?? [];
    options.push(...(groups.length === 0 ? ['--clear-groups'] : ['--groups', groups.join(',')]));
  }
  if (setup.clearCapabilities === true) options.push('--inh-caps=-all', '--bounding-set=-all');
  if (setup.dieWithParent === true) options.push('--pdeathsig', 'KILL');
  return options.length === 0 ? [] : [facts.locate('setpriv'), ...options, '--'];
}

function lastStep(setup: ChildSetup, facts: WrapFacts): ShellStep {
  const parent = setup.dieWithParent === true ? String(facts.parentPid) : '';
  const fd = facts.statusFd;
  const labels = setup.execLabels ?? [];
  const lines = [
    `[ -z "$1" ] || [ "$PPID" = "$1" ] || exit ${SETUP_FAILED_EXIT_CODE}`,
    'shift',
    ...(labels.length === 0 ? [] : [labelScript(fd ?? 2)]),
    ...(fd === undefined ? [] : [`echo ready >&${fd}`]),
    ...(fd !== undefined && facts.hold === true ? [`read -r go <&${fd} || exit ${SETUP_FAILED_EXIT_CODE}`] : []),
    fd === undefined ? 'exec "$@"' : `exec "$@" ${fd}>&-`,
  ];
  const words =
    labels.length === 0 ? [] : [String(labels.length), ...labels.flatMap(({ file, label }) => [file, label])];
  return { words: [parent, ...words], lines };
}

/** The next execve(2) takes the label, so no other program may come between: the shell's own printf is none. */
function labelScript(statusFd: number): string {
  return [
    'count=$1; shift',
    'while [ "$count" -gt 0 ]; do',
    `  { printf '%s' "$2" >"$1"; } 2>/dev/null || {`,
    `    printf 'the kernel does not take the security label %s (%s)\\n' "$2" "$1" >&${statusFd}`,
    `    exit ${SETUP_FAILED_EXIT_CODE}`,
    '  }',
    '  count=$((count - 1)); shift 2',
    'done',
  ].join('\n');
}

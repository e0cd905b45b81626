/**
 * The command that an embedded container lives in: namespaces around the runtime, which the kernel ends with the caller and whose mounts go with
 * them. Pure: data in, a command line out.
 */
import { basename, dirname, join } from 'node:path';
import { GATE_FD, type NurseryRequest } from '../../../process/nursery-words.ts';
import type { DevFolder } from './dev-folder.ts';
import type { PreparedMount } from './mounts.ts';
import { runtimeWords } from './oci-runtime.ts';

export interface OuterCommandInput {
  /** OCI runtime, as found. */
  readonly runtime: string;
  readonly id: string;
  /** Folder of the runtime's own state. */
  readonly stateDir: string;
  readonly bundle: string;
  readonly consoleSocket: string;
  /** Written when the container's first program runs. */
  readonly pidFile: string;
  readonly prepared: readonly PreparedMount[];
  readonly root: string;
  /** Covered with a file system that everybody may walk through, with `root` and the places of mounts in it. */
  readonly open?: string | undefined;
  readonly mountPlace: (index: number) => string;
  /** The v2 tree of a host that has v1 as well: crun refuses to see both. */
  readonly hiddenCgroup?: string | undefined;
  /** Namespaces of the host's processes, and the files that they are bound to: the /proc around the runtime has other numbers. */
  readonly sharedNamespaces?: readonly { readonly source: string; readonly at: string }[];
  /** A network namespace of its own that the caller fills before the runtime starts. */
  readonly privateNetwork: boolean;
  /** All but its first program: the runtime makes the container, and leaves it at that. */
  readonly createOnly?: boolean | undefined;
  /** Holds the steps by the time that the caller lets it go on. */
  readonly stepsFile: string;
  /** Made for a nursery's containers alone. */
  readonly dev?: DevFolder | undefined;
  /** Whoever starts it is no root of the host: in a user namespace, whose ids the caller writes when a line on the gate asks for it. */
  readonly unprivileged?: boolean;
  /** Who holds the terminal and waits for the end, where the container outlives its caller; else the runtime itself does. */
  readonly monitor?: ContainerMonitor | undefined;
}

/** conmon, and where it keeps what it is asked for. */
export interface ContainerMonitor {
  readonly program: string;
  /** Folder of its socket; short, as it is a link in a socket's path. */
  readonly socketDir: string;
  /** Gets a file named after the container, with its exit status. */
  readonly exitDir: string;
  /** What the container prints, in the format of Kubernetes' logs. */
  readonly consoleLog: string;
  readonly consoleLogBytes: number;
}

/** Where conmon tells the first program's pid, or why there is none. */
export const SYNC_FD = 4;

export interface OuterCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** What the file of its steps is to contain. */
  readonly steps: string;
  /** All that happens in the namespaces, as one script for people to read. */
  readonly script: string;
}

/** What a nursery is asked for. */
export type NurseryCommand = Pick<
  NurseryRequest,
  'command' | 'args' | 'copyAt' | 'cwd' | 'link' | 'keepsGate' | 'namespaces' | 'mounts' | 'files' | 'variables'
>;

type RefusedLink = NonNullable<NurseryRequest['link']>;

const USERS = ['--user', '--keep-caps', '--'];

/** Before its ids are there it is nobody, and keeps the rights that it has over its namespace. */
const BECOME_ROOT = `echo map >&${GATE_FD} && read -r go <&${GATE_FD} && exec "$@"`;

/**
 * A line on the gate lets it go on, once the caller has written what there is to do; with a network of its own a second one, where the caller has work
 * to do in it.
 */
export function planOuterCommand(input: OuterCommandInput): OuterCommand {
  const { unprivileged, stepsFile } = input;
  const { bound, hidden, mounts, gate, variables, last } = stepsOf(input);
  const first = [...bound, ...hidden];
  return {
    command: 'unshare',
    args: [
      ...(unprivileged === true ? [...USERS, 'sh', '-c', BECOME_ROOT, 'sh', 'unshare'] : []),
      ...namespacesOf(input),
      'sh',
      '-c',
      [...first, `read -r go <&${GATE_FD}`, '. "$0"'].join(' && '),
      stepsFile,
    ],
    steps: `${[...mounts, ...gate, `exec ${GATE_FD}>&-`, ...variables, last].join(' &&\n')}\n`,
    script: [...first, ...mounts, ...gate, ...variables, last].join(' && '),
  };
}

/**
 * The same for a nursery, when everything is prepared: namespaces, and what is mounted for each of them, are its own to make, and its gate is where a
 * network is waited for. The monitor has that gate, to tell what comes of it.
 */
export function planNurseryCommand(input: OuterCommandInput): NurseryCommand {
  const { prepared, open, root, privateNetwork, hiddenCgroup, monitor, dev, sharedNamespaces: shared = [] } = input;
  const { bound, mounts, last } = stepsOf(input);
  const common = {
    keepsGate: monitor !== undefined,
    copyAt: copyPlace(input),
    ...(monitor === undefined ? {} : { variables: variablesOf(monitor, GATE_FD), cwd: monitor.socketDir }),
    namespaces: ['pid', 'mount', ...(privateNetwork ? (['net'] as const) : [])] as const,
    mounts: [
      ...(shared.length > 0 ? [] : [{ type: 'proc', target: '/proc' }]),
      ...(hiddenCgroup === undefined ? [] : [{ type: 'tmpfs', target: hiddenCgroup }]),
      ...(dev === undefined ? [] : [dev.mount]),
    ],
    ...(dev === undefined ? {} : { files: dev.files }),
  };
  if (bound.length === 0 && prepared.length === 0 && open === undefined) {
    const [command = '', ...args] = innerCommand(input);
    return { ...common, link: linkRefused(root), command, args };
  }
  return { ...common, command: 'sh', args: ['-c', [...bound, ...mounts, last].join(' && ')] };
}

/** What is around a nursery of containers, with which the kernel ends all of them, where they do not outlive it; undefined: nothing. */
export function planNursery({
  unprivileged,
  outlived,
}: {
  readonly unprivileged: boolean;
  readonly outlived: boolean;
}) {
  const becomeRoot = [...USERS, 'sh', '-c', `${BECOME_ROOT} ${GATE_FD}>&-`, 'sh'];
  const ended = ['--pid', '--fork', '--kill-child', '--'];
  if (outlived) return unprivileged ? { command: 'unshare', args: becomeRoot } : undefined;
  return { command: 'unshare', args: [...(unprivileged ? [...becomeRoot, 'unshare'] : []), ...ended] };
}

function stepsOf(input: OuterCommandInput) {
  const { hiddenCgroup, privateNetwork, sharedNamespaces: shared = [] } = input;
  return {
    bound: [
      ...shared.flatMap(({ source, at }) => [`: >${quoteWord(at)}`, words('mount', '--bind', source, at)]),
      ...(shared.length > 0 ? [words('mount', '-t', 'proc', 'proc', '/proc')] : []),
    ],
    hidden: hiddenCgroup === undefined ? [] : [words('mount', '-t', 'tmpfs', 'tmpfs', hiddenCgroup)],
    mounts: [
      ...openPlace(input),
      ...input.prepared.flatMap((mount) => prepare(mount, input)),
      refuseLink(linkRefused(input.root)),
    ],
    gate: privateNetwork ? [`echo ready >&${GATE_FD}`, `read -r go <&${GATE_FD}`] : [],
    variables: input.monitor === undefined ? [] : surroundings(input.monitor),
    last: `exec ${words(...innerCommand(input))}`,
  };
}

function namespacesOf({ privateNetwork, sharedNamespaces: shared = [] }: OuterCommandInput): string[] {
  return [
    '--pid',
    '--mount',
    ...(privateNetwork ? ['--net'] : []),
    '--fork',
    '--kill-child',
    ...(shared.length > 0 ? [] : ['--mount-proc']),
    '--propagation',
    'private',
    '--',
  ];
}

/** What stays in the foreground until the container has ended. */
function innerCommand({
  runtime,
  id,
  stateDir,
  bundle,
  open,
  consoleSocket,
  pidFile,
  monitor,
  createOnly = false,
}: OuterCommandInput): string[] {
  const global = runtimeWords({ runtime, stateDir });
  const own = open ?? bundle;
  const action = createOnly ? 'create' : 'run';
  if (monitor === undefined)
    return [runtime, ...global, action, '--bundle', own, '--console-socket', consoleSocket, '--pid-file', pidFile, id];
  return [
    monitor.program,
    '--sync',
    '--terminal',
    '--full-attach',
    `--cid=${id}`,
    `--cuuid=${id}`,
    `--bundle=${own}`,
    `--container-pidfile=${pidFile}`,
    `--socket-dir-path=${monitor.socketDir}`,
    `--exit-dir=${monitor.exitDir}`,
    `--persist-dir=${monitor.exitDir}`,
    `--log-path=k8s-file:${monitor.consoleLog}`,
    `--log-size-max=${monitor.consoleLogBytes}`,
    `--runtime=${runtime}`,
    ...[...global, ...(createOnly ? [] : RUN_AT_ONCE)].map((word) => `--runtime-arg=${word}`),
  ];
}

/**
 * Whatever the monitor's runtime is called with, `create --bundle …` comes after it. With these words before, that runs the container in one step,
 * as the runtimes take the last `--pid-file` of several. `create` alone would want a second call, in the container's namespaces, to start it.
 */
const RUN_AT_ONCE = ['run', '--detach', '--pid-file'];

/** `syncFd`: where it tells the first program's pid, or why there is none. */
function variablesOf({ socketDir }: ContainerMonitor, syncFd: number): Record<string, string> {
  // It makes a folder for a moment, which would stay where it is killed in it.
  return { _OCI_SYNCPIPE: String(syncFd), TMPDIR: socketDir };
}

/** Where memory runs out it writes a file in the folder where it works, too. */
function surroundings(monitor: ContainerMonitor): string[] {
  return [words('export', ...assignments(variablesOf(monitor, SYNC_FD))), words('cd', monitor.socketDir)];
}

function assignments(variables: Readonly<Record<string, string>>): string[] {
  return Object.entries(variables).map(([name, value]) => `${name}=${value}`);
}

/** crun follows it, and makes the container's nodes wherever it leads on the host. */
function linkRefused(root: string): RefusedLink {
  return { path: `${root}/dev`, why: "the container's root has a symbolic link for /dev; make it a directory" };
}

function refuseLink({ path, why }: RefusedLink): string {
  return `{ [ ! -L ${quoteWord(path)} ] || { echo ${quoteWord(why)} >&2; exit 1; }; }`;
}

/** Where a nursery names its copy of the runtime. */
function copyPlace({ runtime, stateDir }: Pick<OuterCommandInput, 'runtime' | 'stateDir'>): string {
  return join(dirname(stateDir), basename(runtime));
}

/** What a container's runtime is called with, to reach it again. */
export interface RuntimePlace {
  /** Its path; of a copy, which nobody but the container's own processes can execute, its name. */
  readonly runtime: string;
  readonly stateDir: string;
  readonly id: string;
  /** As its mount namespace has it. */
  readonly bundle: string;
}

/** Of the process that keeps a container in the foreground, by its command line; undefined for any other. */
export function readRuntimePlace(words: readonly string[]): RuntimePlace | undefined {
  const valueOf = (option: string): string | undefined =>
    words.find((word) => word.startsWith(`${option}=`))?.slice(option.length + 1);
  const runtimeWords = words.flatMap((word) =>
    word.startsWith('--runtime-arg=') ? [word.slice('--runtime-arg='.length)] : [],
  );
  const isMonitor = runtimeWords.length > 0;
  if (!isMonitor && !words.includes('--console-socket')) return undefined;
  const own = isMonitor ? runtimeWords : words;
  const after = (word: string): string | undefined => (own.includes(word) ? own[own.indexOf(word) + 1] : undefined);
  const stateDir = after('--root');
  const bundle = isMonitor ? valueOf('--bundle') : after('--bundle');
  const runtime = isMonitor ? valueOf('--runtime') : words[0];
  const id = isMonitor ? valueOf('--cid') : words.at(-1);
  if (stateDir === undefined || runtime === undefined || id === undefined || bundle === undefined) return undefined;
  return { runtime: runtime === copyPlace({ runtime, stateDir }) ? basename(runtime) : runtime, stateDir, id, bundle };
}

/** The container's root reads its bundle too: hooks start in it. */
function openPlace({ open, bundle }: OuterCommandInput): string[] {
  if (open === undefined) return [];
  return [words('mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', open), words('cp', `${bundle}/config.json`, open)];
}

/** Where mounts are put; on the host's own file system the caller makes these folders, without a process for each. */
export function placesOfMounts({
  prepared,
  root,
  mountPlace,
}: Pick<OuterCommandInput, 'prepared' | 'root' | 'mountPlace'>): string[] {
  return prepared.map(({ at }) => (at === 'root' ? root : mountPlace(at)));
}

function prepare(mount: PreparedMount, { root, open, mountPlace }: OuterCommandInput): string[] {
  const { kind, source, readonly, at } = mount;
  const place = at === 'root' ? root : mountPlace(at);
  const access = readonly ? 'ro' : 'rw';
  const made = open === undefined ? [] : [words('mkdir', '-p', place)];
  // A copy of the tree, private as all mounts of the namespace are: what is mounted in the container is not seen outside.
  if (kind === 'bind') return [...made, words('mount', '--rbind', source, place)];
  // Device nodes in it are whatever its maker wrote there.
  return [...made, words('mount', '-o', `${kind === 'loop' ? 'loop,' : ''}nodev,${access}`, source, place)];
}

function words(...all: readonly string[]): string {
  return all.map(quoteWord).join(' ');
}

/** As a shell takes it. */
export function quoteWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

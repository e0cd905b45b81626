/**
 * Runs a program in a container that runs already, as the OCI runtime that keeps it does: with its namespaces, limits, capabilities and users.
 * All that it needs to know is the container's first program; so it works for whoever is root on the container's host.
 */
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { detectCgroups } from '../../../cgroup/detect.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { memberOf } from '../../../core/members.ts';
import { randomHex } from '../../../core/random.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { listChildren, listDescendants, listProcesses, readProcStat } from '../../../process/proc.ts';
import { errnoOf } from '../../../process/process-error.ts';
import { spawnChild } from '../../../process/spawn.ts';
import type { ExecOptions, ExecResult } from '../../exec-operations.ts';
import { pidNamespaceOf, signalProcess } from '../host/container-processes.ts';
import { enterOptions } from '../host/enter-namespaces.ts';
import { runtimeWords } from '../plan/oci-runtime.ts';
import { type RuntimePlace, readRuntimePlace } from '../plan/outer-command.ts';
import { idsInside } from './container-users.ts';

const log = new LogSource('lxc.lxc_process');
const NO_BYTES = Buffer.alloc(0);
const PIPES = ['pipe', 'pipe', 'pipe'] as const;
const INHERITED = ['inherit', 'inherit', 'inherit'] as const;
/** The first after them. */
const PROCESS_FD = 3;
/** Signals that who runs the command may get, and means for the program. */
const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'] as const;

/** @throws VirtError where the container has ended, or was not started by us; or the signal's reason */
export async function runInContainer(
  initPid: number,
  command: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { signal, stdio = 'capture', terminal = false } = options;
  const keeper = findKeeper(initPid);
  using described = describeProcess(keeper, planProcess(keeper, initPid, command, options));
  const args = [...enterOptions(keeper.pid, ['-m', '-p']), '--', ...execWords(keeper)];
  log.debug('exec', () => `in the container of process ${initPid}: ${command.join(' ')}`);
  const captures = stdio === 'capture';
  const child = await spawnChild(
    {
      command: 'nsenter',
      args,
      stdio: [...(captures ? PIPES : INHERITED), { fd: described.fd }],
      cgroupProcs: groupsOf(initPid),
      // Else Ctrl-C reaches it by itself.
      newSession: captures,
      dieWithParent: true,
    },
    { signal },
  );
  await using _child = child;
  using _forwarding = forwardSignals(child, { own: !captures && !terminal, signal });
  const [stdout, stderr] = captures ? await exchange(child, options.input) : [NO_BYTES, NO_BYTES];
  const { exitCode, signal: endedBy } = await child.exited;
  signal?.throwIfAborted();
  if (exitCode !== undefined) return { status: exitCode, stdout, stderr };
  throw new VirtError(`the program in the container was lost: nsenter was ended by ${endedBy}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.LXC,
  });
}

/** What holds a container in the foreground: the runtime, or conmon. Both live in the outer namespaces. */
interface Keeper extends RuntimePlace {
  readonly pid: number;
}

/** @throws VirtError where none of the process's ancestors is one */
function findKeeper(initPid: number): Keeper {
  for (let pid = parentOf(initPid); pid > 1; pid = parentOf(pid)) {
    const place = readRuntimePlace(readWords(pid, 'cmdline'));
    if (place !== undefined) return { ...place, pid };
  }
  throw new VirtError('cannot run a program in the container: it has ended, or Nestling did not start it', {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.LXC,
  });
}

/**
 * What runs in it is in a file: the runtime's command line is there for all users of the host to read. That it has a terminal is said there too;
 * crun 1.8 mixes its own words into the output where it is told twice.
 */
function execWords({ runtime, stateDir, id }: Keeper): string[] {
  return [
    lookUpProgram(runtime) ?? runtime,
    ...runtimeWords({ runtime, stateDir }),
    'exec',
    '--process',
    `/proc/self/fd/${PROCESS_FD}`,
    id,
  ];
}

/** As the first program is, but for what is asked for. */
function planProcess(
  { pid, bundle }: Keeper,
  initPid: number,
  command: readonly string[],
  { user, cwd, env = [], terminal = false }: ExecOptions,
): unknown {
  const spec: unknown = JSON.parse(readFileSync(`/proc/${pid}/root${bundle}/config.json`, 'utf8'));
  const first = memberOf(spec, 'process');
  const who = user === undefined ? undefined : idsInside(initPid, user);
  const known = memberOf(first, 'env');
  return {
    ...(first as object),
    args: command,
    cwd: cwd ?? '/',
    env: [
      ...(Array.isArray(known) ? (known as unknown[]) : []),
      ...(who?.home === undefined ? [] : [`HOME=${who.home}`]),
      ...env,
    ],
    ...(who === undefined ? {} : { user: { uid: who.uid, gid: who.gid } }),
    terminal,
  };
}

/** A file without a name. */
function describeProcess({ stateDir }: Keeper, process: unknown): Disposable & { readonly fd: number } {
  const path = join(dirname(stateDir), `process-${randomHex(8)}`);
  const fd = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  writeSync(fd, JSON.stringify(process));
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

/** The files to write a pid to, so that it shares the limits of that process. */
function groupsOf(pid: number): string[] {
  const { hierarchies } = detectCgroups({ selfCgroup: readFileSync(`/proc/${pid}/cgroup`, 'utf8') });
  return hierarchies.flatMap(({ ownDirectory, writable }) =>
    ownDirectory !== undefined && writable ? [`${ownDirectory}/cgroup.procs`] : [],
  );
}

async function exchange(child: ChildHandle, input: Uint8Array | undefined): Promise<[Buffer, Buffer]> {
  const stdin = child.writable(0);
  // A program that does not read what it is given is within its rights.
  stdin.on('error', () => {});
  stdin.end(input ?? NO_BYTES);
  return await Promise.all([readAll(child.readable(1)), readAll(child.readable(2))]);
}

async function readAll(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks);
}

/** nsenter passes no signals on; the runtime below it does. `own`: also those that this process gets. */
function forwardSignals(child: ChildHandle, { own, signal }: { own: boolean; signal: AbortSignal | undefined }) {
  const send = (name: NodeJS.Signals): void => {
    for (const { pid } of listChildren(child.pid)) signalProcess(pid, name);
  };
  // All of it: a program outlives the runtime that has started it.
  const abort = (): void => {
    for (const { pid } of listDescendants(child.pid)) signalProcess(pid, 'SIGKILL');
  };
  signal?.addEventListener('abort', abort, { once: true });
  if (own) for (const name of FORWARDED) process.on(name, send);
  return {
    [Symbol.dispose]: () => {
      signal?.removeEventListener('abort', abort);
      for (const name of FORWARDED) process.off(name, send);
    },
  };
}

/** The process that the container of `initPid` knows by `number`; undefined where there is none. */
export function pidInside(initPid: number, number: number): number | undefined {
  const namespace = pidNamespaceOf(initPid);
  return listProcesses().find(({ pid, gone }) => {
    if (gone || pidNamespaceOf(pid) !== namespace) return false;
    return Number(/^NSpid:.*\s(\d+)$/m.exec(readText(`/proc/${pid}/status`))?.[1]) === number;
  })?.pid;
}

/** First program of the container whose PID namespace has this inode; undefined where it has ended. */
export function initOfNamespace(inode: bigint | number): number | undefined {
  const name = `pid:[${inode}]`;
  return listProcesses().find(
    ({ pid }) => pidNamespaceOf(pid) === name && /^NSpid:.*\s1$/m.test(readText(`/proc/${pid}/status`)),
  )?.pid;
}

function parentOf(pid: number): number {
  return readProcStat(pid)?.parentPid ?? 0;
}

function readWords(pid: number, file: 'cmdline' | 'environ'): string[] {
  return readText(`/proc/${pid}/${file}`).split('\0').slice(0, -1);
}

/** Empty for a process that has ended. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return '';
    throw error;
  }
}

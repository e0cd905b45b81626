/**
 * Starts the processes that a guest needs beside QEMU (swtpm, virtiofsd, passt) and waits until they are ready. They die
 * with this process as QEMU does. What they are and when is the plan's business.
 */
import { existsSync, readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { raceSignal, withTimeout } from '../../../core/abort.ts';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { spawnChild } from '../../../process/spawn.ts';
import type { ChildSetup } from '../../../process/wrap-command.ts';
import type { HelperProcess } from '../plan/parts.ts';
import { type FdSources, prepareFds } from './inherited-fds.ts';

/** A helper that is not ready by then never will be. */
const READY_TIMEOUT_MS = 20_000;

export interface HelperOptions {
  readonly fdSources: FdSources;
  /** The guest's log: helpers' output goes there too. */
  readonly logFd: number;
  readonly env: NodeJS.ProcessEnv;
  /** Where it joins the guest's cgroups: what it uses is the guest's. */
  readonly cgroupProcs: readonly string[];
  /** Whether it dies with this process; else somebody must know of it. */
  readonly dieWithParent: boolean;
  /** Another user than ours, with a folder for what it puts aside. */
  readonly identity?: HelperIdentity | undefined;
  /** Hears of the process before the program runs. */
  readonly onPid?: ((pid: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface HelperIdentity extends Required<Pick<ChildSetup, 'user' | 'group' | 'supplementaryGroups'>> {
  readonly temporary: string;
  /** What keeps this user from doing it, when it has failed. */
  readonly explain: () => string | undefined;
}

/**
 * Starts one helper. A one-shot helper has ended when this returns.
 * @throws VirtError naming the helper and its last words
 */
export async function startHelper(helper: HelperProcess, options: HelperOptions): Promise<ChildHandle> {
  using fds = await prepareFds(helper.fds ?? [], options.fdSources);
  using deadline = withTimeout(options.signal, READY_TIMEOUT_MS);
  const { identity } = options;
  const isContained = helper.oneShot === true;
  const guardFd = isContained && mayContain() ? 3 + fds.stdio.length : undefined;
  const { command, args } = isContained ? contained(helper, identity, guardFd) : helper;
  const child = await spawnChild(
    {
      command,
      args,
      env: identity === undefined ? options.env : { ...options.env, TMPDIR: identity.temporary },
      dieWithParent: options.dieWithParent,
      cgroupProcs: options.cgroupProcs,
      ...(isContained || identity === undefined ? {} : credentialsOf(identity)),
      // As its guest: signals of the caller's terminal are for the caller alone.
      newSession: true,
      stdio: [
        'ignore',
        { fd: options.logFd },
        'tail',
        ...fds.stdio,
        ...(guardFd === undefined ? [] : ['pipe' as const]),
      ],
    },
    { signal: deadline, beforeExec: options.onPid },
  );
  if (guardFd !== undefined) answerGuard(child.duplex(guardFd));
  fds.publish();
  try {
    if (helper.oneShot === true) await untilDone(helper, child, identity, deadline);
    else if (helper.readySocket !== undefined) await untilReady(helper, child, helper.readySocket, deadline);
    return child;
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * A set-up program starts programs of its own (swtpm_setup a swtpm), which no parent-death signal of ours reaches: in a PID
 * namespace the kernel ends them all with the first. Where a user may not make one, the program runs as it is.
 */
function contained(
  helper: HelperProcess,
  identity: HelperIdentity | undefined,
  guardFd: number | undefined,
): { command: string; args: readonly string[] } {
  const guard = guardFd === undefined ? [] : ['sh', '-c', guardScript(guardFd), 'nestling-guard'];
  const whole = [...guard, helper.command, ...helper.args];
  const [command = '', ...args] = identity === undefined ? whole : asUser(whole, identity);
  if (guardFd === undefined) return { command, args };
  const mapping = isRoot() ? [] : ['--user', '--map-current-user'];
  return { command: 'unshare', args: [...mapping, '--pid', '--fork', '--kill-child', '--', command, ...args] };
}

/** Whether this process may make PID namespaces. */
function mayContain(): boolean {
  return isRoot() || mayUnshareUsers();
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/**
 * Runs when the signal for unshare's death is armed. Had we, and with us unshare, died before that, it would never come; but then nobody
 * answers, and the program is not executed. A parent cannot be looked at instead: it is outside of the namespace.
 */
function guardScript(fd: number): string {
  return `echo armed >&${fd} && read -r go <&${fd} && exec "$@" ${fd}>&-`;
}

function answerGuard(guard: Duplex): void {
  // How the program ends is in its exit status.
  guard.on('error', () => undefined);
  guard.once('data', () => guard.end('go\n'));
}

function credentialsOf({ user, group, supplementaryGroups }: HelperIdentity): Partial<ChildSetup> {
  return { user, group, supplementaryGroups };
}

/** Inside of the namespace, as only root makes one; the change of users clears the signal that unshare has set. */
function asUser(command: readonly string[], { user, group, supplementaryGroups }: HelperIdentity): string[] {
  const identity = ['--reuid', String(user), '--regid', String(group), '--groups', supplementaryGroups.join(',')];
  return ['setpriv', ...identity, '--pdeathsig', 'KILL', '--', ...command];
}

/** What the kernel, Debian's patch and AppArmor each have to say on unprivileged user namespaces. */
function mayUnshareUsers(): boolean {
  const read = (name: string, otherwise: string): string => {
    try {
      return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
    } catch {
      // The switch does not exist on this kernel.
      return otherwise;
    }
  };
  return (
    read('user/max_user_namespaces', '0') !== '0' &&
    read('kernel/unprivileged_userns_clone', '1') === '1' &&
    read('kernel/apparmor_restrict_unprivileged_userns', '0') === '0'
  );
}

async function untilDone(
  helper: HelperProcess,
  child: ChildHandle,
  identity: HelperIdentity | undefined,
  signal: AbortSignal,
): Promise<void> {
  const result = await raceSignal(child.exited, signal);
  if (result.exitCode === 0) return;
  const why = identity?.explain();
  throw failure(helper, `ended with ${result.signal ?? `status ${result.exitCode}`}`, why ?? result.stderrTail);
}

async function untilReady(
  helper: HelperProcess,
  child: ChildHandle,
  socket: string,
  signal: AbortSignal,
): Promise<void> {
  const watcher = watch(dirname(socket));
  try {
    const appeared = new Promise<void>((resolve) => {
      watcher.on('change', (_event, name) => {
        if (name === basename(socket) && existsSync(socket)) resolve();
      });
      // Watched first, looked second: what appears in between is seen by one of the two.
      if (existsSync(socket)) resolve();
    });
    const ended = child.exited.then((result) => {
      throw failure(
        helper,
        `ended with ${result.signal ?? `status ${result.exitCode}`} before it was ready`,
        result.stderrTail,
      );
    });
    await raceSignal(Promise.race([appeared, ended]), signal);
    // The loser of the race may still reject, at the helper's ordinary end.
    ended.catch(() => {});
  } finally {
    watcher.close();
  }
}

function failure(helper: HelperProcess, what: string, stderr: string): VirtError {
  const words = stderr.trim().split('\n').at(-1);
  return new VirtError(
    `${helper.name} (${helper.command}) ${what}${words === undefined || words === '' ? '' : `: ${words}`}`,
    {
      code: ErrorCode.INTERNAL_ERROR,
    },
  );
}

/**
 * Ends a process by escalation: SIGTERM, and SIGKILL after a bound. For our own children and, by identity, for processes
 * that are not. Asking a guest politely (ACPI, agent) comes before this and lives with the driver.
 */

import { isAlive, type ProcessIdentity } from './proc.ts';
import { errnoOf, ProcessError } from './process-error.ts';

export const DEFAULT_GRACE_MS = 5000;

export interface Terminable {
  readonly exited: Promise<unknown>;
  /** False when it has ended already. */
  kill(signal: NodeJS.Signals): boolean;
}

export interface EscalationOptions {
  /** How long SIGTERM may take before SIGKILL; 0: SIGKILL at once. */
  graceMs?: number;
  /** Out of patience: SIGKILL at once, and the wait rejects. */
  signal?: AbortSignal | undefined;
}

/** Ends `target` and resolves when it has ended. Calls may overlap: the shortest bound counts. */
export async function terminate(target: Terminable, options: EscalationOptions = {}): Promise<void> {
  const { graceMs = DEFAULT_GRACE_MS, signal } = options;
  if (!target.kill(graceMs <= 0 || signal?.aborted === true ? 'SIGKILL' : 'SIGTERM')) {
    await target.exited;
    return;
  }
  signal?.throwIfAborted();
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const kill = (): void => {
        try {
          target.kill('SIGKILL');
        } catch (error) {
          reject(error);
        }
      };
      abort = () => {
        kill();
        reject(signal?.reason);
      };
      if (graceMs > 0) timer = setTimeout(kill, graceMs);
      signal?.addEventListener('abort', abort, { once: true });
      target.exited.then(() => resolve(), reject);
    });
  } finally {
    clearTimeout(timer);
    if (abort !== undefined) signal?.removeEventListener('abort', abort);
  }
}

export interface TerminateProcessOptions extends EscalationOptions {
  procRoot?: string;
}

const FIRST_POLL_MS = 2;
const SLOWEST_POLL_MS = 50;

/**
 * Ends a process that is not our child (a re-attached daemon's guest). Resolves when it is gone; at once if it already is,
 * or if its pid now belongs to another process.
 * @throws ProcessError (`signal`, EPERM)
 */
export async function terminateProcess(
  identity: ProcessIdentity,
  options: TerminateProcessOptions = {},
): Promise<void> {
  const { procRoot = '/proc', ...escalation } = options;
  if (!isAlive(identity, procRoot)) return;
  const watch = new AbortController();
  const exited = untilGone(identity, { procRoot, signal: watch.signal });
  try {
    await terminate({ exited, kill: (signal) => killIdentity(identity, signal, procRoot) }, escalation);
  } finally {
    watch.abort();
    // Rejects with our own abort when the wait was given up; that error is the caller's already.
    await exited.catch(() => {});
  }
}

/**
 * Resolves when the process is gone. It polls: Node has no pidfd, and only a parent is told.
 */
export function untilGone(
  identity: ProcessIdentity,
  { procRoot = '/proc', signal }: { procRoot?: string; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const look = (pauseMs: number): void => {
      if (isAlive(identity, procRoot)) {
        timer = setTimeout(look, pauseMs, Math.min(pauseMs * 2, SLOWEST_POLL_MS));
        return;
      }
      signal?.removeEventListener('abort', abort);
      resolve();
    };
    if (signal?.aborted === true) return abort();
    signal?.addEventListener('abort', abort, { once: true });
    look(FIRST_POLL_MS);
  });
}

/** False where it has ended, or its pid is another's now. @throws ProcessError */
export function killIdentity(identity: ProcessIdentity, signal: NodeJS.Signals, procRoot = '/proc'): boolean {
  if (!isAlive(identity, procRoot)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ESRCH') return false;
    throw new ProcessError(`cannot send ${signal} to pid ${identity.pid}: ${errno ?? String(cause)}`, {
      operation: 'signal',
      command: `pid ${identity.pid}`,
      pid: identity.pid,
      errno,
      cause,
    });
  }
}

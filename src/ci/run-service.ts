/** Starts a daemon in the background and waits until it really answers; ends it again, by pid and start time so that nobody else is hit. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { socketAnswers } from '../host/socket-answers.ts';
import { isAlive, type ProcessIdentity, readIdentity } from '../process/proc.ts';
import { runCommand } from '../process/run-command.ts';
import type { CiAction } from './step.ts';

/** A daemon that has not made its socket by then never will. */
const START_TIMEOUT_MS = 20_000;
/** Then it is killed: libvirtd waits for its clients' calls to end. */
const STOP_TIMEOUT_MS = 5000;
const POLL_MS = 20;

export interface StartedService extends ProcessIdentity {
  readonly name: string;
}

export interface StartOptions {
  /** For its output. */
  readonly logFolder: string;
  /** As soon as there is a process, before it answers. */
  readonly onStarted: (service: StartedService) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/** Its own session: it outlives this command, and the job ends it with the container. */
export async function startService(
  { command, args, socket, client }: Extract<CiAction, { kind: 'service' }>,
  { logFolder, onStarted, signal }: StartOptions,
): Promise<void> {
  mkdirSync(logFolder, { recursive: true });
  const logPath = join(logFolder, `${basename(command)}.log`);
  const output = openSync(logPath, 'a', 0o600);
  const child = spawn(command, args, { detached: true, stdio: ['ignore', output, output] });
  closeSync(output);
  let ended: string | undefined;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (status, killer) => (ended = `it ended with ${killer ?? `status ${status}`}`));
  child.unref();
  const identity = child.pid === undefined ? undefined : readIdentity(child.pid);
  if (identity !== undefined) await onStarted({ ...identity, name: command });
  for (let waitedMs = 0; !(await socketAnswers(socket)); waitedMs += POLL_MS) {
    if (ended !== undefined) throw new Error(`${ended}${lastWords(logPath)}`);
    if (waitedMs >= START_TIMEOUT_MS) {
      throw new Error(`nobody answers at ${socket} after ${START_TIMEOUT_MS / 1000} s${lastWords(logPath)}`);
    }
    await pause(POLL_MS, undefined, { signal });
  }
  const [program, ...words] = client ?? [];
  if (program === undefined) return;
  const { status, stderr } = await runCommand(program, words, { timeout: START_TIMEOUT_MS, signal });
  if (status !== 0) throw new Error(`it answers no client: ${ended ?? stderr.trim()}${lastWords(logPath)}`);
}

/** Waits until it has ended. One that has ended already is fine. */
export async function stopService(service: StartedService): Promise<void> {
  const kill = (signal: NodeJS.Signals): void => {
    try {
      process.kill(service.pid, signal);
    } catch (error) {
      // It has ended since it was looked at.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  };
  if (!isAlive(service)) return;
  kill('SIGTERM');
  for (let waitedMs = 0; isAlive(service); waitedMs += POLL_MS) {
    if (waitedMs === STOP_TIMEOUT_MS) kill('SIGKILL');
    if (waitedMs > 2 * STOP_TIMEOUT_MS) throw new Error(`${service.name} (pid ${service.pid}) does not end`);
    await pause(POLL_MS);
  }
}

function lastWords(path: string): string {
  const words = readFileSync(path, 'utf8').trim().split('\n').at(-1) ?? '';
  return words === '' ? '' : `; its last words: ${words}`;
}

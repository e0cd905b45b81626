/**
 * Runs one program in the guest to its end through the agent's `guest-exec`. The agent tells nobody when a program exits, so this
 * asks again and again, less and less often.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { GuestAgentClient } from './guest-agent.ts';
import type { GuestExecArguments, GuestExecStatus } from './guest-agent-commands.ts';

export interface GuestExecOptions {
  args?: readonly string[];
  /** `NAME=value`; replaces the agent's own environment. */
  env?: readonly string[];
  input?: Uint8Array;
  /** First pause between two questions, in milliseconds; default 10. It doubles up to 500. */
  pollMs?: number;
  /** Stops waiting. The program runs on: the agent has no way to end it. */
  signal?: AbortSignal | undefined;
}

/** How the program ended; `exitCode` and `signal` exclude each other. */
export interface GuestExecResult {
  exitCode: number | undefined;
  signal: number | undefined;
  stdout: Buffer;
  stderr: Buffer;
  /** The agent keeps 16 MiB of each output and drops the rest. */
  isTruncated: boolean;
}

const FIRST_POLL_MS = 10;
const LAST_POLL_MS = 500;

/** @throws as `GuestAgentClient.execute` does; a program that cannot be started is a `QmpError` */
export async function runInGuest(
  agent: GuestAgentClient,
  path: string,
  { args, env, input, pollMs = FIRST_POLL_MS, signal }: GuestExecOptions = {},
): Promise<GuestExecResult> {
  const request: GuestExecArguments = { path, 'capture-output': true };
  if (args !== undefined) request.arg = [...args];
  if (env !== undefined) request.env = [...env];
  if (input !== undefined) request['input-data'] = Buffer.from(input).toString('base64');
  const { pid } = await agent.execute('guest-exec', request, { signal });
  let pauseMs = pollMs;
  for (;;) {
    const status = await agent.execute('guest-exec-status', { pid }, { signal });
    if (status.exited) return readResult(status);
    await pause(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, LAST_POLL_MS);
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    // Node wraps the signal's reason; every other wait here rejects with the reason itself.
    signal?.throwIfAborted();
    throw error;
  }
}

function readResult(status: GuestExecStatus): GuestExecResult {
  return {
    exitCode: status.exitcode,
    signal: status.signal,
    stdout: Buffer.from(status['out-data'] ?? '', 'base64'),
    stderr: Buffer.from(status['err-data'] ?? '', 'base64'),
    isTruncated: status['out-truncated'] === true || status['err-truncated'] === true,
  };
}

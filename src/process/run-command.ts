/** Runs a stock command to its end for what it prints. For children that live on, see `spawn.ts`. */
import { type ExecFileOptions, execFile } from 'node:child_process';
import { LogSource } from '../core/log-source.ts';

export interface CommandOutput {
  /** Undefined when a signal ended it or it could not be started. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** That ended it. */
  readonly signal?: NodeJS.Signals | undefined;
  /** Why it could not be started or was ended. */
  readonly error?: Error | undefined;
}

const log = new LogSource('util.command');

/** Never rejects but with the signal's reason: a failure is in the result. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: ExecFileOptions & { signal?: AbortSignal | undefined /** For its standard input. */; input?: string } = {},
): Promise<CommandOutput> {
  log.debug('runCommand', () => [command, ...args].join(' '));
  const { signal, input, ...rest } = options;
  const output = await new Promise<CommandOutput>((resolve) => {
    const child = execFile(
      command,
      args,
      { ...rest, encoding: 'utf8', ...(signal && { signal }) },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : undefined;
        resolve({ status, stdout, stderr, ...(error === null ? {} : { error, signal: error.signal ?? undefined }) });
      },
    );
    if (input === undefined) return;
    // One that does not read what it is given is within its rights.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
  signal?.throwIfAborted();
  log.debug('runCommand', () => `${command} ended: ${output.status ?? output.error?.message ?? ''}`);
  return output;
}

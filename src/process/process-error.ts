/**
 * The error of this folder: a program that could not be started, set up or ended. It carries data to decide by;
 * its message is for people only. A program that ran and failed is not an error here but an `ExitResult`.
 */

export type ProcessOperation = 'find' | 'spawn' | 'set up' | 'signal' | 'terminate';

export interface ProcessErrorData {
  operation: ProcessOperation;
  /** The program that the caller asked for, not the wrapper around it. */
  command: string;
  /** Symbolic errno (`ENOENT`, `E2BIG`, …) where the system gave one. */
  errno?: string | undefined;
  pid?: number | undefined;
  exitCode?: number | undefined;
  signal?: NodeJS.Signals | undefined;
  /** The Debian package that would bring a missing program. */
  debianPackage?: string | undefined;
  stderrTail?: string | undefined;
  cause?: unknown;
}

export class ProcessError extends Error {
  override readonly name = 'ProcessError';
  readonly operation: ProcessOperation;
  readonly command: string;
  readonly errno: string | undefined;
  readonly pid: number | undefined;
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly debianPackage: string | undefined;
  readonly stderrTail: string;

  constructor(message: string, data: ProcessErrorData) {
    super(message, data.cause === undefined ? undefined : { cause: data.cause });
    this.operation = data.operation;
    this.command = data.command;
    this.errno = data.errno;
    this.pid = data.pid;
    this.exitCode = data.exitCode;
    this.signal = data.signal;
    this.debianPackage = data.debianPackage;
    this.stderrTail = data.stderrTail ?? '';
  }
}

/** The symbolic errno of whatever was thrown, if it has one. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

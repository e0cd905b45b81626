/** The programs that squeeze saved guests and dumps on their way to the file, and back: one process beside QEMU, joined by a pipe. */
import { raceSignal, withTimeout } from '../../../core/abort.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { ChildHandle, ExitResult } from '../../../process/child-handle.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { makePipe, type Pipe } from '../../../process/pipe.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { SAVE_FORMATS, type SaveFormat } from './save-image.ts';

/** Besides `-c`, which all of them know. */
const ARGUMENTS: Readonly<Record<Exclude<SaveFormat, 'raw'>, readonly string[]>> = {
  gzip: [],
  bzip2: [],
  // The levels above take far more memory and time than they save.
  xz: ['-3'],
  lzop: [],
  zstd: [],
};

/** A program whose other end has failed has this long to say that it was its own fault. */
const END_PATIENCE_MS = 1000;

export interface FilterOptions {
  /** Where a pipe has its name for a moment. */
  readonly scratchDir: string;
  readonly signal?: AbortSignal | undefined;
}

/** A stream on its way through a program. */
export interface Filter extends AsyncDisposable {
  /** What QEMU writes to, or reads from. Closed by `handedOver`. */
  readonly fd: number;
  /** QEMU has its own by now: ours would keep the other end from seeing the end. */
  handedOver(): void;
  /** Waits for the program's end. @throws VirtError OPERATION_FAILED with its words */
  finished(): Promise<void>;
  /** Fires with the reason as soon as the program has failed: QEMU may wait for more for ever. */
  readonly broken: AbortSignal;
  /** Why the program has failed; undefined where it has not, or goes on. */
  failure(): Promise<VirtError | undefined>;
}

/** @throws VirtError OPERATION_FAILED for a name that is none */
export function saveFormatOf(name: string): SaveFormat {
  const format = SAVE_FORMATS.find((candidate) => candidate === name);
  if (format !== undefined) return format;
  throw failed(`Invalid save image format '${name}': it is one of ${SAVE_FORMATS.join(', ')}`);
}

/** Undefined for what is not compressed. @throws VirtError where the program is not installed */
export async function compressInto(
  fd: number,
  format: SaveFormat,
  options: FilterOptions,
): Promise<Filter | undefined> {
  if (format === 'raw') return undefined;
  const pipe = await makePipe(options.scratchDir, options.signal);
  return await startFilter(format, pipe, { stdin: pipe.readFd, stdout: fd, fd: pipe.writeFd }, [], options);
}

/** The same backwards, from where a file stands. */
export async function decompressFrom(
  fd: number,
  format: SaveFormat,
  options: FilterOptions,
): Promise<Filter | undefined> {
  if (format === 'raw') return undefined;
  const pipe = await makePipe(options.scratchDir, options.signal);
  return await startFilter(format, pipe, { stdin: fd, stdout: pipe.writeFd, fd: pipe.readFd }, ['-d'], options);
}

async function startFilter(
  format: Exclude<SaveFormat, 'raw'>,
  pipe: Pipe,
  ends: { readonly stdin: number; readonly stdout: number; readonly fd: number },
  more: readonly string[],
  { signal }: FilterOptions,
): Promise<Filter> {
  let child: ChildHandle;
  try {
    child = await spawnChild(
      {
        command: requireProgram(format),
        args: ['-c', ...(more.length === 0 ? ARGUMENTS[format] : more)],
        dieWithParent: true,
        stdio: [{ fd: ends.stdin }, { fd: ends.stdout }, 'tail'],
        // Ctrl-C at the caller's terminal is the caller's to handle.
        newSession: true,
      },
      { signal },
    );
  } catch (error) {
    pipe[Symbol.dispose]();
    throw error;
  }
  // The program has its end; ours would hide from it that QEMU has closed the other.
  if (ends.fd === pipe.writeFd) pipe.closeRead();
  else pipe.closeWrite();
  const broken = new AbortController();
  void child.exited.then((result) => {
    const failure = failureOf(format, result);
    if (failure !== undefined) broken.abort(failure);
  });
  return {
    fd: ends.fd,
    broken: broken.signal,
    handedOver: () => pipe[Symbol.dispose](),
    finished: async () => {
      const failure = failureOf(format, await child.exited);
      if (failure !== undefined) throw failure;
    },
    failure: async () => {
      // With its other end gone it ends soon.
      pipe[Symbol.dispose]();
      using patience = withTimeout(undefined, END_PATIENCE_MS);
      const result = await raceSignal(child.exited, patience).catch(() => undefined);
      return result === undefined ? undefined : failureOf(format, result);
    },
    [Symbol.asyncDispose]: async () => {
      pipe[Symbol.dispose]();
      await child[Symbol.asyncDispose]();
    },
  };
}

function requireProgram(format: string): string {
  const path = lookUpProgram(format);
  if (path !== undefined) return path;
  const hint = `install ${format === 'xz' ? 'xz-utils' : format}, or choose another save_image_format`;
  throw failed(`compression program for image format '${format}' isn't available: ${hint}`);
}

function failureOf(program: string, { exitCode, signal, stderrTail }: ExitResult): VirtError | undefined {
  if (exitCode === 0) return undefined;
  const words = stderrTail.trim().split('\n').at(-1) ?? '';
  return failed(`${program} ended with ${signal ?? `status ${exitCode ?? ''}`}${words === '' ? '' : `: ${words}`}`);
}

function failed(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.QEMU });
}

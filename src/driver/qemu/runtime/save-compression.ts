/** The programs that squeeze saved guests and dumps on their way to the file, and back: processes beside QEMU, joined by pipes. */
import { raceSignal, withTimeout } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { ChildHandle, ExitResult } from '../../../process/child-handle.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { makePipe, type Pipe } from '../../../process/pipe.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { type DirectFile, directReaders, directWriter, type FilterStage } from './direct-io.ts';
import { SAVE_FORMATS, type SaveFormat } from './save-image.ts';

const log = new LogSource('qemu.qemu_driver');

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

/** A file at the place where the stream begins, or ends. */
export interface StreamFile {
  /** Stands at that place. */
  readonly fd: number;
  /** The same file past the host's cache, where that is wanted. */
  readonly direct?: DirectFile | undefined;
}

/** Undefined where QEMU can write to the file itself. @throws VirtError where a program is not installed */
export async function compressInto(
  { fd, direct }: StreamFile,
  format: SaveFormat,
  options: FilterOptions,
): Promise<Filter | undefined> {
  const stages = [
    ...(format === 'raw' ? [] : [{ program: format, args: ['-c', ...ARGUMENTS[format]] }]),
    ...(direct === undefined ? [] : [directWriter(direct)]),
  ];
  return await startChain(stages, { file: direct?.fd ?? fd, isOutput: true }, options);
}

/** The same backwards, from where a file stands. */
export async function decompressFrom(
  { fd, direct }: StreamFile,
  format: SaveFormat,
  options: FilterOptions,
): Promise<Filter | undefined> {
  const stages = [
    ...(direct === undefined ? [] : directReaders(direct)),
    ...(format === 'raw' ? [] : [{ program: format, args: ['-c', '-d'] }]),
  ];
  return await startChain(stages, { file: direct?.fd ?? fd, isOutput: false }, options);
}

/** Programs, each reading what the one before it writes: QEMU stands before them (`isOutput`) or behind, the file at the other end. */
async function startChain(
  stages: readonly FilterStage[],
  { file, isOutput }: { readonly file: number; readonly isOutput: boolean },
  { scratchDir, signal }: FilterOptions,
): Promise<Filter | undefined> {
  if (stages.length === 0) return undefined;
  const commands = stages.map(({ program, args }) => ({ command: requireProgram(program), args }));
  await using started = new DisposalStack();
  const pipes: Pipe[] = [];
  for (const _ of stages) pipes.push(started.use(await makePipe(scratchDir, signal)));
  const children: ChildHandle[] = [];
  for (const [index, { command, args }] of commands.entries()) {
    const stdin = isOutput ? pipes[index]?.readFd : (pipes[index - 1]?.readFd ?? file);
    const stdout = isOutput ? (pipes[index + 1]?.writeFd ?? file) : pipes[index]?.writeFd;
    if (stdin === undefined || stdout === undefined) throw new TypeError('a chain has a pipe for each program');
    const spec = {
      command,
      args,
      dieWithParent: true,
      stdio: [{ fd: stdin }, { fd: stdout }, 'tail'] as const,
      // Ctrl-C at the caller's terminal is the caller's to handle.
      newSession: true,
    };
    children.push(started.use(await spawnChild(spec, { signal })));
  }
  const own = isOutput ? pipes[0] : pipes.at(-1);
  if (own === undefined) throw new TypeError('a chain has a pipe for each program');
  // The programs have their ends; ours would hide from them that a neighbour has closed its.
  for (const pipe of pipes) {
    if (pipe !== own || !isOutput) pipe.closeWrite();
    if (pipe !== own || isOutput) pipe.closeRead();
  }
  return chainOf(stages, children, { own, fd: isOutput ? own.writeFd : own.readFd, owned: started.move() });
}

function chainOf(
  stages: readonly FilterStage[],
  children: readonly ChildHandle[],
  { own, fd, owned }: { readonly own: Pipe; readonly fd: number; readonly owned: AsyncDisposable },
): Filter {
  const failureAt = (index: number, result: ExitResult): VirtError | undefined =>
    failureOf(stages[index]?.program ?? '', result);
  const ended = async (): Promise<VirtError | undefined> => {
    const results = await Promise.all(children.map((child) => child.exited));
    const failed = results.flatMap((result, index) => {
      const error = failureAt(index, result);
      return error === undefined ? [] : [{ error, isVictim: result.signal === 'SIGPIPE' }];
    });
    // A program whose reader has failed is ended for it.
    return (failed.find(({ isVictim }) => !isVictim) ?? failed[0])?.error;
  };
  const broken = new AbortController();
  for (const [index, child] of children.entries()) {
    void child.exited.then((result) => {
      const failure = failureAt(index, result);
      if (failure !== undefined) broken.abort(failure);
    });
  }
  return {
    fd,
    broken: broken.signal,
    handedOver: () => own[Symbol.dispose](),
    finished: async () => {
      const failure = await ended();
      if (failure !== undefined) throw failure;
    },
    failure: async () => {
      // With its other end gone it ends soon.
      own[Symbol.dispose]();
      using patience = withTimeout(undefined, END_PATIENCE_MS);
      return await raceSignal(ended(), patience).catch((error: unknown) => {
        log.warn('failure', () => `${stages.map(({ program }) => program).join(' | ')}: ${String(error)}`);
        return undefined;
      });
    },
    [Symbol.asyncDispose]: async () => {
      own[Symbol.dispose]();
      await owned[Symbol.asyncDispose]();
    },
  };
}

function requireProgram(format: string): string {
  const path = lookUpProgram(format);
  if (path !== undefined) return path;
  if (format === 'dd' || format === 'tail')
    throw failed(`bypassing the host's cache needs ${format}: install coreutils`);
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

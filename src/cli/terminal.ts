/** Joins this process's standard input and output to a guest's console, raw when it is a terminal. */
import { spawnSync } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { isatty } from 'node:tty';

/** `^]`, as virsh's console. */
const ESCAPE = 0x1d;

/** The attachment; disposing it restores the terminal. */
export interface Attachment extends Disposable {
  /** Whether the terminal is raw: then line ends are ours to make, and Ctrl-C is the guest's. */
  readonly raw: boolean;
  /** Resolves when the user detached, the guest's console closed, or nobody is left to read our output. */
  readonly ended: Promise<AttachmentEnd>;
}

export type AttachmentEnd = 'detached' | 'closed' | 'output-gone';

type TerminalInput = NodeJS.ReadStream & { readonly fd: number };

/** Until when what the guest has printed already has been copied: to open a file as standard input takes Node 2 ms. */
const INPUT_AFTER_MS = 5;

export interface TerminalStreams {
  /** Opens the input. */
  readonly input?: () => TerminalInput;
  readonly inputFd?: number;
  readonly output?: NodeJS.WriteStream;
}

/** Starts copying both ways. The end of the input is not the end of the guest. Default: this process's standard streams. */
export function attachTerminal(
  console: Duplex,
  { input = () => process.stdin, inputFd = 0, output = process.stdout }: TerminalStreams = {},
): Attachment {
  const raw = isatty(inputFd);
  let finish: (how: AttachmentEnd) => void = () => {};
  const ended = new Promise<AttachmentEnd>((resolve) => {
    finish = resolve;
  });
  const onOutputError = (): void => finish('output-gone');
  const copyInput = (): Disposable => copyTo(console, input(), raw, () => finish('detached'));
  // A terminal is to be raw from the first key on.
  let copied = raw ? copyInput() : undefined;
  const timer = raw ? undefined : setTimeout(() => (copied = copyInput()), INPUT_AFTER_MS);
  output.on('error', onOutputError);
  console.pipe(output, { end: false });
  console.once('end', () => finish('closed'));
  console.on('error', () => finish('closed'));
  let disposed = false;
  return {
    raw,
    ended,
    [Symbol.dispose]: () => {
      if (disposed) return;
      disposed = true;
      clearTimeout(timer);
      copied?.[Symbol.dispose]();
      output.off('error', onOutputError);
      console.unpipe(output);
      console.destroy();
    },
  };
}

function copyTo(console: Duplex, input: TerminalInput, raw: boolean, detach: () => void): Disposable {
  const onDrain = (): void => void input.resume();
  const onData = (chunk: Buffer): void => {
    const escape = raw ? chunk.indexOf(ESCAPE) : -1;
    const typed = escape < 0 ? chunk : chunk.subarray(0, escape);
    // A guest that does not read must not make us read a whole file into memory.
    if (typed.length > 0 && !console.write(typed)) input.pause();
    if (escape >= 0) detach();
  };
  // A terminal or pipe that fails is one that ends; what the guest prints is still of interest.
  const onInputError = (): void => {};
  if (raw) makeRaw(input);
  input.on('data', onData);
  input.on('error', onInputError);
  console.on('drain', onDrain);
  return {
    [Symbol.dispose]: () => {
      input.off('data', onData);
      console.off('drain', onDrain);
      input.pause();
      if (raw && !input.destroyed) input.setRawMode(false);
    },
  };
}

/**
 * Raw both ways. Node's raw mode still turns each line feed that is printed into carriage return and line feed, which full-screen
 * programs in the guest do not survive; `stty` (coreutils) ends that. Leaving raw mode restores all of it.
 */
function makeRaw(input: TerminalInput): void {
  input.setRawMode(true);
  // Without `stty` the console is as good as Node's raw mode.
  spawnSync('stty', ['-opost'], { stdio: [input.fd, 'ignore', 'ignore'] });
}

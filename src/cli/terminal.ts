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

/** Starts copying both ways. The end of the input is not the end of the guest. */
export function attachTerminal(
  console: Duplex,
  input: TerminalInput = process.stdin,
  output: NodeJS.WriteStream = process.stdout,
): Attachment {
  const raw = isatty(input.fd);
  let finish: (how: AttachmentEnd) => void = () => {};
  const ended = new Promise<AttachmentEnd>((resolve) => {
    finish = resolve;
  });
  const onOutputError = (): void => finish('output-gone');
  const onDrain = (): void => void input.resume();
  const onData = (chunk: Buffer): void => {
    const escape = raw ? chunk.indexOf(ESCAPE) : -1;
    const typed = escape < 0 ? chunk : chunk.subarray(0, escape);
    // A guest that does not read must not make us read a whole file into memory.
    if (typed.length > 0 && !console.write(typed)) input.pause();
    if (escape >= 0) finish('detached');
  };
  // A terminal or pipe that fails is one that ends; what the guest prints is still of interest.
  const onInputError = (): void => {};
  if (raw) makeRaw(input);
  input.on('data', onData);
  input.on('error', onInputError);
  output.on('error', onOutputError);
  console.on('drain', onDrain);
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
      input.off('data', onData);
      output.off('error', onOutputError);
      console.off('drain', onDrain);
      input.pause();
      if (raw && !input.destroyed) input.setRawMode(false);
      console.unpipe(output);
      console.destroy();
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

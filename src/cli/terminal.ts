/** Joins this process's standard input and output to a guest's console, raw when it is a terminal. */
import type { Duplex } from 'node:stream';

/** `^]`, as virsh's console. */
const ESCAPE = 0x1d;

/** The attachment; disposing it restores the terminal. */
export interface Attachment extends Disposable {
  /** Resolves when the user detached (`detached`) or the guest's console closed (`closed`). */
  readonly ended: Promise<'detached' | 'closed'>;
}

/** Starts copying both ways. */
export function attachTerminal(
  console: Duplex,
  input: NodeJS.ReadStream = process.stdin,
  output: NodeJS.WriteStream = process.stdout,
): Attachment {
  const raw = input.isTTY === true;
  let finish: (how: 'detached' | 'closed') => void = () => {};
  const ended = new Promise<'detached' | 'closed'>((resolve) => {
    finish = resolve;
  });
  const onData = (chunk: Buffer): void => {
    const escape = raw ? chunk.indexOf(ESCAPE) : -1;
    const typed = escape < 0 ? chunk : chunk.subarray(0, escape);
    if (typed.length > 0) console.write(typed);
    if (escape >= 0) finish('detached');
  };
  if (raw) input.setRawMode(true);
  input.on('data', onData);
  console.pipe(output, { end: false });
  console.once('end', () => finish('closed'));
  console.once('error', () => finish('closed'));
  return {
    ended,
    [Symbol.dispose]: () => {
      input.off('data', onData);
      input.pause();
      if (raw) input.setRawMode(false);
      console.unpipe(output);
      console.destroy();
    },
  };
}

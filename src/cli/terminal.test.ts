import { openSync } from 'node:fs';
import { Duplex, PassThrough } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { type Attachment, attachTerminal } from './terminal.ts';

/** A guest's console that records what is typed, and may be slow to take it. */
class FakeConsole extends Duplex {
  readonly typed: string[] = [];
  #release: (() => void) | undefined;
  readonly #slow: boolean;

  constructor(slow = false) {
    super({ writableHighWaterMark: 4 });
    this.#slow = slow;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.typed.push(chunk.toString('latin1'));
    if (this.#slow) this.#release = callback;
    else callback();
  }

  acceptTyped(): void {
    this.#release?.();
  }
}

function attach(console: Duplex, input: PassThrough, output: PassThrough): Attachment {
  // No terminal: fd 0 of a test may be one.
  const inputFd = openSync('/dev/null', 'r');
  return attachTerminal(console, { input: () => input as never, inputFd, output: output as never });
}

describe('without a terminal', () => {
  it('copies both ways, every byte, and does not end with its input', async () => {
    const [console, input, output] = [new FakeConsole(), new PassThrough(), new PassThrough()];
    using attachment = attach(console, input, output);
    expect(attachment.raw).toBe(false);
    input.end('a\x1d\x03');
    console.push('hello');
    await new Promise((resolve) => output.once('data', resolve));
    await vi.waitFor(() => expect(console.typed.join('')).toBe('a\x1d\x03'));
    console.push(null);
    expect(await attachment.ended).toBe('closed');
  });

  it('stops reading while the guest does not', async () => {
    const [console, input, output] = [new FakeConsole(true), new PassThrough(), new PassThrough()];
    using _attachment = attach(console, input, output);
    input.write('12345');
    await vi.waitFor(() => expect(input.isPaused()).toBe(true));
    const resumed = new Promise((resolve) => input.once('resume', resolve));
    console.acceptTyped();
    await resumed;
    expect(console.typed).toEqual(['12345']);
  });

  it('ends when nobody reads its output', async () => {
    const [console, input, output] = [new FakeConsole(), new PassThrough(), new PassThrough()];
    using attachment = attach(console, input, output);
    output.on('error', () => undefined);
    output.destroy(Object.assign(new Error('broken pipe'), { code: 'EPIPE' }));
    expect(await attachment.ended).toBe('output-gone');
  });

  it.each([false, true])('lets go of both streams, once (input open: %s)', async (isOpen) => {
    const [console, input, output] = [new FakeConsole(), new PassThrough(), new PassThrough()];
    const attachment = attach(console, input, output);
    if (isOpen) await vi.waitFor(() => expect(input.listenerCount('data')).toBe(1));
    attachment[Symbol.dispose]();
    attachment[Symbol.dispose]();
    expect(console.destroyed).toBe(true);
    expect(input.destroyed || output.destroyed).toBe(false);
    expect(input.listenerCount('data')).toBe(0);
  });
});

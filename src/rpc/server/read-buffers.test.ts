import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConnectionInput, type Hold, readConnection } from './read-buffers.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'rb-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const PIECE = Buffer.alloc(1024 * 1024, 'abcdefghijk');
const PIECES = 24;

/** Sends to a server that hands each chunk to `receive`; resolves when all has come. */
async function send(receive: (chunk: Buffer, hold: Hold, input: ConnectionInput) => void): Promise<Socket> {
  const path = join(dir, 's');
  const server = createServer();
  const done = new Promise<Socket>((resolve, reject) => {
    server.on('connection', (socket) => {
      let received = 0;
      const input = readConnection(socket, (chunk, hold) => {
        received += chunk.length;
        receive(chunk, hold, input);
      });
      input.stream.once('error', reject);
      input.stream.once('close', () => {
        if (received === PIECE.length * PIECES) resolve(socket);
        else reject(new Error(`${received} bytes came`));
      });
      input.stream.once('end', () => input.stream.end());
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const client = connect(path);
  for (let index = 0; index < PIECES; index++) client.write(PIECE);
  client.end();
  const socket = await done;
  // It hears of the connection's end, though it gave it away.
  await new Promise((resolve) => server.close(resolve));
  return socket;
}

describe('a connection', () => {
  it('is read into little memory, again and again', async () => {
    const seen = new Set<ArrayBufferLike>();
    await send((chunk) => seen.add(chunk.buffer));
    expect(seen.size).toBeLessThanOrEqual(3);
  });

  it('does not read over what is held, and does when it is not any more', async () => {
    const held: { chunk: Buffer; copy: Buffer; release: () => void }[] = [];
    const seen = new Set<ArrayBufferLike>();
    let pieces = 0;
    await send((chunk, hold) => {
      pieces++;
      seen.add(chunk.buffer);
      held.push({ chunk, copy: Buffer.from(chunk), release: hold() });
      if (held.length < 5) return;
      const first = held.shift();
      expect(first?.chunk.equals(first.copy)).toBe(true);
      first?.release();
    });
    for (const { chunk, copy } of held) expect(chunk.equals(copy)).toBe(true);
    expect(pieces).toBeGreaterThan(20);
    expect(seen.size).toBeLessThan(12);
  });

  it('keeps what comes while it is paused, in its order, and what is held of that too', async () => {
    let wasPaused = 0;
    let at = 0;
    await send((chunk, hold, input) => {
      expect(input.isPaused).toBe(false);
      const end = (at + chunk.length) % PIECE.length;
      const expected = end > at ? PIECE.subarray(at, end) : Buffer.concat([PIECE.subarray(at), PIECE.subarray(0, end)]);
      expect(chunk.equals(expected)).toBe(true);
      at = end;
      const release = hold();
      input.pause();
      wasPaused++;
      setImmediate(() => {
        expect(chunk.equals(expected)).toBe(true);
        release();
        input.resume();
      });
    });
    expect(wasPaused).toBeGreaterThan(20);
  });

  it('that ends while it is paused is seen to end', async () => {
    const path = join(dir, 's');
    const server = createServer();
    const ended = new Promise<void>((resolve) => {
      server.on('connection', (socket) => {
        const input = readConnection(socket, () => {});
        input.pause();
        input.stream.once('end', () => {
          input.stream.end();
          resolve();
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    connect(path).end();
    await ended;
    await new Promise((resolve) => server.close(resolve));
  });

  it('that is no plain socket is read as any stream', () => {
    const stream = new PassThrough();
    const chunks: string[] = [];
    const input = readConnection(stream, (chunk, hold) => {
      chunks.push(chunk.toString());
      hold()();
    });
    expect(input.stream).toBe(stream);
    stream.write('a');
    stream.emit('data', Buffer.from('b'));
    expect(chunks).toContain('b');
  });
});

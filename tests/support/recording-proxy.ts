/**
 * Stands between a client and a server of libvirt's protocol, on a UNIX socket of its own, and keeps each message that passes. It
 * changes nothing, and understands no more than lengths.
 */
import { connect, createServer, type Socket } from 'node:net';
import { FrameSplitter } from '../../src/protocol/index.ts';

export interface RecordedFrame {
  readonly from: 'client' | 'server';
  /** With its length word. */
  readonly bytes: Buffer;
}

export interface RecordingProxy extends AsyncDisposable {
  readonly frames: readonly RecordedFrame[];
  /** Resolves once a message like this has passed. */
  passed(isIt: (frame: RecordedFrame) => boolean): Promise<void>;
}

/** Listens at `path`; each connection gets one of its own to `target`. */
export async function startRecordingProxy(path: string, target: string): Promise<RecordingProxy> {
  const frames: RecordedFrame[] = [];
  const sockets = new Set<Socket>();
  const waiting = new Set<(frame: RecordedFrame) => void>();
  const keep = (frame: RecordedFrame): void => {
    frames.push(frame);
    for (const look of waiting) look(frame);
  };
  const server = createServer((client) => {
    const upstream = connect(target);
    join(client, upstream, (bytes) => keep({ from: 'client', bytes }));
    join(upstream, client, (bytes) => keep({ from: 'server', bytes }));
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      // Whichever side goes first takes the other along; what it died of is the tests' business only through what they miss.
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.end();
        upstream.end();
      });
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return {
    frames,
    passed: async (isIt) => {
      if (frames.some(isIt)) return;
      await new Promise<void>((resolve) => {
        const look = (frame: RecordedFrame): void => {
          if (!isIt(frame)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
      });
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function join(source: Socket, sink: Socket, keep: (bytes: Buffer) => void): void {
  const splitter = new FrameSplitter();
  source.on('data', (chunk) => {
    for (const body of splitter.push(chunk)) {
      const bytes = Buffer.alloc(body.length + 4);
      bytes.writeUInt32BE(bytes.length);
      bytes.set(body, 4);
      keep(bytes);
    }
    sink.write(chunk);
  });
  source.on('end', () => sink.end());
}

/**
 * The far end of a QMP or guest-agent line for unit tests: a pair of connected streams in memory, of which the test plays QEMU.
 * Not used by the program.
 */
import { Duplex } from 'node:stream';

export interface FakePeer {
  /** What the client is given. */
  readonly stream: Duplex;
  /** Everything the client has written. */
  written(): string;
  /** The commands the client has written to their end, parsed. */
  commands(): { execute: string; id?: number; arguments?: unknown }[];
  /** Sends text or bytes to the client. */
  send(data: string | Uint8Array): void;
  /** Sends an object as one line, as QEMU does. */
  sendObject(object: unknown): void;
  /** Closes as a process that exits does. */
  end(): void;
  /** Resolves when the client has written its n-th command. */
  commandCount(count: number): Promise<void>;
}

export const GREETING = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: 'Debian' }, capabilities: ['oob'] },
};

export function createFakePeer(): FakePeer {
  const chunks: Buffer[] = [];
  let waiting: { count: number; resolve: () => void }[] = [];
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, callback) {
      chunks.push(chunk);
      callback();
      const { length } = commands();
      waiting.filter(({ count }) => count <= length).forEach(({ resolve }) => resolve());
      waiting = waiting.filter(({ count }) => count > length);
    },
  });
  const written = (): string => Buffer.concat(chunks).toString('latin1');
  const commands = (): ReturnType<FakePeer['commands']> =>
    written()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line.replaceAll('\xff', '')) as { execute: string });
  const send = (data: string | Uint8Array): void => void stream.push(Buffer.from(data as string));
  return {
    stream,
    written,
    commands,
    send,
    sendObject: (object) => send(`${JSON.stringify(object)}\r\n`),
    end: () => void stream.push(null),
    commandCount: (count) =>
      new Promise((resolve) => {
        if (commands().length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
  };
}

/** Greets and accepts the negotiation, whose id is always 1. */
export function greet(peer: FakePeer): void {
  peer.sendObject(GREETING);
  peer.sendObject({ return: {}, id: 1 });
}

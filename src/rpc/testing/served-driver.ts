/** A fake driver behind a real server on a UNIX socket of its own, for tests: clients of ours, and bare sockets to misbehave on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  encodeFrame,
  encodeRawFrame,
  FrameSplitter,
  type Header,
  MessageStatus,
  MessageType,
  PROGRAM_VERSION,
  type Procedure,
  Program,
  REMOTE_PROCEDURES,
  readFrame,
} from '../../protocol/index.ts';
import type { XdrReader } from '../../xdr/reader.ts';
import { RpcClient } from '../client/rpc-client.ts';
import { type ListenerAdmission, listenUnix, RpcServer, type ServerLimits } from '../server/index.ts';
import { FakeDriver } from './fake-driver.ts';

export interface ServedOptions extends ListenerAdmission {
  readonly limits?: Partial<ServerLimits>;
}

export interface ServedDriver extends AsyncDisposable {
  readonly driver: FakeDriver;
  readonly server: RpcServer;
  readonly path: string;
  /** A client that has opened the driver. */
  open(flags?: number): Promise<RpcClient>;
  /** A connection that has said nothing yet. */
  bare(): Promise<BareClient>;
}

export async function serveFake({ limits = {}, ...admission }: ServedOptions = {}): Promise<ServedDriver> {
  const dir = mkdtempSync(join(tmpdir(), 'nestling-rpc-'));
  const path = join(dir, 's');
  const driver = new FakeDriver();
  const server = new RpcServer({ openDriver: () => driver, limits });
  const listener = await listenUnix(server, { path, mode: 0o600, ...admission });
  const clients: RpcClient[] = [];
  const bare: BareClient[] = [];
  return {
    driver,
    server,
    path,
    open: async (flags = 0) => {
      const client = new RpcClient(await connected(path), { name: 'the fake server' });
      clients.push(client);
      await client.call(REMOTE_PROCEDURES.connectOpen, { name: 'qemu:///fake', flags });
      return client;
    },
    bare: async () => {
      const client = new BareClient(await connected(path));
      bare.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of bare) client.socket.destroy();
      await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
      await listener[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await driver[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A message with this payload; what the header does not say is that of a call. */
export function messageOf(header: Partial<Header>, payload: Uint8Array = new Uint8Array()): Buffer {
  return encodeRawFrame({ ...CALL, ...header }, payload);
}

const CALL: Header = {
  program: Program.REMOTE,
  version: PROGRAM_VERSION,
  procedure: 0,
  type: MessageType.CALL,
  serial: 1,
  status: MessageStatus.OK,
};

/** A client that sends whatever bytes it is given. */
export class BareClient {
  readonly socket: Socket;
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>;
  readonly #splitter = new FrameSplitter();
  readonly #received: { header: Header; payload: XdrReader }[] = [];
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      for (const bytes of this.#splitter.push(chunk)) this.#received.push(readFrame(bytes));
      this.#wake();
    });
    // The server may be gone in the middle of what is sent.
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.once('close', () => resolve());
    });
  }

  /** Sends a well-formed call. */
  ask<A, R>(procedure: Procedure<A, R>, args: A, serial = 1): void {
    this.socket.write(encodeFrame({ ...CALL, procedure: procedure.number, serial }, procedure.args, args));
  }

  /** The next message. */
  async next(): Promise<{ header: Header; payload: XdrReader }> {
    for (;;) {
      const [frame] = this.#received.splice(0, 1);
      if (frame !== undefined) return frame;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

async function connected(path: string): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

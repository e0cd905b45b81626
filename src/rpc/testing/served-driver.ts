/** A fake driver behind a real server on a UNIX socket of its own, for tests: clients of ours, and bare sockets to misbehave on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REMOTE_PROCEDURES } from '../../protocol/index.ts';
import { RpcClient } from '../client/rpc-client.ts';
import { type ListenerAdmission, listenUnix, RpcServer, type ServerLimits } from '../server/index.ts';
import { FakeDriver } from './fake-driver.ts';
import { Peer } from './peer.ts';

export interface ServedOptions extends ListenerAdmission {
  readonly limits?: Partial<ServerLimits>;
  /** The driver is not there before this has happened. */
  readonly opening?: Promise<void>;
}

export interface ServedDriver extends AsyncDisposable {
  readonly driver: FakeDriver;
  readonly server: RpcServer;
  readonly path: string;
  /** A client that has opened the driver. */
  open(flags?: number): Promise<RpcClient>;
  /** A connection that has said nothing yet. */
  bare(): Promise<Peer>;
}

export async function serveFake({ limits = {}, opening, ...admission }: ServedOptions = {}): Promise<ServedDriver> {
  const dir = mkdtempSync(join(tmpdir(), 'nestling-rpc-'));
  const path = join(dir, 's');
  const driver = new FakeDriver();
  const server = new RpcServer({ openDriver: async () => (await opening, driver), limits });
  const listener = await listenUnix(server, { path, mode: 0o600, ...admission });
  const clients: RpcClient[] = [];
  const bare: Peer[] = [];
  return {
    driver,
    server,
    path,
    open: async (flags = 0) => {
      const client = new RpcClient(await connected(path), { name: 'the fake server' });
      clients.push(client);
      await client.call(REMOTE_PROCEDURES.connectOpen, { name: 'test:///fake', flags });
      return client;
    },
    bare: async () => {
      const client = new Peer(await connected(path));
      bare.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of bare) client.stream.destroy();
      await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
      await listener[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await driver[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
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

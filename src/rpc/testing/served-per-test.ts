/** A served fake driver for each test of a file that asks for one, gone with its sockets when the test ends. */
import { connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach } from 'vitest';
import { REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { identityToWire, type WireDomain } from '../convert.ts';
import { fakeXml } from './fake-driver.ts';
import { Peer } from './peer.ts';
import { type ServedDriver, type ServedOptions, serveFake } from './served-driver.ts';

export interface ServedPerTest {
  /** What `start` has started. */
  readonly served: ServedDriver;
  readonly start: (options?: ServedOptions) => Promise<void>;
  /** Goes with the test, whoever else closes it. */
  readonly keep: (socket: Socket) => Socket;
  readonly newSocket: () => Socket;
  /** A client that says what the test says, and has said nothing yet. */
  readonly newPeer: () => Peer;
  readonly openPeer: (flags?: number) => Promise<Peer>;
  readonly define: (name?: string) => Promise<WireDomain>;
  /** Resolves when the server has forgotten its clients down to this number. */
  readonly untilClients: (count: number) => Promise<void>;
}

export function servedPerTest(): ServedPerTest {
  let served: ServedDriver | undefined;
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await served?.[Symbol.asyncDispose]();
    served = undefined;
  });
  const keep = (socket: Socket): Socket => {
    sockets.push(socket);
    return socket;
  };
  const current = (): ServedDriver => {
    if (served === undefined) throw new TypeError('the test has started no server');
    return served;
  };
  const newSocket = (): Socket => keep(connect(current().path));
  const newPeer = (): Peer => new Peer(newSocket());
  return {
    get served() {
      return current();
    },
    start: async (options = {}) => {
      served = await serveFake(options);
    },
    keep,
    newSocket,
    newPeer,
    openPeer: async (flags = 0) => {
      const peer = newPeer();
      await peer.ask(P.connectOpen, { name: '', flags });
      return peer;
    },
    define: async (name = 'vm') => identityToWire(await current().driver.defineDomain(fakeXml(name))),
    untilClients: async (count) => {
      while (current().server.clients.length > count) await turn();
    },
  };
}

/** Both ends of one connection, for tests of one of them. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { RpcClient } from '../client/rpc-client.ts';
import { Peer } from './peer.ts';

/** Two UNIX sockets that are each other's peer; their name leaves no file. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const listener = createServer();
  const name = `\0nestling-test-${randomUUID()}`;
  listener.listen(name);
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const near = connect(name);
  const [[far]] = (await Promise.all([accepted, once(near, 'connect')])) as [[Socket], unknown];
  listener.close();
  return [near, far];
}

/** A client whose server is the test. */
export async function clientAndPeer(): Promise<{ client: RpcClient; server: Peer }> {
  const [near, far] = await socketPair();
  return { client: new RpcClient(near, { name: 'test server' }), server: new Peer(far) };
}

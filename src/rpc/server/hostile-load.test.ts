/** Peers that wear a server out: many, silent, slow, greedy ones. Each costs its own connection, and others are served meanwhile. */
import { connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MessageStatus, MessageType, REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import type { RpcClient } from '../client/rpc-client.ts';
import { identityToWire } from '../convert.ts';
import { fakeXml } from '../testing/fake-driver.ts';
import { messageOf } from '../testing/peer.ts';
import { type ServedDriver, serveFake } from '../testing/served-driver.ts';

let served: ServedDriver;
/** Somebody else, there before, during and after. */
let bystander: RpcClient;
beforeEach(async () => {
  served = await serveFake();
  bystander = await served.open();
});
afterEach(async () => {
  await othersAreServed();
  await served[Symbol.asyncDispose]();
});

async function othersAreServed(): Promise<void> {
  expect(await bystander.call(P.connectGetType, {})).toEqual({ type: 'TEST' });
  const newcomer = await served.open();
  expect(await newcomer.call(P.connectGetUri, {})).toEqual({ uri: 'test:///fake' });
  await newcomer[Symbol.asyncDispose]();
}

/** A socket that nobody reads. */
async function deaf(): Promise<Socket> {
  const socket = connect(served.path);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => {});
  return socket;
}

async function untilClients(count: number): Promise<void> {
  while (served.server.clients.length > count) await turn();
}

test('thousands of connections that say nothing, and then go all at once', async () => {
  const sockets: Socket[] = [];
  for (let round = 0; round < 20; round++) {
    sockets.push(...(await Promise.all(Array.from({ length: 100 }, deaf))));
    // The kernel refuses those that nobody has accepted yet above its own limit.
    while (served.server.clients.length <= sockets.length) await turn();
  }
  await othersAreServed();
  for (const socket of sockets) socket.destroy();
  await untilClients(1);
});

test('a thousand clients that come, ask and go', async () => {
  for (let round = 0; round < 10; round++) {
    const clients = await Promise.all(Array.from({ length: 100 }, async () => await served.open()));
    const types = await Promise.all(clients.map(async (client) => await client.call(P.connectGetType, {})));
    expect(types.every(({ type }) => type === 'TEST')).toBe(true);
    await Promise.all(clients.map(async (client) => await client[Symbol.asyncDispose]()));
  }
  await untilClients(1);
});

test('a client that asks for much and reads nothing is sent away', async () => {
  const dom = identityToWire(await served.driver.defineDomain(fakeXml('vm')));
  const xml = 'x'.repeat(1024 * 1024);
  served.driver.xmlDesc = async () => xml;
  const client = await served.bare();
  client.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  await client.next();
  client.stream.pause();
  for (let serial = 2; served.server.clients.length > 1 && serial < 1000; serial++) {
    client.call(P.domainGetXmlDesc, { dom, flags: 0 }, { serial });
    await turn();
  }
  await untilClients(1);
});

test('a client that wants all events and reads none is sent away', async () => {
  const client = await served.bare();
  client.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  await client.next();
  client.call(P.connectDomainEventCallbackRegisterAny, { eventID: 4, dom: undefined }, { serial: 2 });
  expect((await client.next()).header.status).toBe(MessageStatus.OK);
  client.stream.pause();
  const domain = { name: 'vm', uuid: '00000000-0000-0000-0000-000000000001', id: 1 };
  const path = 'p'.repeat(1024 * 1024);
  for (let count = 0; served.server.clients.length > 1 && count < 1000; count++) {
    served.driver.emit({ event: 'io-error', path, device: 'd', action: 'stop', reason: '', domain, timestampMs: 0 });
    await turn();
  }
  await untilClients(1);
});

test('bytes without an end are refused as soon as their header says what they are', async () => {
  const socket = await deaf();
  socket.resume();
  // The longest message that there may be; it never becomes one that is served.
  const length = 33_554_432 + 4;
  const head = Buffer.alloc(28, 0x41);
  head.writeUInt32BE(length);
  socket.write(head);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  let sent = head.length;
  const piece = Buffer.alloc(1024 * 1024, 0x41);
  while (!socket.destroyed && sent < 3 * length) {
    socket.write(piece);
    sent += piece.length;
    while (socket.writableNeedDrain && !socket.destroyed) await turn();
  }
  await closed;
  expect(sent).toBeLessThanOrEqual(length + 2 * piece.length);
});

test('a message that comes byte by byte is understood, and holds nobody up', async () => {
  const client = await served.bare();
  const call = messageOf({ procedure: P.connectGetLibVersion.number, serial: 9 });
  client.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  await client.next();
  for (const byte of call) {
    client.stream.write(Buffer.of(byte));
    await turn();
  }
  await othersAreServed();
  expect((await client.next()).header).toMatchObject({ serial: 9, status: MessageStatus.OK });
});

test('a client that stops in the middle of a message is waited for, and goes when it goes', async () => {
  const socket = await deaf();
  socket.write(messageOf({ procedure: 1 }).subarray(0, 13));
  await othersAreServed();
  socket.end();
  await untilClients(1);
});

test('a client that closes its sending side only is not kept', async () => {
  const socket = connect({ path: served.path, allowHalfOpen: true });
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.resume();
  const ended = new Promise((resolve) => socket.once('end', resolve));
  socket.end(messageOf({ procedure: P.authList.number }));
  await ended;
  await untilClients(1);
  socket.destroy();
});

test('thousands of calls in one piece that wait for a slow one are answered in turn', async () => {
  await using busy = await serveFake({ limits: { requests: 1 } });
  const client = await busy.bare();
  client.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  await client.next();
  let release = (): void => {};
  busy.driver.gate = new Promise((resolve) => {
    release = resolve;
  });
  client.call(P.connectGetVersion, {}, { serial: 1 });
  while (busy.driver.calls.length === 0) await turn();
  const count = 2300;
  const calls = Array.from({ length: count }, (_, index) =>
    messageOf({ procedure: P.connectGetLibVersion.number, serial: index + 2 }),
  );
  client.stream.write(Buffer.concat(calls));
  for (let turns = 0; turns < 20; turns++) await turn();
  release();
  for (let serial = 1; serial <= count + 1; serial++) {
    expect((await client.next()).header).toMatchObject({ serial, status: MessageStatus.OK });
  }
});

test('a flood of calls from many clients at once is answered, every one', async () => {
  const clients = await Promise.all(Array.from({ length: 50 }, async () => await served.open()));
  const replies = await Promise.all(
    clients.flatMap((client) =>
      Array.from({ length: 200 }, async () => await client.call(P.connectListAllDomains, { needResults: 1, flags: 0 })),
    ),
  );
  expect(replies).toHaveLength(10_000);
  expect(replies.every(({ ret }) => ret === 0)).toBe(true);
});

test('a client that goes with calls unanswered takes only those along', async () => {
  let release = (): void => {};
  served.driver.gate = new Promise((resolve) => {
    release = resolve;
  });
  const client = await served.open();
  const lost = Array.from({ length: 100 }, () => client.call(P.connectGetVersion, {}));
  const failed = Promise.allSettled(lost);
  const waiting = bystander.call(P.connectGetVersion, {});
  while (served.driver.calls.length < 65) await turn();
  await client[Symbol.asyncDispose]();
  expect((await failed).every(({ status }) => status === 'rejected')).toBe(true);
  await untilClients(1);
  release();
  expect(await waiting).toEqual({ hvVer: 2n });
  // Those that waited for their turn were never begun.
  expect(served.driver.calls.length).toBe(65);
});

test('signs of life and messages of streams that are not there cost nothing', async () => {
  const client = await served.bare();
  const stream = messageOf(
    { procedure: P.domainOpenConsole.number, type: MessageType.STREAM, serial: 5, status: MessageStatus.CONTINUE },
    Buffer.alloc(100),
  );
  client.stream.write(Buffer.concat(Array.from({ length: 5000 }, () => stream)));
  client.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 77 });
  expect((await client.next()).header).toMatchObject({ serial: 77, status: MessageStatus.OK });
});

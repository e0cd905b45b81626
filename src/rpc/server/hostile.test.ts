/** Peers that break the rules: each costs its own connection, at most, and the server goes on. */
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  encodeFrame,
  MessageStatus,
  MessageType,
  messageError,
  REMOTE_PROCEDURES as P,
  Program,
  streamHole,
} from '../../protocol/index.ts';
import { uuidToWire, type WireDomain } from '../convert.ts';
import { fakeXml } from '../testing/fake-driver.ts';
import { messageOf, type Peer } from '../testing/peer.ts';
import { type ServedDriver, serveFake } from '../testing/served-driver.ts';
import { CORPUS } from './testing/hostile-corpus.ts';

let served: ServedDriver;
beforeEach(async () => {
  served = await serveFake({ limits: { streams: 2 } });
});
afterEach(async () => {
  // Whatever a peer has done: somebody else is served.
  const client = await served.open();
  expect(await client.call(P.connectGetType, {})).toEqual({ type: 'TEST' });
  await served[Symbol.asyncDispose]();
});

async function opened(): Promise<Peer> {
  const client = await served.bare();
  client.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  expect((await client.next()).header.status).toBe(MessageStatus.OK);
  return client;
}

/** A domain, and a client whose call 7 has opened its console. */
async function withConsole(): Promise<{ client: Peer; dom: WireDomain }> {
  const { name, uuid } = await served.driver.defineDomain(fakeXml('one'));
  const dom = { name, uuid: uuidToWire(uuid), id: -1 };
  const client = await opened();
  client.call(P.domainOpenConsole, { dom, devName: undefined, flags: 0 }, { serial: 7 });
  expect((await client.next()).header).toMatchObject({ serial: 7, status: MessageStatus.OK });
  return { client, dom };
}

test.each([
  ['a length of zero', Buffer.alloc(4)],
  ['a length that does not cover its header', Buffer.from([0, 0, 0, 27])],
  ['a length above the limit', Buffer.from([0x02, 0, 0, 5])],
  ['the greatest length', Buffer.from([0xff, 0xff, 0xff, 0xff])],
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['a reply', messageOf({ type: MessageType.REPLY })],
  ['an event', messageOf({ type: MessageType.MESSAGE })],
  ['a call with descriptors', messageOf({ type: MessageType.CALL_WITH_FDS })],
])('%s ends the connection', async (_name, bytes) => {
  const client = await served.bare();
  client.stream.write(bytes);
  await client.closed;
});

test.each([
  ['a program that does not exist', { program: 0x1234 }, 'Cannot find program 4660 version 1'],
  ['a version that does not exist', { version: 2, procedure: 1 }, 'Cannot find program 536903814 version 2'],
  ['a procedure that does not exist', { procedure: 9999 }, 'unknown procedure: 9999'],
  ['the number of an event', { procedure: P.domainEventLifecycle.number }, 'unknown procedure: 107'],
])('%s is an error of that call', async (_name, header, message) => {
  const client = await opened();
  client.stream.write(messageOf(header));
  const { header: reply, payload } = await client.next();
  expect(reply).toMatchObject({ type: MessageType.REPLY, status: MessageStatus.ERROR, serial: 1 });
  expect(messageError.read(payload)).toMatchObject({ code: 39, message });
});

test('arguments that cannot be read are an error of that call', async () => {
  const client = await opened();
  client.stream.write(messageOf({ procedure: P.domainLookupByName.number }, Buffer.from([0xff, 0xff, 0xff, 0xff])));
  expect((await client.next()).header.status).toBe(MessageStatus.ERROR);
  client.call(P.connectGetType, {}, { serial: 1 });
  expect((await client.next()).header.status).toBe(MessageStatus.OK);
});

test('calls before a driver is open, and a second opening, are errors', async () => {
  const client = await served.bare();
  client.call(P.connectGetUri, {}, { serial: 1 });
  expect((await client.next()).header.status).toBe(MessageStatus.ERROR);
  const second = await opened();
  second.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  expect((await second.next()).header.status).toBe(MessageStatus.ERROR);
});

test('an error that repeats a text of 4 MiB is cut, not refused', async () => {
  const client = await opened();
  client.call(P.domainLookupByName, { name: 'n'.repeat(4_194_304) }, { serial: 1 });
  const { payload } = await client.next();
  expect(messageError.read(payload).message).toHaveLength(65_536);
});

test.each([
  ['the longest', 0x7fff_ffff_ffff_ffffn],
  ['a negative', -1n],
])('%s hole in a stream that has none ends the stream, at once', async (_name, length) => {
  const { client } = await withConsole();
  const header = {
    program: Program.REMOTE,
    version: 1,
    procedure: P.domainOpenConsole.number,
    type: MessageType.STREAM_HOLE,
    serial: 7,
    status: MessageStatus.CONTINUE,
  };
  client.stream.write(encodeFrame(header, streamHole, { length, flags: 0 }));
  expect((await client.next()).header).toMatchObject({ type: MessageType.STREAM, status: MessageStatus.ERROR });
  expect(served.driver.consoles[0]?.stream.destroyed).toBe(true);
  expect(served.driver.consoles[0]?.written).toEqual([]);
});

test('data for streams that are not there, or not any more, is dropped', async () => {
  const { client } = await withConsole();
  const stream = { procedure: P.domainOpenConsole.number, type: MessageType.STREAM } as const;
  client.stream.write(messageOf({ ...stream, serial: 99, status: MessageStatus.CONTINUE }, Buffer.from('lost')));
  client.stream.write(messageOf({ ...stream, serial: 7, status: MessageStatus.ERROR }));
  expect((await client.next()).header).toMatchObject({ serial: 7, status: MessageStatus.OK });
  client.stream.write(messageOf({ ...stream, serial: 7, status: MessageStatus.CONTINUE }, Buffer.from('late')));
  client.call(P.connectGetType, {}, { serial: 1 });
  expect((await client.next()).header.type).toBe(MessageType.REPLY);
  expect(served.driver.consoles[0]?.written).toEqual([]);
});

test('a client gets no more streams than the limit says, and no second one with the same serial', async () => {
  const { client, dom } = await withConsole();
  const open = async (serial: number): Promise<number> => {
    client.call(P.domainOpenConsole, { dom, devName: `serial${serial}`, flags: 0 }, { serial });
    return (await client.next()).header.status;
  };
  expect(await open(7)).toBe(MessageStatus.ERROR);
  expect(await open(8)).toBe(MessageStatus.OK);
  expect(await open(9)).toBe(MessageStatus.ERROR);
  expect(served.driver.consoles.map(({ stream }) => stream.destroyed)).toEqual([false, true, false, true]);
});

test('an endless upload to a guest that reads nothing waits in its socket, not in memory', async () => {
  served.driver.guestsAreDeaf = true;
  const { client } = await withConsole();
  const piece = messageOf(
    { procedure: P.domainOpenConsole.number, type: MessageType.STREAM, serial: 7, status: MessageStatus.CONTINUE },
    Buffer.alloc(65_536),
  );
  while (client.stream.write(piece) || client.stream.writableLength < 32 * 1024 * 1024) await turn();
  for (let i = 0; i < 50; i++) await turn();
  expect(served.driver.consoles[0]?.stream.writableLength).toBeLessThan(1024 * 1024);
});

test('a client that goes takes its streams along', async () => {
  const { client } = await withConsole();
  const closed = new Promise((resolve) => served.driver.consoles[0]?.stream.once('close', resolve));
  client.stream.destroy();
  await closed;
});

test('one that never says who it is has its time, and no one else waits for it', async () => {
  const sasl = { verifierOf: () => undefined };
  await using guarded = await serveFake({ sasl, limits: { authenticationMs: 20, anonymousClients: 2 } });
  const [first, second, third] = [await guarded.bare(), await guarded.bare(), await guarded.bare()];
  // More than are allowed at a time.
  await third.closed;
  first.call(P.connectOpen, { name: undefined, flags: 0 }, { serial: 1 });
  expect((await first.next()).header.status).toBe(MessageStatus.ERROR);
  await Promise.all([first.closed, second.closed]);
  const next = await guarded.bare();
  next.call(P.authList, {}, { serial: 1 });
  expect((await next.next()).header.status).toBe(MessageStatus.OK);
});

test('of 300 connections beyond the limit none is served and none is kept', async () => {
  await using small = await serveFake({ limits: { clients: 20 } });
  const clients = await Promise.all(Array.from({ length: 320 }, () => small.bare()));
  let closed = 0;
  await new Promise<void>((resolve) => {
    for (const client of clients) {
      void client.closed.then(() => {
        closed++;
        if (closed === 300) resolve();
      });
    }
  });
  expect(small.server.clients).toHaveLength(20);
});

test.each(Object.entries(CORPUS))('saved: %s', async (_name, hex) => {
  const client = await opened();
  client.stream.end(Buffer.from(hex, 'hex'));
  await client.closed;
});

test('whatever bytes follow a length and a header, the server survives them', async () => {
  const header = fc.record({
    program: fc.constantFrom(Program.REMOTE, Program.QEMU, Program.LXC, Program.KEEPALIVE, 7),
    procedure: fc.oneof(fc.integer({ min: 0, max: 460 }), fc.integer()),
    type: fc.constantFrom(0, 0, 0, 0, 3, 6, 1, 5),
    status: fc.constantFrom(0, 1, 2),
    serial: fc.nat(20),
  });
  const message = fc
    .tuple(header, fc.uint8Array({ maxLength: 200 }))
    .map(([head, payload]) => messageOf(head as never, payload));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 9, arbitrary: message }, { weight: 1, arbitrary: fc.uint8Array() })),
      async (parts) => {
        const client = await opened();
        client.stream.end(Buffer.concat(parts));
        await client.closed;
      },
    ),
    { numRuns: 150 },
  );
});

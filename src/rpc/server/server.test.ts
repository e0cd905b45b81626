import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  KeepaliveProcedure,
  MessageType,
  REMOTE_PROCEDURES as P,
  Program,
  QEMU_PROCEDURES as Q,
} from '../../protocol/index.ts';
import { identityFromWire, uuidToWire, type WireDomain } from '../convert.ts';
import { fakeXml } from '../testing/fake-driver.ts';
import { messageOf } from '../testing/peer.ts';
import { type ServedDriver, serveFake } from '../testing/served-driver.ts';

const XML = fakeXml('one');
const AUTODESTROY = 2;

let served: ServedDriver;
beforeEach(async () => {
  served = await serveFake();
});
afterEach(async () => {
  await served[Symbol.asyncDispose]();
});

async function define(name = 'one'): Promise<WireDomain> {
  const { name: found, uuid } = await served.driver.defineDomain(fakeXml(name));
  return { name: found, uuid: uuidToWire(uuid), id: -1 };
}

/** Until the other end of a connection has seen what was sent: no timing, only turns of the event loop. */
async function until(isSo: () => boolean): Promise<void> {
  for (let turns = 0; !isSo(); turns++) {
    if (turns > 1_000_000) throw new Error('it never becomes so');
    await turn();
  }
}

test('a definition is listed, looked up, described and asked about', async () => {
  const client = await served.open();
  const { dom } = await client.call(P.domainDefineXmlFlags, { xml: XML, flags: 0 });
  const { domains, ret } = await client.call(P.connectListAllDomains, { needResults: 1, flags: 0 });
  expect(ret).toBe(1);
  expect(domains.map(identityFromWire)).toEqual([identityFromWire(dom)]);
  expect(await client.call(P.domainLookupByName, { name: 'one' })).toEqual({ dom });
  expect(await client.call(P.domainGetInfo, { dom })).toEqual({
    state: 5,
    maxMem: 65_536n,
    memory: 32_768n,
    nrVirtCpu: 2,
    cpuTime: 0n,
  });
});

test('an error carries code, level and the words that libvirt puts before it', async () => {
  const client = await served.open();
  await expect(client.call(P.domainLookupByName, { name: 'none' })).rejects.toMatchObject({
    code: 42,
    level: 2,
    message: "Domain not found: no domain with matching name 'none'",
  });
});

test('a bug in a driver is an internal error of that call, and the connection goes on', async () => {
  const client = await served.open();
  await expect(client.call(P.connectGetCapabilities, {})).rejects.toMatchObject({
    code: 1,
    message: 'internal error: capabilities has a bug',
  });
  expect(await client.call(P.connectGetType, {})).toEqual({ type: 'TEST' });
});

test('what is known but not served names the function, as a libvirtd without that driver does', async () => {
  const client = await served.open();
  const dom = await define();
  await expect(client.call(P.domainSnapshotNum, { dom, flags: 0 })).rejects.toMatchObject({
    code: 3,
    message: 'this function is not supported by the connection driver: virDomainSnapshotNum',
  });
});

test('flags that nobody knows are refused with their value', async () => {
  const client = await served.open();
  const dom = await define();
  await expect(client.call(P.domainGetState, { dom, flags: 0x40 })).rejects.toMatchObject({
    code: 8,
    message: 'invalid argument: unsupported flags (0x40) in function virDomainGetState',
  });
});

test('a read-only session reads, changes nothing and sees no password', async () => {
  const client = await served.open(1);
  const dom = await define();
  expect((await client.call(P.domainGetXmlDesc, { dom, flags: 0 })).xml).not.toContain('password');
  const secure = {
    code: 29,
    message: 'operation forbidden: read only access prevents virDomainGetXMLDesc with these arguments',
  };
  await expect(client.call(P.domainGetXmlDesc, { dom, flags: 1 })).rejects.toMatchObject(secure);
  await expect(client.call(P.domainGetXmlDesc, { dom, flags: 8 })).rejects.toMatchObject(secure);
  await expect(client.call(P.domainDestroy, { dom })).rejects.toMatchObject({
    code: 29,
    message: 'operation forbidden: read only access prevents virDomainDestroy',
  });
  await expect(client.call(P.domainInterfaceAddresses, { dom, source: 1, flags: 0 })).rejects.toMatchObject({
    code: 29,
  });
  await expect(client.call(P.domainGetVcpusFlags, { dom, flags: 8 })).rejects.toMatchObject({ code: 29 });
  expect(served.driver.calls).toEqual([]);
});

test('no procedure that changes something gets past a read-only session', async () => {
  const writing = Object.values(P).flatMap((row) => (row.kind === 'call' && row.writes ? [row] : []));
  expect(writing.length).toBeGreaterThan(150);
  expect(writing.map(({ api }) => api)).toEqual(
    expect.arrayContaining([
      'virDomainCreate',
      'virDomainOpenConsole',
      'virSecretGetValue',
      'virDomainSaveImageGetXMLDesc',
    ]),
  );
});

test('an answer that takes long does not hold up the ones after it', async () => {
  const client = await served.open();
  let open = (): void => {};
  served.driver.gate = new Promise((resolve) => {
    open = resolve;
  });
  const slow = client.call(P.connectGetVersion, {});
  expect(await client.call(P.connectGetType, {})).toEqual({ type: 'TEST' });
  open();
  expect(await slow).toEqual({ hvVer: 2n });
});

test('no more calls of one client are worked on than the limit says; the rest follow', async () => {
  await using few = await serveFake({ limits: { requests: 2 } });
  const client = await few.open();
  let open = (): void => {};
  few.driver.gate = new Promise((resolve) => {
    open = resolve;
  });
  const calls = Array.from({ length: 20 }, () => client.call(P.connectGetVersion, {}));
  await until(() => few.driver.calls.length === 2);
  for (let i = 0; i < 20; i++) await turn();
  expect(few.driver.calls).toHaveLength(2);
  open();
  expect(await Promise.all(calls)).toHaveLength(20);
});

test('events come by number of the callback, only for the domain that was asked for, until it is given back', async () => {
  const client = await served.open();
  const one = await define('one');
  const two = await define('two');
  const seen: [number, string, number][] = [];
  client.on(P.domainEventCallbackLifecycle, ({ callbackID, msg }) => seen.push([callbackID, msg.dom.name, msg.event]));
  const all = await client.call(P.connectDomainEventCallbackRegisterAny, { eventID: 0, dom: undefined });
  const only = await client.call(P.connectDomainEventCallbackRegisterAny, { eventID: 0, dom: two });
  await client.call(P.domainCreate, { dom: one });
  await client.call(P.domainCreate, { dom: two });
  await until(() => seen.length === 3);
  expect(seen).toEqual([
    [all.callbackID, 'one', 2],
    [all.callbackID, 'two', 2],
    [only.callbackID, 'two', 2],
  ]);
  await client.call(P.connectDomainEventCallbackDeregisterAny, { callbackID: all.callbackID });
  await client.call(P.domainDestroy, { dom: one });
  await client.call(P.domainDestroy, { dom: two });
  await until(() => seen.length === 4);
  expect(seen[3]).toEqual([only.callbackID, 'two', 5]);
  await expect(
    client.call(P.connectDomainEventCallbackDeregisterAny, { callbackID: all.callbackID }),
  ).rejects.toMatchObject({ code: 1 });
});

test('clients from before callbacks had numbers get the old messages', async () => {
  const client = await served.open();
  const dom = await define();
  const seen: number[] = [];
  client.on(P.domainEventLifecycle, ({ event }) => seen.push(event));
  await client.call(P.connectDomainEventRegister, {});
  await client.call(P.domainCreate, { dom });
  await until(() => seen.length === 1);
  expect(seen).toEqual([2]);
});

test('an event that cannot be told does not end those after it', async () => {
  const client = await served.open();
  const dom = await define();
  let seen = 0;
  client.on(P.domainEventCallbackLifecycle, () => seen++);
  await client.call(P.connectDomainEventCallbackRegisterAny, { eventID: 0, dom: undefined });
  const domain = { name: 'x', uuid: 'no uuid at all', id: 1 };
  served.driver.emit({ event: 'lifecycle', type: 'started', detail: 'booted', domain, timestampMs: 0 });
  await client.call(P.domainCreate, { dom });
  await until(() => seen === 1);
});

test('many registrations for monitor events follow the driver once', async () => {
  const client = await served.open();
  const args = { dom: undefined, event: undefined, flags: 0 };
  for (let i = 0; i < 5; i++) await client.call(Q.connectDomainMonitorEventRegister, args, { program: Program.QEMU });
  expect(served.driver.monitorSubscriptions).toBe(1);
  await expect(
    client.call(Q.connectDomainMonitorEventRegister, { ...args, event: '(', flags: 1 }, { program: Program.QEMU }),
  ).rejects.toMatchObject({ code: 8 });
});

test('a console carries bytes both ways and ends with the guest', async () => {
  const client = await served.open();
  const dom = await define();
  const { stream } = await client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 });
  const [console] = served.driver.consoles;
  if (console === undefined) throw new Error('no console was opened');
  console.stream.push('login: ');
  const [greeting] = await new Promise<Buffer[]>((resolve) => stream.once('data', (data: Buffer) => resolve([data])));
  expect(String(greeting)).toBe('login: ');
  stream.write('root\n');
  await until(() => Buffer.concat(console.written).toString() === 'root\n');
  console.stream.push(null);
  await new Promise((resolve) => stream.once('close', resolve));
});

test('a guest that does not read its console holds up no other call until it has left much unread', async () => {
  served.driver.guestsAreDeaf = true;
  const client = await served.open();
  const dom = await define();
  const { stream } = await client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 });
  stream.on('error', () => {});
  stream.write(Buffer.alloc(100_000));
  await until(() => (served.driver.consoles[0]?.stream.writableLength ?? 0) === 100_000);
  expect(await client.call(P.connectGetType, {})).toEqual({ type: 'TEST' });
});

test('a guest that goes with its console unread does not take the connection along', async () => {
  served.driver.guestsAreDeaf = true;
  const client = await served.open();
  const dom = await define();
  const { stream } = await client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 });
  const failed = new Promise<Error>((resolve) => stream.once('error', resolve));
  stream.write(Buffer.alloc(400_000));
  const [console] = served.driver.consoles;
  await until(() => (console?.stream.writableLength ?? 0) >= 256 * 1024);
  const waiting = client.call(P.connectGetType, {});
  console?.stream.destroy(new Error('the guest has ended'));
  expect((await failed).message).toContain('the guest has ended');
  expect(await waiting).toEqual({ type: 'TEST' });
});

test('the end of a stream is confirmed when the guest has taken what came before', async () => {
  served.driver.guestsAreDeaf = true;
  const client = await served.open();
  const dom = await define();
  const { stream } = await client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 });
  const [console] = served.driver.consoles;
  let isConfirmed = false;
  const closed = new Promise((resolve) => stream.once('close', resolve));
  stream.resume();
  stream.write('last words');
  stream.end(() => {
    isConfirmed = true;
  });
  await until(() => console?.stream.writableEnded === true);
  expect(isConfirmed).toBe(false);
  console?.read();
  await until(() => isConfirmed);
  await closed;
  expect(Buffer.concat(console?.written ?? []).toString()).toBe('last words');
});

test('guests with autodestroy end with their client, others stay', async () => {
  const client = await served.open();
  const [one, two] = [await define('one'), await define('two')];
  await client.call(P.domainCreateWithFlags, { dom: one, flags: AUTODESTROY });
  await client.call(P.domainCreateWithFlags, { dom: two, flags: 0 });
  await client[Symbol.asyncDispose]();
  await until(() => served.driver.calls.length > 0 && served.server.clients.length === 0);
  expect(served.driver.calls).toEqual(['destroy one']);
});

test('autodestroy spares a guest that another client has started anew', async () => {
  const [client, other] = [await served.open(), await served.open()];
  const dom = await define();
  await client.call(P.domainCreateWithFlags, { dom, flags: AUTODESTROY });
  await other.call(P.domainDestroy, { dom });
  await other.call(P.domainCreate, { dom });
  await client[Symbol.asyncDispose]();
  await until(() => served.server.clients.length === 1);
  for (let i = 0; i < 20; i++) await turn();
  expect(served.driver.calls).toEqual(['destroy one']);
  expect((await other.call(P.domainIsActive, { dom })).active).toBe(1);
});

test('autodestroy takes a guest whose client went while it was starting', async () => {
  const client = await served.open();
  const dom = await define();
  let open = (): void => {};
  served.driver.gate = new Promise((resolve) => {
    open = resolve;
  });
  const lost = client.call(P.domainCreateWithFlags, { dom, flags: AUTODESTROY }).catch((error: unknown) => error);
  await client.call(P.connectGetType, {});
  await client[Symbol.asyncDispose]();
  await lost;
  await until(() => served.server.clients.length === 0);
  open();
  await until(() => served.driver.calls.includes('destroy one'));
});

test('only clients that ask for signs of life are asked for theirs; those that then stay silent are sent away', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const [idle, silent] = [await served.bare(), await served.bare()];
    // Features besides keepalive are asked for by clients that never answer while they are idle.
    idle.call(P.connectSupportsFeature, { feature: 14 });
    silent.call(P.connectSupportsFeature, { feature: 10 });
    expect((await idle.next()).header.type).toBe(MessageType.REPLY);
    expect((await silent.next()).header.type).toBe(MessageType.REPLY);
    vi.advanceTimersByTime(5000);
    expect((await silent.next()).header).toMatchObject({
      program: Program.KEEPALIVE,
      procedure: KeepaliveProcedure.PING,
    });
    vi.advanceTimersByTime(3_600_000);
    await silent.closed;
    idle.call(P.connectSupportsFeature, { feature: 14 });
    expect((await idle.next()).header.program).toBe(Program.REMOTE);
  } finally {
    vi.useRealTimers();
  }
});

test('a sign of life is answered before anybody has proved who it is', async () => {
  const client = await served.bare();
  client.stream.write(
    messageOf({ program: Program.KEEPALIVE, procedure: KeepaliveProcedure.PING, type: MessageType.MESSAGE }),
  );
  expect((await client.next()).header).toMatchObject({
    program: Program.KEEPALIVE,
    procedure: KeepaliveProcedure.PONG,
  });
});

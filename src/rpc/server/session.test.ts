import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ErrorCode } from '../../core/errors.ts';
import { errorFromWire, messageError } from '../../protocol/error.ts';
import {
  KeepaliveProcedure,
  MessageStatus,
  MessageType,
  REMOTE_PROCEDURES as P,
  Program,
  QEMU_PROCEDURES as Q,
} from '../../protocol/index.ts';
import { authenticate } from '../client/authenticate.ts';
import { RpcClient } from '../client/rpc-client.ts';
import { identityToWire, type WireDomain } from '../convert.ts';
import { WIRE_EVENTS } from '../domain-events.ts';
import { makeVerifier, SCRAM_MECHANISM, ScramClient } from '../sasl/scram.ts';
import { Peer } from '../testing/peer.ts';
import { type ServedDriver, type ServedOptions, serveFake } from '../testing/served-driver.ts';
import { socketPair } from '../testing/socket-pair.ts';
import type { SaslUsers } from './authentication.ts';
import { servedProcedures } from './procedures.ts';

const XML = '<domain><name>vm</name></domain>';
const RO = 1;
const CONSOLE_FORCE = 1;

let served: ServedDriver;
const sockets: Socket[] = [];

async function start(options: ServedOptions = {}): Promise<ServedDriver> {
  served = await serveFake(options);
  return served;
}

/** A client that says what the test says, and has said nothing yet. */
function newPeer(): Peer {
  const socket = connect(served.path);
  sockets.push(socket);
  return new Peer(socket);
}

async function openPeer(flags = 0): Promise<Peer> {
  const peer = newPeer();
  await peer.ask(P.connectOpen, { name: '', flags });
  return peer;
}

async function define(name = 'vm'): Promise<WireDomain> {
  return identityToWire(await served.driver.defineDomain(`<domain><name>${name}</name></domain>`));
}

/** Resolves when the server has forgotten its clients down to this number. */
async function untilClients(count: number): Promise<void> {
  while (served.server.clients.length > count) await turn();
}

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await served[Symbol.asyncDispose]();
});

describe('a connection', () => {
  it('names its driver', async () => {
    await start();
    const client = await served.open();
    await expect(client.call(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
    await expect(client.call(P.connectGetUri, {})).resolves.toEqual({ uri: 'qemu:///fake' });
    await expect(client.call(P.connectGetVersion, {})).resolves.toEqual({ hvVer: 7_002_000n });
  });

  it('must be opened before its driver is used, and only once', async () => {
    await start();
    const peer = newPeer();
    await expect(peer.ask(P.connectGetVersion, {})).rejects.toMatchObject({
      message: 'internal error: connection not open',
      code: ErrorCode.INTERNAL_ERROR,
    });
    await peer.ask(P.connectOpen, { name: undefined, flags: 0 });
    await expect(peer.ask(P.connectOpen, { name: undefined, flags: 0 })).rejects.toThrow('connection already open');
  });

  it('is not opened with flags that nobody knows', async () => {
    await start();
    await expect(newPeer().ask(P.connectOpen, { name: '', flags: 4 })).rejects.toMatchObject({
      message: 'invalid argument: unsupported flags (0x4) in function virConnectOpenAuth',
      code: ErrorCode.INVALID_ARG,
    });
  });

  it('ends after the reply to its goodbye', async () => {
    await start();
    const peer = await openPeer();
    await expect(peer.ask(P.connectClose, {})).resolves.toEqual({});
    await peer.closed;
    await untilClients(0);
  });

  it('hears that the server stops, where it has asked for it', async () => {
    await start();
    const peer = await openPeer();
    await peer.ask(P.connectRegisterCloseCallback, {});
    const told = peer.event(P.connectEventConnectionClosed);
    await Promise.all([
      served.server[Symbol.asyncDispose](),
      expect(told).resolves.toEqual({ reason: 1 }),
      peer.closed,
    ]);
  });

  it('is not told so where it has asked for it no longer', async () => {
    await start();
    const peer = await openPeer();
    await peer.ask(P.connectRegisterCloseCallback, {});
    await peer.ask(P.connectUnregisterCloseCallback, {});
    const told = peer.event(P.connectEventConnectionClosed);
    await Promise.all([served.server[Symbol.asyncDispose](), expect(told).rejects.toThrow('the connection ended')]);
  });
});

describe('a server that stops', () => {
  it('waits for the farewell of whoever it has just answered, and begins nothing else', async () => {
    await start();
    const peer = await openPeer();
    await peer.ask(P.connectRegisterCloseCallback, {});
    let answer: (version: number) => void = () => {};
    const version = vi.spyOn(served.driver, 'version');
    version.mockImplementation(async () => await new Promise<number>((resolve) => (answer = resolve)));
    const asked = peer.ask(P.connectGetVersion, {});
    while (version.mock.calls.length === 0) await turn();
    const stopped = served.server[Symbol.asyncDispose]();
    answer(7);
    await expect(asked).resolves.toEqual({ hvVer: 7n });
    await expect(peer.ask(P.connectGetHostname, {})).rejects.toThrow('the server stops');
    await expect(peer.ask(P.connectUnregisterCloseCallback, {})).resolves.toEqual({});
    await expect(peer.ask(P.connectClose, {})).resolves.toEqual({});
    await Promise.all([stopped, peer.closed]);
  });
});

describe('calls sent behind the one that opens the driver', () => {
  it('are served after it, however long it takes', async () => {
    let open: () => void = () => {};
    await start({ opening: new Promise<void>((resolve) => (open = resolve)) });
    const peer = newPeer();
    const serials = [
      peer.call(P.connectOpen, { name: '', flags: 0 }),
      peer.call(P.connectGetType, {}),
      peer.call(P.connectGetUri, {}),
    ];
    while (served.server.clients.length === 0) await turn();
    await turn();
    open();
    for (const serial of serials) {
      expect((await peer.next()).header).toMatchObject({ serial, status: MessageStatus.OK });
    }
  });
});

describe('errors', () => {
  it.each<[string, string, ErrorCode]>([
    ['a definition that is wrong', 'XML error: missing domain name', ErrorCode.XML_ERROR],
    [
      'a state that does not allow it',
      'Requested operation is not valid: domain is not running',
      ErrorCode.OPERATION_INVALID,
    ],
    [
      'what the driver does not have',
      'this function is not supported by the connection driver: virConnectDomainXMLToNative',
      ErrorCode.NO_SUPPORT,
    ],
    [
      'a group that the driver does not have',
      'this function is not supported by the connection driver: ',
      ErrorCode.NO_SUPPORT,
    ],
  ])("%s has libvirt's words and number", async (what, message, code) => {
    await start();
    const client = await served.open();
    const dom = await define();
    const call: Readonly<Record<string, () => Promise<unknown>>> = {
      'a definition that is wrong': () => client.call(P.domainDefineXml, { xml: '<domain/>' }),
      'a state that does not allow it': () => client.call(P.domainDestroy, { dom }),
      'what the driver does not have': () =>
        client.call(P.connectDomainXmlToNative, { nativeFormat: 'qemu-argv', domainXml: XML, flags: 0 }),
      'a group that the driver does not have': () => client.call(P.connectGetHostname, {}),
    };
    await expect(call[what]?.()).rejects.toMatchObject({ code, message: expect.stringContaining(message) as string });
    await expect(client.call(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
  });

  it('say of every procedure that is known and not served that it is not, by its name', async () => {
    await start();
    const peer = await openPeer();
    let serial = 1000;
    let unserved = 0;
    for (const [program, rows] of servedProcedures()) {
      for (const [procedure, { api, handler }] of rows) {
        if (handler !== undefined) continue;
        unserved++;
        peer.send({ program, procedure, serial: ++serial });
        const { header, payload } = await peer.reply(serial);
        expect(header).toMatchObject({ program, procedure, status: MessageStatus.ERROR });
        expect(errorFromWire(messageError.read(payload))).toMatchObject({
          code: ErrorCode.NO_SUPPORT,
          message: `this function is not supported by the connection driver: ${api}`,
        });
      }
    }
    expect(unserved).toBeGreaterThan(50);
  });
});

describe('a read-only connection', () => {
  it.each([
    ['asked for by the client', {}, RO],
    ['all that the socket allows', { readOnly: true }, 0],
  ])('may call nothing that writes (%s)', async (_, options, flags) => {
    await start(options);
    const peer = await openPeer(flags);
    let serial = 1000;
    let writing = 0;
    for (const [program, rows] of servedProcedures()) {
      for (const [procedure, { api, writes }] of rows) {
        if (!writes) continue;
        writing++;
        peer.send({ program, procedure, serial: ++serial });
        const { header, payload } = await peer.reply(serial);
        expect(header.status).toBe(MessageStatus.ERROR);
        expect(errorFromWire(messageError.read(payload))).toMatchObject({
          code: ErrorCode.OPERATION_DENIED,
          message: `operation forbidden: read only access prevents ${api}`,
        });
      }
    }
    expect(writing).toBeGreaterThan(150);
    expect(served.driver.calls).toEqual([]);
    expect(served.driver.monitorSubscriptions).toBe(0);
  });

  it('may look', async () => {
    await start();
    const dom = await define();
    const peer = await openPeer(RO);
    await expect(peer.ask(P.domainGetInfo, { dom })).resolves.toMatchObject({ state: 5, maxMem: 65_536n });
    await expect(peer.ask(P.domainGetXmlDesc, { dom, flags: 0 })).resolves.toEqual({ xml: XML });
    await expect(peer.ask(P.connectDomainEventCallbackRegisterAny, { eventID: 0, dom: undefined })).resolves.toEqual({
      callbackID: 0,
    });
  });

  it('makes no other connection read-only', async () => {
    await start();
    await openPeer(RO);
    const peer = await openPeer();
    await expect(peer.ask(P.domainDefineXml, { xml: XML })).resolves.toMatchObject({ dom: { name: 'vm' } });
  });
});

describe('events', () => {
  const domain = { name: 'vm', uuid: '00000000-0000-0000-0000-000000000001', id: 3 };

  it('come in the old way for one kind, until they are given back', async () => {
    await start();
    const peer = await openPeer();
    await peer.ask(P.connectDomainEventRegisterAny, { eventID: 1 });
    await expect(peer.ask(P.connectDomainEventRegisterAny, { eventID: 1 })).rejects.toThrow('registered already');
    served.driver.emit({ event: 'reboot', domain, timestampMs: 0 });
    await expect(peer.event(P.domainEventReboot)).resolves.toMatchObject({ dom: { name: 'vm', id: 3 } });
    await peer.ask(P.connectDomainEventDeregisterAny, { eventID: 1 });
    await expect(peer.ask(P.connectDomainEventDeregisterAny, { eventID: 1 })).rejects.toMatchObject({
      code: ErrorCode.INTERNAL_ERROR,
    });
    // The one after it comes, so that one did not.
    await peer.ask(P.connectDomainEventRegister, {});
    served.driver.emit({ event: 'reboot', domain, timestampMs: 0 });
    served.driver.emit({ event: 'lifecycle', type: 'stopped', detail: 'crashed', domain, timestampMs: 0 });
    const { header } = await peer.next();
    expect(header.procedure).toBe(P.domainEventLifecycle.number);
    await expect(peer.ask(P.connectDomainEventDeregister, {})).resolves.toEqual({ cbRegistered: 0 });
  });

  it('of each kind arrive as they were sent', async () => {
    await start();
    const client = await served.open();
    const samples = [
      { event: 'lifecycle', type: 'suspended', detail: 'ioerror' },
      { event: 'reboot' },
      { event: 'rtc-change', offsetSeconds: -3600 },
      { event: 'watchdog', action: 'reset' },
      { event: 'io-error', path: '/disk', device: 'virtio-disk0', action: 'stop', reason: 'enospc' },
      { event: 'control-error' },
      { event: 'block-job', device: 'vda', type: 'commit', status: 'ready' },
      { event: 'disk-change', device: 'sata0-0-0', oldSource: '/a', newSource: undefined, reason: 'missing-on-start' },
      { event: 'tray-change', device: 'sata0-0-0', reason: 'close' },
      { event: 'pm-wakeup' },
      { event: 'pm-suspend' },
      { event: 'balloon-change', actualKiB: 4096 },
      { event: 'pm-suspend-disk' },
      { event: 'device-removed', device: 'usb1' },
      { event: 'tunable', parameters: { 'blkdeviotune.total_bytes_sec': 5n, 'blkdeviotune.disk': 'vda' } },
      { event: 'agent-lifecycle', state: 'connected', reason: 'channel event' },
      { event: 'device-added', device: 'usb1' },
      { event: 'job-completed', parameters: { operation: 3, time_elapsed: 7n } },
      { event: 'device-removal-failed', device: 'usb1' },
      { event: 'metadata-change', kind: 'element', namespaceUri: 'urn:x' },
      { event: 'block-threshold', device: 'vda', path: undefined, threshold: 9n, excess: 1n },
      { event: 'memory-failure', recipient: 'guest', action: 'inject' },
      { event: 'memory-device-size-change', alias: 'virtiomem0', sizeBytes: 1_048_576 },
    ].map((event) => ({ ...event, domain, timestampMs: 5 }));
    const seen: unknown[] = [];
    for (const kind of WIRE_EVENTS) {
      client.on(kind.message, (message) => seen.push(kind.fromWire(message, 5)));
      await client.call(P.connectDomainEventCallbackRegisterAny, { eventID: kind.id, dom: undefined });
    }
    for (const sample of samples) served.driver.emit(sample as never);
    served.driver.emit({ event: 'lifecycle', type: 'stopped', detail: 'saved', domain, timestampMs: 5 });
    while (!seen.some((event) => (event as { detail?: string }).detail === 'saved')) await turn();
    for (const sample of samples) expect(seen).toContainEqual(sample);
    // Each kind of the table was asked for: none is a word that no sample uses but graphics, whose data is free.
    const kinds = new Set(WIRE_EVENTS.map(({ event }) => event));
    expect(kinds.size - 1).toBe(samples.length);
  });

  it('that do not exist cannot be asked for; those of later versions can, and never come', async () => {
    await start();
    const peer = await openPeer();
    for (const eventID of [-1, 28, 0x7fff_ffff]) {
      await expect(
        peer.ask(P.connectDomainEventCallbackRegisterAny, { eventID, dom: undefined }),
      ).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
      await expect(peer.ask(P.connectDomainEventRegisterAny, { eventID })).rejects.toMatchObject({
        code: ErrorCode.INVALID_ARG,
      });
    }
    await expect(
      peer.ask(P.connectDomainEventCallbackRegisterAny, { eventID: 27, dom: undefined }),
    ).resolves.toMatchObject({ callbackID: 0 });
  });

  it('of monitors come by domain and by name', async () => {
    await start();
    const peer = await openPeer();
    const program = Program.QEMU;
    const dom = identityToWire(domain);
    const ask = async (event: string | undefined, flags: number, of: WireDomain | undefined): Promise<number> => {
      const args = { dom: of, event, flags };
      return (await peer.ask(Q.connectDomainMonitorEventRegister, args, { program })).callbackID;
    };
    const exact = await ask('STOP', 0, dom);
    const folded = await ask('stop', 2, undefined);
    const regex = await ask('^ST', 1, undefined);
    await ask('STOP', 0, { ...dom, uuid: new Uint8Array(16) });
    await ask('RESUME', 0, dom);
    served.driver.emitMonitor({ domain, event: 'STOP', seconds: 5n, micros: 6, details: '{}' });
    const numbers = [];
    for (let count = 0; count < 3; count++) {
      const { callbackID, ...rest } = await peer.event(Q.domainMonitorEvent, program);
      expect(rest).toEqual({ dom, event: 'STOP', seconds: 5n, micros: 6, details: '{}' });
      numbers.push(callbackID);
    }
    expect(numbers).toEqual([exact, folded, regex]);
    await peer.ask(Q.connectDomainMonitorEventDeregister, { callbackID: exact }, { program });
    served.driver.emitMonitor({ domain, event: 'STOP', seconds: 5n, micros: 6, details: undefined });
    expect((await peer.event(Q.domainMonitorEvent, program)).callbackID).toBe(folded);
    await expect(ask('STOP', 4, undefined)).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
  });

  it('are followed for no more callbacks than there may be', async () => {
    await start();
    const client = await served.open();
    const register = (): Promise<unknown> =>
      client.call(P.connectDomainEventCallbackRegisterAny, { eventID: 0, dom: undefined });
    await Promise.all(Array.from({ length: 4096 }, register));
    await expect(register()).rejects.toThrow('4096 event callbacks');
    await client.call(P.connectDomainEventCallbackDeregisterAny, { callbackID: 17 });
    await expect(register()).resolves.toEqual({ callbackID: 4096 });
  });
});

describe('a stream', () => {
  async function openConsole(client: RpcClient) {
    const dom = await define();
    const { stream } = await client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 });
    const console = served.driver.consoles[0]!;
    return { stream, console };
  }

  it('carries much, unchanged, both ways', async () => {
    await start();
    const { stream, console } = await openConsole(await served.open());
    const sent = Buffer.alloc(3_000_001, 'abcdefg');
    const received = buffer(stream);
    stream.write(sent);
    console.stream.push(sent);
    while (Buffer.concat(console.written).length < sent.length) await turn();
    expect(Buffer.concat(console.written).equals(sent)).toBe(true);
    console.stream.push(null);
    expect((await received).equals(sent)).toBe(true);
  });

  it('that its client gives up closes our side', async () => {
    await start();
    const { stream, console } = await openConsole(await served.open());
    const closed = new Promise((resolve) => console.stream.once('close', resolve));
    stream.destroy();
    await closed;
  });

  it('belongs to one client at a time, unless another one insists', async () => {
    await start();
    const [first, second] = [await served.open(), await served.open()];
    const dom = await define();
    const ask = { dom, devName: undefined };
    const { stream } = await first.callStream(P.domainOpenConsole, { ...ask, flags: 0 });
    await expect(second.callStream(P.domainOpenConsole, { ...ask, flags: 0 })).rejects.toMatchObject({
      code: ErrorCode.OPERATION_FAILED,
      message: expect.stringContaining('Active console session exists'),
    });
    const ended = new Promise((resolve) => stream.resume().once('end', resolve));
    const { stream: next } = await second.callStream(P.domainOpenConsole, { ...ask, flags: CONSOLE_FORCE });
    await ended;
    for (const open of [stream, next]) open.destroy();
  });

  it('that its client gives up is confirmed, as by libvirtd', async () => {
    await start();
    const dom = await define();
    const peer = await openPeer();
    await peer.ask(P.domainOpenConsole, { dom, devName: undefined, flags: 0 }, { serial: 70 });
    const procedure = P.domainOpenConsole.number;
    peer.send({ procedure, serial: 70, type: MessageType.STREAM, status: MessageStatus.ERROR });
    const { header, payload } = await peer.next();
    expect(header).toMatchObject({ procedure, serial: 70, type: MessageType.STREAM, status: MessageStatus.OK });
    expect(payload.rest()).toHaveLength(0);
  });

  it('that fails on our side fails with that error at the client', async () => {
    await start();
    const { stream, console } = await openConsole(await served.open());
    const failed = new Promise((resolve) => stream.once('error', resolve));
    console.stream.destroy(new Error('the disk is full'));
    expect(await failed).toMatchObject({
      message: 'operation failed: the disk is full',
      code: ErrorCode.OPERATION_FAILED,
    });
  });

  it('that its client does not read waits on our side, and loses nothing', async () => {
    await start();
    const dom = await define();
    const peer = await openPeer();
    await peer.ask(P.domainOpenConsole, { dom, devName: undefined, flags: 0 }, { serial: 70 });
    const { stream } = served.driver.consoles[0]!;
    peer.stream.pause();
    const piece = Buffer.alloc(65_536, 'x');
    const pieces = 256;
    for (let count = 0; count < pieces; count++) {
      stream.push(piece);
      await turn();
    }
    expect(stream.isPaused()).toBe(true);
    expect(stream.readableLength).toBeGreaterThan(8 * 1024 * 1024);
    stream.push(null);
    peer.stream.resume();
    let size = 0;
    for (;;) {
      const { payload } = await peer.next(({ header }) => header.type === MessageType.STREAM);
      const { length } = payload.rest();
      if (length === 0) break;
      size += length;
    }
    expect(size).toBe(pieces * piece.length);
  });

  it('ends for a call that fails, which opens none', async () => {
    await start();
    const client = await served.open();
    const dom = { name: 'none', uuid: new Uint8Array(16), id: -1 };
    await expect(client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 })).rejects.toMatchObject({
      code: ErrorCode.NO_DOMAIN,
    });
    await expect(client.call(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
  });
});

describe('signs of life', () => {
  it('keep a client that gives them, and only as long', async () => {
    await start({ limits: { keepaliveMs: 5, keepaliveCount: 3 } });
    const peer = newPeer();
    await expect(peer.ask(P.connectSupportsFeature, { feature: 10 })).resolves.toEqual({ supported: 1 });
    for (let count = 0; count < 10; count++) {
      const { header } = await peer.next(({ header }) => header.program === Program.KEEPALIVE);
      expect(header.procedure).toBe(KeepaliveProcedure.PING);
      peer.send({ program: Program.KEEPALIVE, procedure: KeepaliveProcedure.PONG, type: MessageType.MESSAGE });
    }
    await peer.closed;
    await untilClients(0);
  });

  it('are not offered where they are turned off, and answered all the same', async () => {
    await start({ limits: { keepaliveMs: 0 } });
    const peer = newPeer();
    await expect(peer.ask(P.connectSupportsFeature, { feature: 10 })).resolves.toEqual({ supported: 0 });
    peer.send({ program: Program.KEEPALIVE, procedure: KeepaliveProcedure.PING, type: MessageType.MESSAGE });
    const { header } = await peer.next();
    expect(header).toMatchObject({ program: Program.KEEPALIVE, procedure: KeepaliveProcedure.PONG });
  });
});

describe('SASL', () => {
  const verifier = makeVerifier('secret', 4096);
  const sasl: SaslUsers = {
    verifierOf: (user) => (user === 'ada' || user === 'eve' ? verifier : undefined),
    isAllowed: (user) => user !== 'eve',
  };

  async function client(): Promise<RpcClient> {
    const socket = connect(served.path);
    sockets.push(socket);
    return new RpcClient(socket, { name: 'test server' });
  }

  it('lets a user with the right password in', async () => {
    await start({ sasl });
    const known = await client();
    await authenticate(known, { credentials: { username: 'ada', password: 'secret' }, encrypted: false });
    await known.call(P.connectOpen, { name: '', flags: 0 });
    await expect(known.call(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
    expect(served.server.clients[0]?.authentication.user).toBe('ada');
  });

  it.each([
    ['a wrong password', { username: 'ada', password: 'wrong' }],
    ['a user that does not exist', { username: 'bob', password: 'secret' }],
    ['a user that is not allowed', { username: 'eve', password: 'secret' }],
  ])('sends %s away', async (_, credentials) => {
    await start({ sasl });
    const unknown = await client();
    await expect(authenticate(unknown, { credentials, encrypted: false })).rejects.toMatchObject({
      code: ErrorCode.AUTH_FAILED,
    });
    await unknown.closed;
  });

  it('does not tell a wrong password from a user that does not exist', async () => {
    await start({ sasl });
    const messages = [];
    for (const username of ['ada', 'bob']) {
      const refused = authenticate(await client(), { credentials: { username, password: 'wrong' }, encrypted: false });
      messages.push(await refused.catch((error: unknown) => (error as Error).message));
    }
    expect(messages[0]).toBe(messages[1]);
  });

  it('serves nothing before, but what proving it takes', async () => {
    await start({ sasl });
    const peer = newPeer();
    const open = new Set(['authList', 'authSaslInit', 'authSaslStart', 'authSaslStep', 'connectSupportsFeature']);
    let serial = 1000;
    for (const [program, rows] of servedProcedures()) {
      for (const [procedure, { name }] of rows) {
        if (open.has(name)) continue;
        peer.send({ program, procedure, serial: ++serial });
        const { header, payload } = await peer.reply(serial);
        expect(header.status).toBe(MessageStatus.ERROR);
        expect(errorFromWire(messageError.read(payload)).message).toBe('authentication required');
      }
    }
    await expect(peer.ask(P.authList, {})).resolves.toEqual({ types: [1] });
  });

  it('takes no long message before', async () => {
    await start({ sasl });
    const peer = newPeer();
    peer.send({ procedure: P.authSaslStart.number }, Buffer.alloc(200_000));
    await peer.closed;
  });

  it('does not take a mechanism that it has not offered', async () => {
    await start({ sasl });
    const peer = newPeer();
    await expect(peer.ask(P.authSaslInit, {})).resolves.toEqual({ mechlist: `${SCRAM_MECHANISM} PLAIN` });
    await expect(
      peer.ask(P.authSaslStart, { mech: 'DIGEST-MD5', nil: 1, data: new Uint8Array() }),
    ).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED, message: expect.stringContaining('DIGEST-MD5') as string });
    await peer.closed;
  });

  it.each([
    ['a start without the list', P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data: Buffer.from('n,,n=a,r=b') }],
    ['a step without a start', P.authSaslStep, { nil: 0, data: Buffer.from('c=biws,r=x,p=AAAA') }],
  ])('does not take %s', async (_, procedure, args) => {
    await start({ sasl });
    const peer = newPeer();
    await expect(peer.ask(procedure as never, args as never)).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
    await peer.closed;
  });

  it('takes a password as it is only where nobody can read along', async () => {
    await start({ sasl });
    const plain = { mech: 'PLAIN', nil: 0, data: Buffer.from('\0ada\0secret') };
    const local = newPeer();
    await local.ask(P.authSaslInit, {});
    await expect(local.ask(P.authSaslStart, plain)).resolves.toMatchObject({ complete: 1 });
    await local.ask(P.connectOpen, { name: '', flags: 0 });
    const [near, far] = await socketPair();
    sockets.push(near);
    served.server.accept(far, { transport: 'tcp', readOnly: false, isEncrypted: false, description: 'test', sasl });
    const remote = new Peer(near);
    await expect(remote.ask(P.authSaslInit, {})).resolves.toEqual({ mechlist: SCRAM_MECHANISM });
    await expect(remote.ask(P.authSaslStart, plain)).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
    await remote.closed;
  });

  it.each(['\0ada\0wrong', '\0bob\0secret', 'ada', ''])('does not take %j for a plain password', async (text) => {
    await start({ sasl });
    const peer = newPeer();
    await peer.ask(P.authSaslInit, {});
    await expect(peer.ask(P.authSaslStart, { mech: 'PLAIN', nil: 0, data: Buffer.from(text) })).rejects.toMatchObject({
      code: ErrorCode.AUTH_FAILED,
    });
    await peer.closed;
  });

  it('is over when it has succeeded: there is no second user', async () => {
    await start({ sasl });
    const known = await client();
    await authenticate(known, { credentials: { username: 'ada', password: 'secret' }, encrypted: false });
    await expect(known.call(P.authList, {})).resolves.toEqual({ types: [0] });
    await expect(known.call(P.authSaslInit, {})).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
  });

  it('is not there where nobody asks for it', async () => {
    await start();
    const peer = newPeer();
    await expect(peer.ask(P.authList, {})).resolves.toEqual({ types: [0] });
    await expect(peer.ask(P.authSaslInit, {})).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
  });

  it('does not let a proof be used twice', async () => {
    await start({ sasl });
    const user = new ScramClient('ada', 'secret');
    const first = Buffer.from(user.first());
    const peer = newPeer();
    await peer.ask(P.authSaslInit, {});
    const { data } = await peer.ask(P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data: first });
    const proof = Buffer.from(user.final(Buffer.from(data).toString()));
    await expect(peer.ask(P.authSaslStep, { nil: 0, data: proof })).resolves.toMatchObject({ complete: 1 });
    const thief = newPeer();
    await thief.ask(P.authSaslInit, {});
    await thief.ask(P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data: first });
    await expect(thief.ask(P.authSaslStep, { nil: 0, data: proof })).rejects.toMatchObject({
      code: ErrorCode.AUTH_FAILED,
    });
  });

  it('frees the place among the unknown for the next, when it has succeeded', async () => {
    await start({ sasl, limits: { anonymousClients: 1 } });
    const known = await client();
    await authenticate(known, { credentials: { username: 'ada', password: 'secret' }, encrypted: false });
    const next = newPeer();
    await expect(next.ask(P.authList, {})).resolves.toEqual({ types: [1] });
    const tooMany = newPeer();
    await tooMany.closed;
    await expect(next.ask(P.authList, {})).resolves.toEqual({ types: [1] });
  });
});

describe('limits', () => {
  it('send clients away that are too many, until others go', async () => {
    await start({ limits: { clients: 2 } });
    const [first, second] = [await openPeer(), await openPeer()];
    await newPeer().closed;
    await expect(second.ask(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
    first.stream.destroy();
    await untilClients(1);
    await expect((await openPeer()).ask(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
  });

  it('hold for one client: what another waits for is not held up', async () => {
    await start({ limits: { requests: 1 } });
    const [busy, other] = [await openPeer(), await openPeer()];
    let release = (): void => {};
    served.driver.gate = new Promise((resolve) => {
      release = resolve;
    });
    const serials = Array.from({ length: 50 }, () => busy.call(P.connectGetVersion, {}));
    await expect(other.ask(P.connectGetType, {})).resolves.toEqual({ type: 'QEMU' });
    while (served.driver.calls.length === 0) await turn();
    expect(served.driver.calls).toHaveLength(1);
    release();
    for (const serial of serials) expect((await busy.next()).header.serial).toBe(serial);
  });
});

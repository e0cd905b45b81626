import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { ErrorCode } from '../../core/errors.ts';
import { errorFromWire, messageError } from '../../protocol/error.ts';
import {
  KeepaliveProcedure,
  MessageStatus,
  MessageType,
  REMOTE_PROCEDURES as P,
  Program,
} from '../../protocol/index.ts';
import { uuidFromWire } from '../convert.ts';
import { fakeXml } from '../testing/fake-driver.ts';
import { servedPerTest } from '../testing/served-per-test.ts';
import { servedProcedures } from './procedures.ts';

const XML = fakeXml('vm');
const RO = 1;

const fixture = servedPerTest();
const { start, newPeer, openPeer, define, untilClients } = fixture;

describe('a connection', () => {
  it('names its driver', async () => {
    await start();
    const client = await fixture.served.open();
    await expect(client.call(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
    await expect(client.call(P.connectGetUri, {})).resolves.toEqual({ uri: 'test:///fake' });
    await expect(client.call(P.connectGetVersion, {})).resolves.toEqual({ hvVer: 2n });
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
    await expect(newPeer().ask(P.connectOpen, { name: '', flags: 8 })).rejects.toMatchObject({
      message: 'invalid argument: unsupported flags (0x8) in function virConnectOpenAuth',
      code: ErrorCode.INVALID_ARG,
    });
  });

  it('is opened by a client that would have started its daemon, as users do', async () => {
    await start();
    await expect(newPeer().ask(P.connectOpen, { name: '', flags: 4 })).resolves.toEqual({});
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
      fixture.served.server[Symbol.asyncDispose](),
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
    await Promise.all([
      fixture.served.server[Symbol.asyncDispose](),
      expect(told).rejects.toThrow('the connection ended'),
    ]);
  });
});

describe('a server that stops', () => {
  it('waits for the farewell of whoever it has just answered, and begins nothing else', async () => {
    await start();
    const peer = await openPeer();
    await peer.ask(P.connectRegisterCloseCallback, {});
    let answer: (version: number) => void = () => {};
    const version = vi.spyOn(fixture.served.driver, 'version');
    version.mockImplementation(async () => await new Promise<number>((resolve) => (answer = resolve)));
    const asked = peer.ask(P.connectGetVersion, {});
    while (version.mock.calls.length === 0) await turn();
    const stopped = fixture.served.server[Symbol.asyncDispose]();
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
    while (fixture.served.server.clients.length === 0) await turn();
    await turn();
    open();
    for (const serial of serials) {
      expect((await peer.next()).header).toMatchObject({ serial, status: MessageStatus.OK });
    }
  });
});

describe('errors', () => {
  it.each<[string, string, ErrorCode]>([
    ['a definition that is wrong', 'XML error: the definition has no <name>', ErrorCode.XML_ERROR],
    [
      'a state that does not allow it',
      "Requested operation is not valid: domain 'vm' is not running",
      ErrorCode.OPERATION_INVALID,
    ],
    [
      'what the driver does not have',
      'this function is not supported by the connection driver: the test driver has no native configurations',
      ErrorCode.NO_SUPPORT,
    ],
    [
      'a group that the driver does not have',
      'this function is not supported by the connection driver: ',
      ErrorCode.NO_SUPPORT,
    ],
  ])("%s has libvirt's words and number", async (what, message, code) => {
    await start();
    const client = await fixture.served.open();
    const dom = await define();
    const call: Readonly<Record<string, () => Promise<unknown>>> = {
      'a definition that is wrong': () => client.call(P.domainDefineXml, { xml: "<domain type='test'/>" }),
      'a state that does not allow it': () => client.call(P.domainDestroy, { dom }),
      'what the driver does not have': () =>
        client.call(P.connectDomainXmlToNative, { nativeFormat: 'qemu-argv', domainXml: XML, flags: 0 }),
      'a group that the driver does not have': () => client.call(P.connectGetHostname, {}),
    };
    await expect(call[what]?.()).rejects.toMatchObject({ code, message: expect.stringContaining(message) as string });
    await expect(client.call(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
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

describe('statistics of domains', () => {
  it("leave out those that are gone or go meanwhile; other failures are the call's", async () => {
    await start();
    const [here, going] = [await define('here'), await define('going')];
    const { driver } = fixture.served;
    const goes = uuidFromWire(going.uuid);
    const stats = async (uuid: string) => {
      if (uuid === goes) throw new Error('the monitor is closed');
      return { 'state.state': 1 };
    };
    Object.assign(driver, { inspection: { stats } });
    const client = await fixture.served.open();
    const gone = { name: 'gone', uuid: new Uint8Array(16), id: -1 };
    const ask = { doms: [here, gone, going], stats: 1, flags: 0 };
    const { retStats } = await client.call(P.connectGetAllDomainStats, ask);
    expect(retStats.map(({ dom }) => dom.name)).toEqual(['here']);
    vi.spyOn(driver, 'lookupByUuid').mockRejectedValue(new TypeError('a bug'));
    await expect(client.call(P.connectGetAllDomainStats, ask)).rejects.toThrow('a bug');
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
    expect(fixture.served.driver.calls).toEqual([]);
    expect(fixture.served.driver.monitorSubscriptions).toBe(0);
  });

  it('may look', async () => {
    await start();
    const dom = await define();
    const peer = await openPeer(RO);
    await expect(peer.ask(P.domainGetInfo, { dom })).resolves.toMatchObject({ state: 5, maxMem: 65_536n });
    await expect(peer.ask(P.domainGetXmlDesc, { dom, flags: 0 })).resolves.toMatchObject({
      xml: expect.stringContaining('<name>vm</name>') as string,
    });
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

describe('limits', () => {
  it('send clients away that are too many, until others go', async () => {
    await start({ limits: { clients: 2 } });
    const [first, second] = [await openPeer(), await openPeer()];
    await newPeer().closed;
    await expect(second.ask(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
    first.stream.destroy();
    await untilClients(1);
    await expect((await openPeer()).ask(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
  });

  it('hold for one client: what another waits for is not held up', async () => {
    await start({ limits: { requests: 1 } });
    const [busy, other] = [await openPeer(), await openPeer()];
    let release = (): void => {};
    fixture.served.driver.gate = new Promise((resolve) => {
      release = resolve;
    });
    const serials = Array.from({ length: 50 }, () => busy.call(P.connectGetVersion, {}));
    await expect(other.ask(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
    while (fixture.served.driver.calls.length === 0) await turn();
    expect(fixture.served.driver.calls).toHaveLength(1);
    release();
    for (const serial of serials) expect((await busy.next()).header.serial).toBe(serial);
  });
});

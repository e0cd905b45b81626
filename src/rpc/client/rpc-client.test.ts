import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode, VirtError } from '../../core/errors.ts';
import {
  encodeFrame,
  errorToWire,
  type Header,
  KeepaliveProcedure,
  MessageStatus,
  MessageType,
  messageError,
  REMOTE_PROCEDURES as P,
  Program,
  QEMU_PROCEDURES as Q,
  STREAM_CHUNK,
  streamHole,
} from '../../protocol/index.ts';
import type { Peer } from '../testing/peer.ts';
import { clientAndPeer, socketPair } from '../testing/socket-pair.ts';
import type { ClientStream } from './client-stream.ts';
import { RpcClient } from './rpc-client.ts';

let client: RpcClient;
let server: Peer;

beforeEach(async () => {
  ({ client, server } = await clientAndPeer());
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  server.stream.destroy();
});

function sendError(header: Partial<Header>, error: VirtError): void {
  const full = { program: Program.REMOTE, version: 1, procedure: 0, serial: 0, type: MessageType.REPLY, ...header };
  server.stream.write(encodeFrame({ ...full, status: MessageStatus.ERROR }, messageError, errorToWire(error)));
}

/** What a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<VirtError> {
  const found = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (found instanceof VirtError) return found;
  throw new Error(`no VirtError but ${String(found)}`);
}

describe('calls', () => {
  it('do not wait for each other, and find their replies in any order', async () => {
    const names = Array.from({ length: 200 }, (_, index) => `name-${index}`);
    const replies = Promise.all(names.map((name) => client.call(P.domainLookupByName, { name })));
    const calls = [];
    for (const name of names) {
      const call = await server.next();
      expect(call.header).toMatchObject({ program: Program.REMOTE, version: 1, type: MessageType.CALL, status: 0 });
      expect(P.domainLookupByName.args.read(call.payload)).toEqual({ name });
      calls.push(call);
    }
    expect(new Set(calls.map(({ header }) => header.serial)).size).toBe(names.length);
    for (const [index, call] of [...calls.entries()].toReversed()) {
      const dom = { name: `reply-${index}`, uuid: new Uint8Array(16), id: index };
      server.answer(call, P.domainLookupByName, { dom });
    }
    expect((await replies).map(({ dom }) => dom.id)).toEqual(names.map((_, index) => index));
  });

  it('go to the program that they belong to', async () => {
    const reply = client.call(Q.domainAttach, { pidValue: 5, flags: 0 }, { program: Program.QEMU });
    const call = await server.next();
    expect(call.header).toMatchObject({ program: Program.QEMU, procedure: 2 });
    server.answer(call, Q.domainAttach, { dom: { name: 'vm', uuid: new Uint8Array(16), id: 1 } });
    await expect(reply).resolves.toMatchObject({ dom: { name: 'vm' } });
  });

  it("fail with the server's error, and the connection goes on", async () => {
    const failed = client.call(P.connectGetType, {});
    const { header } = await server.next();
    const sent = new VirtError('no such thing', { code: ErrorCode.NO_DOMAIN, domain: 10, str2: 'two', int1: 5 });
    sendError({ procedure: header.procedure, serial: header.serial }, sent);
    expect(await failure(failed)).toMatchObject({
      message: 'no such thing',
      code: ErrorCode.NO_DOMAIN,
      domain: 10,
      str2: 'two',
      int1: 5,
    });
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await expect(next).resolves.toEqual({ type: 'QEMU' });
  });

  it('can be given up; their late replies disturb nobody', async () => {
    const abort = new AbortController();
    const given = client.call(P.connectGetType, {}, { signal: abort.signal });
    const late = await server.next();
    const reason = new Error('no longer wanted');
    abort.abort(reason);
    await expect(given).rejects.toBe(reason);
    const next = client.call(P.connectGetUri, {});
    server.answer(late, P.connectGetType, { type: 'late' });
    server.answer(await server.next(), P.connectGetUri, { uri: 'qemu:///system' });
    await expect(next).resolves.toEqual({ uri: 'qemu:///system' });
  });

  it('that are given up before are not sent', async () => {
    const reason = new Error('never wanted');
    await expect(client.call(P.connectGetType, {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const next = client.call(P.connectGetUri, {});
    const { header } = await server.next();
    expect(header.procedure).toBe(P.connectGetUri.number);
    sendError({ serial: header.serial }, new VirtError('x', { code: 1 }));
    await failure(next);
  });

  it('with arguments that do not fit fail here, and the connection goes on', async () => {
    const tooLong = client.call(P.domainLookupByName, { name: 'x'.repeat(4_194_305) });
    await expect(tooLong).rejects.toThrow(/4194305|at most/);
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await expect(next).resolves.toEqual({ type: 'QEMU' });
  });
});

describe('a lost connection', () => {
  it('lets every call fail that waits, and every later one at once', async () => {
    const waiting = Array.from({ length: 10 }, () => failure(client.call(P.connectGetType, {})));
    await server.next();
    server.stream.destroy();
    for (const error of await Promise.all(waiting)) {
      expect(error.message).toMatch(/^the connection to test server is lost: /);
      expect(error.code).toBe(ErrorCode.RPC);
    }
    expect((await client.closed)?.message).toMatch(/^the connection to test server is lost/);
    expect(client.isOpen).toBe(false);
    await expect(client.call(P.connectGetType, {})).rejects.toThrow('the connection to test server is lost');
  });

  it('in the middle of a reply is one, too', async () => {
    const waiting = failure(client.call(P.connectGetType, {}));
    const { header } = await server.next();
    const whole = encodeFrame({ ...header, type: MessageType.REPLY }, P.connectGetType.ret, { type: 'QEMU' });
    server.stream.end(whole.subarray(0, whole.length - 3));
    expect((await waiting).message).toBe('the connection to test server is lost: it closed the connection');
  });

  it('tells what the other end said last', async () => {
    const [near, far] = await socketPair();
    await using other = new RpcClient(near, { name: 'the host', lastWords: () => 'Permission denied (publickey).' });
    far.destroy();
    expect((await other.closed)?.message).toBe('the connection to the host is lost: Permission denied (publickey).');
  });

  it('is no error where we have closed it', async () => {
    const waiting = failure(client.call(P.connectGetType, {}));
    await client[Symbol.asyncDispose]();
    expect(await waiting).toMatchObject({
      message: 'the connection to test server is closed',
      code: ErrorCode.INVALID_CONN,
    });
    await expect(client.closed).resolves.toBeUndefined();
    await server.closed;
  });
});

describe('a server that breaks the rules', () => {
  it('with a reply that cannot be read fails that call only', async () => {
    const waiting = failure(client.call(P.connectGetType, {}));
    const { header } = await server.next();
    server.send({ ...header, type: MessageType.REPLY }, Buffer.from([0, 0, 0, 200, 1, 2, 3, 4]));
    expect((await waiting).message).toMatch(/^the reply of test server to virConnectGetType cannot be read: /);
    expect(client.isOpen).toBe(true);
  });

  it('with an error that cannot be read does not leave the call waiting', async () => {
    const waiting = failure(client.call(P.connectGetType, {}));
    const { header } = await server.next();
    server.send({ ...header, type: MessageType.REPLY, status: MessageStatus.ERROR }, Buffer.from([0, 0, 0, 1]));
    expect((await waiting).code).toBe(ErrorCode.RPC);
  });

  it.each<[string, (peer: Peer) => void]>([
    ['a length without a header', (peer) => peer.stream.write(Buffer.from([0, 0, 0, 4]))],
    ['a length beyond every limit', (peer) => peer.stream.write(Buffer.from([0x7f, 0, 0, 0]))],
    ['another language', (peer) => peer.stream.write('SSH-2.0-OpenSSH_9.2\r\n')],
    ['a call of its own', (peer) => peer.send({ procedure: 1 })],
    ['a type that does not exist', (peer) => peer.send({ type: 9 as never })],
    ['a status that does not exist', (peer) => peer.send({ type: MessageType.REPLY, status: 7 as never })],
  ])('with %s is left, with a reason', async (_, misbehave) => {
    const waiting = failure(client.call(P.connectGetType, {}));
    await server.next();
    misbehave(server);
    const error = await waiting;
    expect(error.message).toMatch(/^test server does not speak libvirt's protocol as it should: /);
    expect(await client.closed).toBe(error);
    await server.closed;
  });

  it('with replies, events and streams that nobody asked for is borne', async () => {
    server.send({ type: MessageType.REPLY, serial: 4711 }, Buffer.alloc(8));
    server.send({ type: MessageType.MESSAGE, procedure: P.domainEventLifecycle.number }, Buffer.alloc(3));
    server.send({ type: MessageType.STREAM, serial: 9, status: MessageStatus.CONTINUE }, Buffer.from('data'));
    server.send({ type: MessageType.STREAM_HOLE, serial: 9, status: MessageStatus.CONTINUE });
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await expect(next).resolves.toEqual({ type: 'QEMU' });
  });

  it('with any bytes at all lets no call wait for ever', async () => {
    const header = fc.record({
      program: fc.constantFrom(Program.REMOTE, Program.QEMU, Program.KEEPALIVE, 7),
      procedure: fc.integer({ min: 0, max: 460 }),
      type: fc.constantFrom(0, 1, 1, 2, 3, 4, 5, 6),
      serial: fc.nat(3),
      status: fc.constantFrom(0, 1, 2),
    });
    const message = fc.tuple(header, fc.uint8Array({ maxLength: 60 }));
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 6 }), fc.uint8Array({ maxLength: 60 }), async (sent, rest) => {
        const pair = await clientAndPeer();
        const calls = [
          pair.client.call(P.connectGetType, {}),
          pair.client.call(P.domainLookupByName, { name: 'x' }),
        ].map((call) => call.catch((error: unknown) => expect(error).toBeInstanceOf(VirtError)));
        for (const [head, payload] of sent) pair.server.send(head, payload);
        pair.server.stream.end(rest);
        await Promise.all([...calls, pair.client.closed]);
      }),
      { numRuns: 100 },
    );
  });
});

describe('signs of life', () => {
  const pong = { program: Program.KEEPALIVE, procedure: KeepaliveProcedure.PONG, type: MessageType.MESSAGE } as const;

  it('that stay out close the connection with a reason', async () => {
    const waiting = failure(client.call(P.connectGetType, {}));
    client.keepAlive(5, 3);
    const error = await waiting;
    expect(error.message).toBe('test server has not answered 3 keepalive messages: the connection is closed');
    expect(await client.closed).toBe(error);
    await server.closed;
  });

  it('keep it open as long as they come', async () => {
    client.keepAlive(5, 2);
    for (let count = 0; count < 10; count++) {
      const { header } = await server.next();
      expect(header).toMatchObject({ program: Program.KEEPALIVE, procedure: KeepaliveProcedure.PING });
      server.send(pong);
    }
    expect(client.isOpen).toBe(true);
    await client.closed;
  });

  it('are given where the server asks for them', async () => {
    server.send({ ...pong, procedure: KeepaliveProcedure.PING });
    expect((await server.next()).header).toMatchObject(pong);
  });
});

describe('events', () => {
  it('reach their listener, by program and kind', async () => {
    const seen: number[] = [];
    client.on(P.domainEventCallbackReboot, ({ callbackID }) => seen.push(callbackID));
    const dom = { name: 'vm', uuid: new Uint8Array(16), id: 1 };
    const header = { program: Program.REMOTE, version: 1, serial: 0, type: MessageType.MESSAGE, status: 0 } as const;
    const { number, message } = P.domainEventCallbackReboot;
    for (const callbackID of [3, 4]) {
      server.stream.write(encodeFrame({ ...header, procedure: number }, message, { callbackID, msg: { dom } }));
    }
    server.stream.write(
      encodeFrame({ ...header, program: Program.QEMU, procedure: number }, message, { callbackID: 5, msg: { dom } }),
    );
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await next;
    expect(seen).toEqual([3, 4]);
  });
});

describe('streams', () => {
  const dom = { name: 'vm', uuid: new Uint8Array(16), id: 1 };
  const args = { dom, devName: undefined, flags: 0 };
  let stream: ClientStream;
  let serial: number;

  async function open(): Promise<void> {
    const opening = client.callStream(P.domainOpenConsole, args);
    const call = await server.next();
    serial = call.header.serial;
    server.answer(call, P.domainOpenConsole, {});
    ({ stream } = await opening);
  }
  function send(status: MessageStatus, data: Uint8Array = Buffer.alloc(0)): void {
    server.send({ procedure: P.domainOpenConsole.number, serial, type: MessageType.STREAM, status }, data);
  }

  it('carry bytes both ways, and end when the server has confirmed', async () => {
    await open();
    send(MessageStatus.CONTINUE, Buffer.from('login: '));
    expect(String((await once(stream, 'data'))[0])).toBe('login: ');
    const closed = once(stream, 'close');
    stream.write('root\n');
    const { header, payload } = await server.next();
    expect(header).toMatchObject({ serial, type: MessageType.STREAM, status: MessageStatus.CONTINUE });
    expect(Buffer.from(payload.rest()).toString()).toBe('root\n');
    stream.end();
    expect((await server.next()).header).toMatchObject({ serial, status: MessageStatus.OK });
    expect(stream.writableFinished).toBe(false);
    send(MessageStatus.OK);
    await closed;
    expect(stream.errored).toBeNull();
  });

  it('have what comes before the reply to their call', async () => {
    const opening = client.callStream(P.domainOpenConsole, args);
    const call = await server.next();
    ({ serial } = call.header);
    send(MessageStatus.CONTINUE, Buffer.from('early'));
    server.answer(call, P.domainOpenConsole, {});
    ({ stream } = await opening);
    expect(String((await once(stream, 'data'))[0])).toBe('early');
    send(MessageStatus.OK);
    stream.destroy();
  });

  it('end for readers when the server has no more', async () => {
    await open();
    const all = buffer(stream);
    send(MessageStatus.CONTINUE, Buffer.from('one'));
    send(MessageStatus.CONTINUE, Buffer.from('two'));
    send(MessageStatus.CONTINUE);
    expect((await server.next()).header.status).toBe(MessageStatus.OK);
    send(MessageStatus.OK);
    expect(String(await all)).toBe('onetwo');
  });

  it('send much in pieces that a server takes', async () => {
    await open();
    const much = Buffer.alloc(2 * STREAM_CHUNK + 17, 'z');
    stream.write(much);
    const sizes = [];
    for (let count = 0; count < 3; count++) sizes.push((await server.next()).payload.rest().length);
    expect(sizes).toEqual([STREAM_CHUNK, STREAM_CHUNK, 17]);
    stream.destroy();
  });

  it("fail with the server's error", async () => {
    await open();
    const failed = once(stream, 'error');
    const { number: procedure } = P.domainOpenConsole;
    sendError({ procedure, serial, type: MessageType.STREAM }, new VirtError('the guest is gone', { code: 55 }));
    expect((await failed)[0]).toMatchObject({ message: 'the guest is gone', code: 55 });
    expect(client.isOpen).toBe(true);
  });

  it('that are given up tell the server', async () => {
    await open();
    stream.destroy();
    expect((await server.next()).header).toMatchObject({
      serial,
      type: MessageType.STREAM,
      status: MessageStatus.ERROR,
    });
    send(MessageStatus.CONTINUE, Buffer.from('late'));
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await expect(next).resolves.toEqual({ type: 'QEMU' });
  });

  it('are not there when their call fails', async () => {
    const opening = failure(client.callStream(P.domainOpenConsole, args));
    const { header } = await server.next();
    sendError({ serial: header.serial }, new VirtError('no domain', { code: ErrorCode.NO_DOMAIN }));
    expect((await opening).code).toBe(ErrorCode.NO_DOMAIN);
    // Nothing is sent for a stream that the server does not know.
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await next;
  });

  it('fail with their connection', async () => {
    await open();
    const failed = once(stream, 'error');
    server.stream.destroy();
    expect((await failed)[0]).toMatchObject({ code: ErrorCode.RPC });
  });

  it('with a hole have zeros there', async () => {
    await open();
    const all = buffer(stream);
    const { number: procedure } = P.domainOpenConsole;
    const status = MessageStatus.CONTINUE;
    const header = { program: Program.REMOTE, version: 1, procedure, serial, type: MessageType.STREAM_HOLE, status };
    send(status, Buffer.from('a'));
    server.stream.write(encodeFrame(header, streamHole, { length: 100_000n, flags: 0 }));
    send(status, Buffer.from('b'));
    send(status);
    await server.next();
    send(MessageStatus.OK);
    const bytes = await all;
    expect(bytes).toHaveLength(100_002);
    expect(bytes.subarray(1, -1).every((byte) => byte === 0)).toBe(true);
  });

  it.each([0x7fff_ffff_ffff_ffffn, -1n])('with a hole of %s bytes fail at once', async (length) => {
    await open();
    const failed = once(stream, 'error');
    const { number: procedure } = P.domainOpenConsole;
    const status = MessageStatus.CONTINUE;
    const header = { program: Program.REMOTE, version: 1, procedure, serial, type: MessageType.STREAM_HOLE, status };
    server.stream.write(encodeFrame(header, streamHole, { length, flags: 0 }));
    expect((await failed)[0]).toMatchObject({ code: ErrorCode.RPC });
    expect((await server.next()).header.status).toBe(MessageStatus.ERROR);
  });

  it('that nobody reads stop the server, and hold up no call', async () => {
    await open();
    const piece = Buffer.alloc(STREAM_CHUNK, 'x');
    let sent = 0;
    // More than a client keeps and the kernel takes.
    while (!server.stream.writableNeedDrain || stream.readableLength < 16 * 1024 * 1024) {
      send(MessageStatus.CONTINUE, piece);
      sent += piece.length;
      await turn();
    }
    expect(stream.readableLength).toBeLessThan(18 * 1024 * 1024);
    const next = client.call(P.connectGetType, {});
    server.answer(await server.next(), P.connectGetType, { type: 'QEMU' });
    await expect(next).resolves.toEqual({ type: 'QEMU' });
    const all = buffer(stream);
    send(MessageStatus.CONTINUE);
    expect((await server.next()).header.status).toBe(MessageStatus.OK);
    send(MessageStatus.OK);
    expect((await all).length).toBe(sent);
  });
});

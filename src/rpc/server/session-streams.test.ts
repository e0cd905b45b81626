import { buffer } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../core/errors.ts';
import { MessageStatus, MessageType, REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import type { RpcClient } from '../client/rpc-client.ts';
import { servedPerTest } from '../testing/served-per-test.ts';

const CONSOLE_FORCE = 1;

const fixture = servedPerTest();
const { start, openPeer, define } = fixture;

describe('a stream', () => {
  async function openConsole(client: RpcClient) {
    const dom = await define();
    const { stream } = await client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 });
    const console = fixture.served.driver.consoles[0]!;
    return { stream, console };
  }

  it('carries much, unchanged, both ways', async () => {
    await start();
    const { stream, console } = await openConsole(await fixture.served.open());
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
    const { stream, console } = await openConsole(await fixture.served.open());
    const closed = new Promise((resolve) => console.stream.once('close', resolve));
    stream.destroy();
    await closed;
  });

  it('belongs to one client at a time, unless another one insists', async () => {
    await start();
    const [first, second] = [await fixture.served.open(), await fixture.served.open()];
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
    const { stream, console } = await openConsole(await fixture.served.open());
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
    const { stream } = fixture.served.driver.consoles[0]!;
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
    const client = await fixture.served.open();
    const dom = { name: 'none', uuid: new Uint8Array(16), id: -1 };
    await expect(client.callStream(P.domainOpenConsole, { dom, devName: undefined, flags: 0 })).rejects.toMatchObject({
      code: ErrorCode.NO_DOMAIN,
    });
    await expect(client.call(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
  });
});

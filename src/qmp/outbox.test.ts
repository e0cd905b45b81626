import { describe, expect, it } from 'vitest';
import { encodeRights } from '../core/fd-rights.ts';
import { QmpClient } from './client.ts';
import { createFakePeer, type FakePeer, greet } from './testing/fake-peer.ts';

/** A sender that records what goes with which descriptors, and takes at most `limit` bytes at a time. */
function recordingSender(peer: () => FakePeer, log: string[], limit = Infinity) {
  return (bytes: Buffer, fds: readonly number[]): number => {
    const sent = Math.min(bytes.length, limit);
    log.push(`${fds.join(',')}@${peer().commands().length}`);
    // The real one writes to the same socket.
    if (sent > 0) peer().stream.write(bytes.subarray(0, sent));
    return sent;
  };
}

describe('descriptors', () => {
  it('travel in order, one command with descriptors at a time, other commands behind them', async () => {
    const log: string[] = [];
    const peer = createFakePeer();
    const client = new QmpClient(peer.stream, {
      negotiation: 'eager',
      loadFdSender: async () => recordingSender(() => peer, log),
    });
    const status = client.execute('query-status');
    const first = client.execute('getfd', { fdname: 'a' }, { fds: [7] });
    const second = client.execute('getfd', { fdname: 'b' }, { fds: [8, 9] });
    const last = client.execute('query-kvm');
    await peer.commandCount(3);
    expect(log).toEqual(['7@2']);
    greet(peer);
    peer.sendObject({ return: { running: true, status: 'running' }, id: 2 });
    peer.sendObject({ return: {}, id: 3 });
    await Promise.all([status, first]);
    await peer.commandCount(5);
    expect(log).toEqual(['7@2', '8,9@3']);
    expect(peer.commands().map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
    peer.sendObject({ return: {}, id: 4 });
    peer.sendObject({ return: { enabled: true, present: true }, id: 5 });
    await Promise.all([second, last]);
    expect(client.commandsSent).toBe(5);
    await client.close();
  });

  it('send the rest of a message that the socket took in part, and try again when it took nothing', async () => {
    const log: string[] = [];
    const peer = createFakePeer();
    let refusals = 2;
    const partial = recordingSender(() => peer, log, 10);
    const client = new QmpClient(peer.stream, {
      negotiation: 'eager',
      loadFdSender: async () => (bytes, fds) => (refusals-- > 0 ? 0 : partial(bytes, fds)),
    });
    const call = client.execute('getfd', { fdname: 'a' }, { fds: [7] });
    while (!peer.written().endsWith('"id":2}\n')) await new Promise(setImmediate);
    expect(peer.commands()[1]).toEqual({ execute: 'getfd', arguments: { fdname: 'a' }, id: 2 });
    expect(log).toHaveLength(1);
    greet(peer);
    peer.sendObject({ return: {}, id: 2 });
    await call;
    await client.close();
  });

  it('fail that call only when they cannot be sent', async () => {
    const peer = createFakePeer();
    const client = new QmpClient(peer.stream);
    greet(peer);
    await client.ready;
    await expect(client.execute('getfd', { fdname: 'a' }, { fds: [7] })).rejects.toThrow(
      'without the option loadFdSender',
    );
    expect(client.commandsInFlight).toBe(0);
    const next = client.execute('query-status');
    peer.sendObject({ return: { running: true, status: 'running' }, id: 3 });
    expect((await next).running).toBe(true);
    await client.close();
  });

  it('are encoded as one aligned SCM_RIGHTS message', () => {
    const control = encodeRights([5]);
    expect(control).toHaveLength(24);
    expect([0, 8, 12, 16].map((at) => new Int32Array(control.buffer, control.byteOffset + at, 1)[0])).toEqual([
      20, 1, 1, 5,
    ]);
  });
});

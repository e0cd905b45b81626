import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { QmpClient, type QmpClientOptions } from './client.ts';
import { QmpConnectionError, QmpError } from './errors.ts';
import { createFakePeer, type FakePeer, GREETING, greet } from './testing/fake-peer.ts';

const opened: QmpClient[] = [];

async function connected(options: QmpClientOptions = {}): Promise<{ peer: FakePeer; client: QmpClient }> {
  const peer = createFakePeer();
  const client = new QmpClient(peer.stream, options);
  opened.push(client);
  greet(peer);
  await client.ready;
  return { peer, client };
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((client) => client.close()));
});

describe('negotiation', () => {
  it('waits for the greeting by default, and sends what was asked earlier after it', async () => {
    const peer = createFakePeer();
    const client = new QmpClient(peer.stream);
    opened.push(client);
    const status = client.execute('query-status');
    expect(peer.written()).toBe('');
    greet(peer);
    const greeting = await client.ready;
    expect(greeting).toEqual({ version: { major: 7, minor: 2, micro: 22 }, package: 'Debian', capabilities: ['oob'] });
    expect(peer.commands()).toEqual([
      { execute: 'qmp_capabilities', id: 1 },
      { execute: 'query-status', id: 2 },
    ]);
    peer.sendObject({ return: { running: true, status: 'running' }, id: 2 });
    expect((await status).status).toBe('running');
    expect(client.commandsSent).toBe(2);
  });

  it('writes at once when eager', async () => {
    const peer = createFakePeer();
    const client = new QmpClient(peer.stream, { negotiation: 'eager' });
    opened.push(client);
    const version = client.execute('query-version');
    expect(peer.commands().map(({ execute }) => execute)).toEqual(['qmp_capabilities', 'query-version']);
    greet(peer);
    peer.sendObject({ return: { qemu: { major: 7, minor: 2, micro: 22 }, package: '' }, id: 2 });
    expect((await version).qemu.major).toBe(7);
  });

  it('takes the reply to a negotiation that the caller has written', async () => {
    const peer = createFakePeer();
    const client = new QmpClient(peer.stream, { negotiation: 'caller' });
    opened.push(client);
    peer.sendObject(GREETING);
    peer.sendObject({ return: {} });
    await client.ready;
    expect(client.commandsSent).toBe(0);
    peer.sendObject({ return: {} });
    expect((await client.closed).reason).toBe('unknown-id');
  });

  it('connect rejects with the reason of its signal and destroys the stream', async () => {
    const peer = createFakePeer();
    const reason = new Error('enough');
    const controller = new AbortController();
    const attempt = QmpClient.connect(peer.stream, { signal: controller.signal });
    controller.abort(reason);
    await expect(attempt).rejects.toBe(reason);
    expect(peer.stream.destroyed).toBe(true);
  });

  it('connect says so when QEMU exits first', async () => {
    const peer = createFakePeer();
    const attempt = QmpClient.connect(peer.stream);
    peer.end();
    await expect(attempt).rejects.toMatchObject({ name: 'QmpConnectionError', reason: 'closed' });
  });

  it('fails when QEMU refuses it', async () => {
    const peer = createFakePeer();
    const attempt = QmpClient.connect(peer.stream);
    peer.sendObject(GREETING);
    peer.sendObject({ error: { class: 'GenericError', desc: 'no' }, id: 1 });
    await expect(attempt).rejects.toMatchObject({
      reason: 'negotiation',
      message: expect.stringContaining('no (Generic'),
    });
  });

  it('notices a stream that is over already', async () => {
    const peer = createFakePeer();
    peer.stream.destroy();
    await expect(QmpClient.connect(peer.stream)).rejects.toMatchObject({ reason: 'closed' });
  });
});

describe('commands', () => {
  it('are pipelined and matched by id, in whatever order the replies come', async () => {
    const { peer, client } = await connected();
    const first = client.execute('qom-get', { path: '/a', property: 'x' });
    const second = client.execute('qom-get', { path: '/b', property: 'x' });
    peer.sendObject({ return: 'b', id: 3 });
    peer.sendObject({ return: 'a', id: 2 });
    expect(await Promise.all([first, second])).toEqual(['a', 'b']);
    expect(client.commandsInFlight).toBe(0);
  });

  it('reject with QEMU’s class and words', async () => {
    const { peer, client } = await connected();
    const call = client.execute('device_del', { id: 'nic0' });
    peer.sendObject({ id: 2, error: { class: 'DeviceNotFound', desc: "Device 'nic0' not found" } });
    const error: unknown = await call.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(QmpError);
    expect(error).toMatchObject({ class: 'DeviceNotFound', desc: "Device 'nic0' not found", command: 'device_del' });
  });

  it('a batch is one write, and settles like allSettled in order', async () => {
    const { peer, client } = await connected();
    const batch = client.executeBatch([
      { command: 'query-status' },
      { command: 'no-such-command', args: { a: 1 } },
      { command: 'query-kvm' },
    ]);
    peer.sendObject({ return: { running: false, status: 'prelaunch' }, id: 2 });
    peer.sendObject({ error: { class: 'CommandNotFound', desc: 'x' }, id: 3 });
    peer.sendObject({ return: { enabled: false, present: true }, id: 4 });
    const [status, unknown, kvm] = await batch;
    expect(status).toMatchObject({ status: 'fulfilled', value: { status: 'prelaunch' } });
    expect(unknown).toMatchObject({ status: 'rejected', reason: { class: 'CommandNotFound' } });
    expect(kvm.status === 'fulfilled' && kvm.value.present).toBe(true);
  });

  it('reads a reply of 64 MiB that comes in 64 KiB chunks', async () => {
    const { peer, client } = await connected();
    const call = client.execute('big');
    const chunk = Buffer.alloc(64 * 1024, 0x78);
    peer.send('{"return": "');
    for (let i = 0; i < 1024; i += 1) peer.send(chunk);
    peer.send('", "id": 2}\r\n');
    expect((await call) as string).toHaveLength(64 * 1024 * 1024);
  });

  it('abort rejects that call only; its late reply is dropped and nothing stays behind', async () => {
    const { peer, client } = await connected();
    const controller = new AbortController();
    const given = client.execute('stop', {}, { signal: controller.signal });
    const kept = client.execute('query-status', {}, { signal: new AbortController().signal });
    const reason = new Error('too slow');
    controller.abort(reason);
    await expect(given).rejects.toBe(reason);
    expect(client.commandsInFlight).toBe(2);
    peer.sendObject({ return: {}, id: 2 });
    peer.sendObject({ return: { running: true, status: 'running' }, id: 3 });
    expect((await kept).running).toBe(true);
    expect(client.commandsInFlight).toBe(0);
  });

  it('abort before sending means that nothing is sent', async () => {
    const { peer, client } = await connected();
    await expect(client.execute('quit', {}, { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
    const silent = createFakePeer();
    const waiting = new QmpClient(silent.stream);
    opened.push(waiting);
    const controller = new AbortController();
    const call = waiting.execute('quit', {}, { signal: controller.signal });
    controller.abort();
    await expect(call).rejects.toThrow();
    greet(silent);
    await waiting.ready;
    expect(peer.written() + silent.written()).not.toContain('quit');
  });
});

describe('the end of a connection', () => {
  it('rejects everything in flight with one error that names it', async () => {
    const { peer, client } = await connected();
    const calls = [client.execute('stop'), client.execute('query-status')];
    const event = client.once('STOP');
    peer.send('{"return": {');
    peer.end();
    const [first, second, third] = await Promise.all(
      [...calls, event].map((call) =>
        call.then(
          () => undefined,
          (error: unknown) => error,
        ),
      ),
    );
    expect(first).toBeInstanceOf(QmpConnectionError);
    expect(second).toBe(first);
    expect(third).toBe(first);
    expect(first).toMatchObject({
      reason: 'closed',
      inFlight: ['stop', 'query-status'],
      offending: '"{\\x22return\\x22: {"',
    });
    await expect(client.execute('cont')).rejects.toBe(first);
    expect(await client.closed).toBe(first);
  });

  it.each([
    ['\x00\x01SSH-2.0-OpenSSH\r\n', 'garbage', '"\\x00\\x01SSH-2.0-OpenSSH\\x0d"'],
    ['[1]\n', 'garbage', '"[1]"'],
    ['{"hello": 1}\n', 'garbage', '"{\\x22hello\\x22: 1}"'],
    ['{"return": {}, "id": 77}\n', 'unknown-id', '77}"'],
    ['{"return": {}, "id": 1}\n', 'unknown-id', '1}"'],
    [`${JSON.stringify(GREETING)}\n`, 'garbage', 'bytes)'],
  ])('%j ends it as %s', async (text, reason, offending) => {
    const { peer, client } = await connected();
    const call = client.execute('stop').catch((error: unknown) => error);
    peer.send(text);
    expect(await call).toMatchObject({ reason, inFlight: ['stop'] });
    expect((await client.closed).offending).toContain(offending);
    expect((await client.closed).message.length).toBeLessThan(400);
    expect(peer.stream.destroyed).toBe(true);
  });

  it('refuses a message past the limit', async () => {
    const { peer, client } = await connected({ maxMessageBytes: 1000 });
    peer.send('x'.repeat(2000));
    expect((await client.closed).reason).toBe('too-long');
  });

  it('reports a stream error, and takes EPIPE for QEMU’s exit', async () => {
    const broken = await connected();
    broken.peer.stream.destroy(new Error('cable'));
    expect(await broken.client.closed).toMatchObject({ reason: 'stream-error', cause: { message: 'cable' } });
    const gone = await connected();
    gone.peer.stream.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    expect((await gone.client.closed).reason).toBe('closed');
  });

  it('disposal is idempotent, waits, and rejects what is in flight', async () => {
    const { peer, client } = await connected();
    const call = client.execute('stop').catch((error: unknown) => error);
    await Promise.all([client.close(), client[Symbol.asyncDispose]()]);
    expect(peer.stream.closed).toBe(true);
    expect(await call).toMatchObject({ reason: 'disposed', inFlight: ['stop'] });
  });
});

describe('trace', () => {
  it('sees both directions, and never a secret', async () => {
    const seen: string[] = [];
    const { peer, client } = await connected({ trace: (direction, text) => seen.push(`${direction} ${text}`) });
    const calls = [
      client.execute('object-add', { 'qom-type': 'secret', id: 's', data: 'hunter2' }),
      client.execute('qom-get', { path: '/objects/s', property: 'data' }),
    ];
    peer.sendObject({ return: {}, id: 2 });
    peer.sendObject({ return: 'hunter2', id: 3 });
    expect(await Promise.all(calls)).toEqual([{}, 'hunter2']);
    peer.send('hunter2\n');
    await client.closed;
    expect(seen.join('\n')).not.toContain('hunter2');
    const directions = seen.map((line) => line.split(' ')[0]);
    expect(directions).toEqual(['receive', 'send', 'receive', 'send', 'send', 'receive', 'receive']);
    expect(seen).toContain('receive {"return":"<redacted>","id":3}');
  });
});

describe('any input', () => {
  const transcript = [
    GREETING,
    { return: {}, id: 1 },
    { event: 'RESUME', timestamp: { seconds: 1, microseconds: 2 } },
    { return: { name: 'größe 🦉 \n' }, id: 2 },
    { event: 'STOP', data: { reason: 'ünïcode' }, timestamp: { seconds: -1, microseconds: -1 } },
    { error: { class: 'GenericError', desc: '失敗' }, id: 3 },
  ];

  async function replay(chunks: readonly Buffer[]): Promise<unknown[]> {
    const peer = createFakePeer();
    const client = new QmpClient(peer.stream, { negotiation: 'eager' });
    const results: unknown[] = [];
    const reader = client.events();
    const calls = [client.execute('query-name'), client.execute('bad')].map((call) =>
      call.then(
        (value) => results.push(value),
        (error: unknown) => results.push(String(error)),
      ),
    );
    for (const chunk of chunks) if (chunk.length > 0) peer.send(chunk);
    await Promise.all(calls);
    results.push(await client.ready, await reader.next(), await reader.next());
    await client.close();
    return results;
  }

  it('a transcript gives the same result however it is cut', async () => {
    const bytes = Buffer.from(transcript.map((object) => `${JSON.stringify(object)}\r\n`).join(''));
    const whole = await replay([bytes]);
    expect(whole).toHaveLength(5);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 60 }), async (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        expect(await replay(at.slice(1).map((end, index) => bytes.subarray(at[index], end)))).toEqual(whole);
      }),
      { numRuns: 60 },
    );
  });

  it('garbage neither hangs nor crashes: the call settles', async () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc
        .constantFrom('\n', '{', '{"return":', '{"event":3}\n', '{"QMP":{}}\n', '{"error":null}\n')
        .map((text) => Buffer.from(text)),
      fc.json({ maxDepth: 3 }).map((text) => Buffer.from(`${text}\n`)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        const peer = createFakePeer();
        const client = new QmpClient(peer.stream, { negotiation: 'eager', trace: () => {} });
        const call = client.execute('query-status').then(
          () => 'reply',
          (error: unknown) => error,
        );
        greet(peer);
        for (const bytes of pieces) if (!peer.stream.destroyed) peer.send(bytes);
        if (!peer.stream.destroyed) peer.end();
        expect(await call).toBeInstanceOf(QmpConnectionError);
        await client.close();
      }),
      { numRuns: 150 },
    );
  });
});

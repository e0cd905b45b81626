import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { GuestAgentProtocolError, QmpError } from './errors.ts';
import { GuestAgentClient } from './guest-agent.ts';
import { runInGuest } from './guest-exec.ts';
import { createFakePeer, type FakePeer } from './testing/fake-peer.ts';

const opened: GuestAgentClient[] = [];

function open(trace?: (direction: 'send' | 'receive', text: string) => void): {
  peer: FakePeer;
  agent: GuestAgentClient;
} {
  const peer = createFakePeer();
  const agent = new GuestAgentClient(peer.stream, trace === undefined ? {} : { trace });
  opened.push(agent);
  return { peer, agent };
}

/** Waits for the n-th message, which must be a handshake, and answers it. */
async function answerSync(peer: FakePeer, count: number, before: string | Uint8Array = ''): Promise<void> {
  await peer.commandCount(count);
  const message = peer.commands()[count - 1];
  expect(message?.execute).toBe('guest-sync-delimited');
  const { id } = message!.arguments as { id: number };
  peer.send(Buffer.concat([Buffer.from(before as string), Buffer.of(0xff), Buffer.from(`{"return": ${id}}\n`)]));
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((agent) => agent.close()));
});

describe('GuestAgentClient', () => {
  it('shakes hands once, then runs one command at a time', async () => {
    const { peer, agent } = open();
    const ping = agent.execute('guest-ping');
    const info = agent.execute('guest-get-host-name');
    await answerSync(peer, 1);
    expect(peer.written().startsWith('\xff{')).toBe(true);
    await peer.commandCount(2);
    await new Promise(setImmediate);
    expect(peer.commands()).toHaveLength(2);
    peer.send('{"return": {}}\n');
    await ping;
    await peer.commandCount(3);
    peer.send('{"return": {"host-name": "g"}}\n');
    expect((await info)['host-name']).toBe('g');
    expect(agent.commandsSent).toBe(3);
  });

  it('ignores everything before the right answer to its handshake', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 30 })), async (junk) => {
        const { peer, agent } = open();
        const ping = agent.execute('guest-ping');
        const stale = Buffer.concat([Buffer.of(0xff), Buffer.from('{"return": 0}\n{"return": {"old": 1}}\n{"ret')]);
        await answerSync(peer, 1, Buffer.concat([...junk.map((bytes) => Buffer.from(bytes)), stale]));
        await peer.commandCount(2);
        peer.send('{"return": {}}\n');
        expect(await ping).toEqual({});
      }),
      { numRuns: 50 },
    );
  });

  it('after an abort, drops the late reply and shakes hands again', async () => {
    const { peer, agent } = open();
    const controller = new AbortController();
    const slow = agent.execute('guest-fsfreeze-freeze', {}, { signal: controller.signal });
    await answerSync(peer, 1);
    await peer.commandCount(2);
    const next = agent.execute('guest-fsfreeze-status');
    controller.abort(new Error('slow'));
    await expect(slow).rejects.toThrow('slow');
    await answerSync(peer, 3, '{"return": 2}\n');
    await peer.commandCount(4);
    peer.send('{"return": "thawed"}\n');
    expect(await next).toBe('thawed');
  });

  it('gives a waiting turn up at once on abort', async () => {
    const { peer, agent } = open();
    const first = agent.execute('guest-ping');
    await expect(agent.execute('guest-info', {}, { signal: AbortSignal.timeout(1) })).rejects.toThrow(/timeout/);
    await answerSync(peer, 1);
    await peer.commandCount(2);
    peer.send('{"return": {}}\n');
    await first;
    expect(peer.written()).not.toContain('guest-info');
  });

  it('reports the agent’s refusal and stays in step', async () => {
    const { peer, agent } = open();
    const call = agent.execute('guest-nonsense', { a: 1 });
    await answerSync(peer, 1);
    await peer.commandCount(2);
    peer.send('{"error": {"class": "CommandNotFound", "desc": "The command guest-nonsense has not been found"}}\n');
    await expect(call).rejects.toBeInstanceOf(QmpError);
    const ping = agent.execute('guest-ping');
    await peer.commandCount(3);
    expect(peer.commands()[2]?.execute).toBe('guest-ping');
    peer.send('{"return": {}}\n');
    await ping;
  });

  it('reports an answer that is none, and shakes hands again', async () => {
    const { peer, agent } = open();
    const call = agent.execute('guest-info');
    await answerSync(peer, 1);
    await peer.commandCount(2);
    peer.send('login: \n');
    await expect(call).rejects.toMatchObject({ name: 'GuestAgentProtocolError', offending: '"login: "' });
    await expect(call).rejects.toBeInstanceOf(GuestAgentProtocolError);
    const ping = agent.execute('guest-ping');
    await answerSync(peer, 3);
    await peer.commandCount(4);
    peer.send('{"return": {}}\n');
    await ping;
  });

  it('shutdown succeeds by the handshake behind it, or by the end of the channel, and reports a refusal', async () => {
    const answered = open();
    const first = answered.agent.execute('guest-shutdown', { mode: 'powerdown' });
    await answerSync(answered.peer, 1);
    await answerSync(answered.peer, 3);
    expect(await first).toEqual({});

    const exited = open();
    const second = exited.agent.execute('guest-shutdown');
    await answerSync(exited.peer, 1);
    await exited.peer.commandCount(3);
    exited.peer.end();
    expect(await second).toEqual({});

    const refused = open();
    const third = refused.agent.execute('guest-shutdown').catch((error: unknown) => error);
    await answerSync(refused.peer, 1);
    await answerSync(refused.peer, 3, '{"error": {"class": "GenericError", "desc": "no shutdown here"}}\n');
    expect(await third).toMatchObject({ name: 'QmpError', desc: 'no shutdown here' });
  });

  it('rejects what is in flight when the channel ends, and all later calls', async () => {
    const { peer, agent } = open();
    const call = agent.execute('guest-info').catch((error: unknown) => error);
    await peer.commandCount(1);
    peer.end();
    expect(await call).toMatchObject({ reason: 'closed', inFlight: ['guest-sync-delimited'] });
    await expect(agent.execute('guest-ping')).rejects.toBe(await agent.closed);
  });

  it('bounds what a guest may send', async () => {
    const peer = createFakePeer();
    const agent = new GuestAgentClient(peer.stream, { maxMessageBytes: 1000 });
    const call = agent.execute('guest-info').catch((error: unknown) => error);
    peer.send(' '.repeat(600));
    peer.send(' '.repeat(600));
    expect(await call).toMatchObject({ reason: 'too-long' });
    await agent.close();
  });

  it('runs a program to its end and decodes its output, tracing no input', async () => {
    const seen: string[] = [];
    const { peer, agent } = open((direction, text) => seen.push(direction + text));
    const run = runInGuest(agent, '/bin/cat', { args: ['-n'], input: Buffer.from('hunter2'), pollMs: 1 });
    await answerSync(peer, 1);
    await peer.commandCount(2);
    expect(peer.commands()[1]?.arguments).toEqual({
      path: '/bin/cat',
      'capture-output': true,
      arg: ['-n'],
      'input-data': Buffer.from('hunter2').toString('base64'),
    });
    peer.send('{"return": {"pid": 42}}\n');
    await peer.commandCount(3);
    peer.send('{"return": {"exited": false}}\n');
    await peer.commandCount(4);
    peer.send('{"return": {"exited": true, "exitcode": 3, "out-data": "aGk="}}\n');
    const result = await run;
    expect(result).toMatchObject({ exitCode: 3, signal: undefined, isTruncated: false });
    expect(result.stdout.toString()).toBe('hi');
    expect(seen.join('')).not.toContain(Buffer.from('hunter2').toString('base64'));
  });
});

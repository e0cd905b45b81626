/**
 * The QMP and guest-agent clients against the real programs: what QEMU does with commands written before it greets, with
 * descriptors, and when it is killed, is not to be learned from a fake.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { createFdSender, GuestAgentClient, QmpClient, type QmpTrace, runInGuest } from '../../src/qmp/index.ts';

const QEMU = 'qemu-system-x86_64';
const BARE = ['-machine', 'none', '-nodefaults', '-display', 'none'];

const children: ChildProcess[] = [];
const folders: string[] = [];

function start(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  children.push(child);
  return child;
}

/** A bare QEMU with its monitor on an inherited socketpair. */
function startOnSocketpair(): { qemu: ChildProcess; stream: Duplex } {
  const qemu = start(QEMU, [...BARE, '-chardev', 'socket,id=mon,fd=3', '-mon', 'chardev=mon,mode=control']);
  return { qemu, stream: qemu.stdio[3] as Socket };
}

/** A program that connects to a unix socket of ours. */
async function startOnUnixSocket(makeArgs: (path: string) => { program: string; args: string[] }): Promise<Socket> {
  const folder = mkdtempSync(join(tmpdir(), 'qmp-'));
  folders.push(folder);
  const path = join(folder, 's');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  const { program, args } = makeArgs(path);
  start(program, args);
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return socket;
}

async function waitForExit(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await waitForExit(child);
  }
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

describe('QMP on real QEMU', () => {
  it('answers negotiation and commands that were written before it greeted', async () => {
    const { qemu, stream } = startOnSocketpair();
    const seen: string[] = [];
    const trace: QmpTrace = (direction, text) => seen.push(direction === 'send' ? direction : text.slice(0, 6));
    await using client = new QmpClient(stream, { negotiation: 'eager', trace });
    const batch = client.executeBatch([{ command: 'query-version' }, { command: 'query-qmp-schema' }]);
    // Nothing can have been read yet: the process was spawned in this very turn of the event loop.
    expect(seen).toEqual(['send', 'send', 'send']);
    const [version, schema] = await batch;
    expect(seen[3]).toBe('{"QMP"');
    const greeting = await client.ready;
    expect(greeting.version.major).toBeGreaterThanOrEqual(5);
    expect(version).toMatchObject({ status: 'fulfilled', value: { qemu: greeting.version } });
    expect(schema.status === 'fulfilled' && schema.value.length).toBeGreaterThan(500);
    const shutdown = client.once('SHUTDOWN');
    await client.execute('quit');
    expect(await shutdown).toMatchObject({ data: { guest: false, reason: 'host-qmp-quit' } });
    expect((await client.closed).reason).toBe('closed');
    await waitForExit(qemu);
    expect(qemu.exitCode).toBe(0);
    expect(client.commandsSent).toBe(4);
  });

  it('takes the reply to a negotiation that the caller wrote', async () => {
    const { stream } = startOnSocketpair();
    stream.write('{"execute": "qmp_capabilities"}\n');
    await using client = await QmpClient.connect(stream, { negotiation: 'caller' });
    expect((await client.execute('query-status')).running).toBe(true);
  });

  it('works on a unix socket, with events, refusals and hundreds of commands in one write', async () => {
    const socket = await startOnUnixSocket((path) => ({
      program: QEMU,
      args: [...BARE, '-qmp', `unix:${path},server=off`],
    }));
    await using client = await QmpClient.connect(socket, { signal: AbortSignal.timeout(30_000) });
    const reader = client.events();
    await client.execute('stop');
    await client.execute('cont');
    const events = [await reader.next(), await reader.next()].map(({ value }) => value);
    expect(events.map(({ name }) => name)).toEqual(['STOP', 'RESUME']);
    expect(Math.abs(Number(events[0].timestampUs) / 1000 - Date.now())).toBeLessThan(3_600_000);
    await expect(client.execute('device_del', { id: 'nothing' })).rejects.toMatchObject({ class: 'DeviceNotFound' });
    const item = { command: 'qom-get', args: { path: '/machine', property: 'type' } } as const;
    const results = await client.executeBatch(Array.from({ length: 400 }, () => item));
    expect(results).toEqual(Array.from({ length: 400 }, () => ({ status: 'fulfilled', value: 'none-machine' })));
  });

  it('sends descriptors, pipelined', async () => {
    const { stream } = startOnSocketpair();
    await using client = new QmpClient(stream, { negotiation: 'eager', loadFdSender: createFdSender });
    const fds = [openSync('/dev/null', 'r'), openSync('/dev/zero', 'r'), openSync('/dev/null', 'r')];
    const [first, second, added, missing] = await client.executeBatch([
      { command: 'getfd', args: { fdname: 'a' }, fds: fds.slice(0, 1) },
      { command: 'getfd', args: { fdname: 'b' }, fds: fds.slice(1, 2) },
      { command: 'add-fd', args: { opaque: 'image' }, fds: fds.slice(2) },
      { command: 'getfd', args: { fdname: 'c' } },
    ]);
    for (const fd of fds) closeSync(fd);
    expect([first.status, second.status, added.status]).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    expect(missing).toMatchObject({ status: 'rejected', reason: { command: 'getfd' } });
    await client.execute('closefd', { fdname: 'a' });
    await client.execute('closefd', { fdname: 'b' });
    expect(await client.execute('query-fdsets')).toMatchObject([{ fds: [{ opaque: 'image' }] }]);
  });

  it('rejects all commands in flight when QEMU is killed', async () => {
    const { qemu, stream } = startOnSocketpair();
    await using client = await QmpClient.connect(stream);
    qemu.kill('SIGSTOP');
    const calls = [client.execute('query-status'), client.execute('query-machines')];
    qemu.kill('SIGKILL');
    const errors = await Promise.all(calls.map((call) => call.catch((error: unknown) => error)));
    expect(errors[0]).toMatchObject({ reason: 'closed', inFlight: ['query-status', 'query-machines'] });
    expect(errors[1]).toBe(errors[0]);
  });

  it('says so when QEMU never comes to its monitor', async () => {
    const qemu = start(QEMU, ['-machine', 'none', '-no-such-option']);
    const attempt = QmpClient.connect(qemu.stdio[3] as Socket);
    await expect(attempt).rejects.toMatchObject({ name: 'QmpConnectionError', reason: 'closed' });
  });
});

const hasAgent = spawnSync('qemu-ga', ['--version']).status === 0;
if (!hasAgent)
  process.stderr.write('qmp.test.ts: qemu-ga is not installed (package qemu-guest-agent): its tests are skipped\n');

/** The agent runs on this host here, so nothing but harmless questions may be asked. */
describe.skipIf(!hasAgent)('the real guest agent', () => {
  it('shakes hands, answers, refuses and runs programs', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'qga-'));
    folders.push(folder);
    // The agent cannot connect; it listens, or opens a character device.
    const path = join(folder, 's');
    const args = ['-m', 'unix-listen', '-p', path, '-t', folder, '-f', join(folder, 'pid')];
    start('qemu-ga', args);
    await using agent = new GuestAgentClient(await connectWhenReady(path));
    const signal = AbortSignal.timeout(20_000);
    await agent.synchronize({ signal });
    const info = await agent.execute('guest-info', {}, { signal });
    expect(info.supported_commands.some(({ name }) => name === 'guest-exec')).toBe(true);
    await expect(agent.execute('guest-nothing', {}, { signal })).rejects.toMatchObject({ class: 'CommandNotFound' });
    const result = await runInGuest(agent, '/bin/sh', {
      args: ['-c', 'cat; exit 3'],
      input: Buffer.from('hï'),
      signal,
    });
    expect(result).toMatchObject({ exitCode: 3 });
    expect(result.stdout.toString()).toBe('hï');
  });

  async function connectWhenReady(path: string): Promise<Socket> {
    const { connect } = await import('node:net');
    for (;;) {
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        return socket;
      } catch {
        // The agent has not made its socket yet, and tells nobody when it has; the test's own time limit ends this.
        await new Promise(setImmediate);
      }
    }
  }
});

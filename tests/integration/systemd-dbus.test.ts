/**
 * Our D-Bus client against the real dbus-daemon, on a private bus, with a stand-in for systemd and machined registered on it. What systemd itself
 * makes of our calls is `systemd-guest.test.ts`'s.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createScope, Systemd, stopScope } from '../../src/cgroup/index.ts';
import { DbusConnection } from '../../src/cgroup/systemd/dbus-connection.ts';
import { type DbusMessage, encodeMessage, MessageSplitter } from '../../src/cgroup/systemd/dbus-message.ts';
import { FakeSystemd } from '../../src/cgroup/systemd/testing/fake-systemd.ts';
import type { ChildHandle } from '../../src/process/child-handle.ts';
import { findProgram } from '../../src/process/find-program.ts';
import { ProcessError } from '../../src/process/process-error.ts';
import { spawnChild } from '../../src/process/spawn.ts';

const isThere = hasDaemon();
if (!isThere) process.stderr.write('\nSKIPPED: D-Bus: there is no dbus-daemon (package dbus-daemon)\n\n');

const CONFIG = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <auth>EXTERNAL</auth>
  <listen>unix:path=SOCKET</listen>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow user="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;
const BUS = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };

let directory: string;
let daemon: ChildHandle;
beforeEach(async () => {
  if (!isThere) return;
  directory = mkdtempSync(join(tmpdir(), 'dbus-'));
  writeFileSync(join(directory, 'bus.conf'), CONFIG.replace('SOCKET', socketPath()));
  daemon = await spawnChild({
    command: 'dbus-daemon',
    args: [`--config-file=${join(directory, 'bus.conf')}`, '--nofork', '--nopidfile', '--print-address'],
    stdio: ['ignore', 'pipe', 'tail'],
    dieWithParent: true,
  });
  // The address is printed when it listens.
  for await (const _line of daemon.readable(1)) break;
});
afterEach(async () => {
  if (!isThere) return;
  await daemon[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function socketPath(): string {
  return join(directory, 'bus');
}

describe.skipIf(!isThere)('on a real bus', () => {
  it.each([
    ['with machined', ['org.freedesktop.systemd1', 'org.freedesktop.machine1']],
    ['without', ['org.freedesktop.systemd1']],
  ])('a scope is made and stopped, %s', async (_, names) => {
    const fake = new FakeSystemd();
    await using _service = await serve(fake, names);
    await using systemd = await Systemd.open({ address: `unix:path=${socketPath()}` });
    const request = { machine: 'qemu-1-web', driver: 'qemu', pid: 1, slice: 'machine.slice' } as const;
    const scope = await createScope(systemd, request);
    expect(scope).toMatchObject({
      unit: 'machine-qemu\\x2d1\\x2dweb.scope',
      controlGroup: '/machine.slice/machine-qemu\\x2d1\\x2dweb.scope',
    });
    expect(scope.machine).toBe(names.length > 1 ? 'qemu-1-web' : undefined);
    await stopScope(systemd, scope);
    expect(fake.units.size).toBe(0);
  });

  it('a name that nobody has is an error of the bus, and so is its end', async () => {
    await using systemd = await Systemd.open({ address: `unix:path=${socketPath()}` });
    const about = { operation: 'look at', unit: 'x.scope' };
    await expect(systemd.manage('GetUnit', { ...about, signature: 's', body: ['x.scope'] })).rejects.toMatchObject({
      errorName: 'org.freedesktop.DBus.Error.ServiceUnknown',
    });
    await using connection = await DbusConnection.open({ path: socketPath(), isBus: true });
    const ended = new Promise<void>((resolve) => {
      connection.closed.addEventListener('abort', () => resolve(), { once: true });
    });
    await daemon.terminate();
    await ended;
    await expect(connection.call({ ...BUS, member: 'ListNames' })).rejects.toThrow(/closed/);
  });
});

function hasDaemon(): boolean {
  try {
    findProgram('dbus-daemon');
    return true;
  } catch (error) {
    if (error instanceof ProcessError) return false;
    throw error;
  }
}

/** Puts the stand-in on the bus under these names. */
async function serve(fake: FakeSystemd, names: readonly string[]): Promise<AsyncDisposable> {
  const socket = connect(socketPath());
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
  socket.write(`\0AUTH EXTERNAL ${Buffer.from(String(process.geteuid?.())).toString('hex')}\r\n`);
  await new Promise<void>((resolve) => socket.once('data', () => resolve()));
  socket.write('BEGIN\r\n');
  let serial = 0;
  const send = (message: DbusMessage): void => {
    socket.write(encodeMessage({ ...message, serial: ++serial }));
  };
  const call = { type: 'call', serial: 0, ...BUS } as const;
  send({ ...call, member: 'Hello', body: [] });
  for (const name of names) send({ ...call, member: 'RequestName', signature: 'su', body: [name, 0] });
  await answerCalls(socket, fake, { send, isReady: (replies) => replies === names.length + 1 });
  return {
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await new Promise<void>((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve())));
    },
  };
}

/** Resolves when the bus has given us our names; goes on answering. */
function answerCalls(
  socket: Socket,
  fake: FakeSystemd,
  { send, isReady }: { send: (message: DbusMessage) => void; isReady: (replies: number) => boolean },
): Promise<void> {
  const splitter = new MessageSplitter();
  let replies = 0;
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      for (const message of splitter.push(chunk)) {
        if (message.type === 'reply' && isReady(++replies)) resolve();
        if (message.type === 'call') for (const answer of fake.handle(message) ?? []) send(answer);
      }
    });
  });
}

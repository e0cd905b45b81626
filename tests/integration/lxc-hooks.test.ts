/** What happens around containers of the daemon: hook scripts, as libvirt calls them, and containers that end with the client that started them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect } from '../../src/index.ts';
import { listChildren } from '../../src/process/proc.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { guestsOf, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';

describe.skipIf(!canRunContainers())('around containers of the daemon', () => {
  let folder = '';
  let rootfs = '';
  let said = '';
  let daemon: TestDaemon;
  let connection: Connection;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-lxch-'));
    rootfs = makeBusyboxRoot(folder);
    said = join(folder, 'said');
    writeFileSync(said, '');
    daemon = await startDaemon();
    const hooks = join(daemon.stateDir, 'etc/hooks');
    mkdirSync(join(hooks, 'lxc.d'), { recursive: true });
    // The name comes from what it reads, which must be the whole definition.
    const script = `#!/bin/sh
xml=$(cat); name=$(echo "$xml" | sed -n 's/.*<name>\\(.*\\)<.name>.*/\\1/p'); last=$(echo "$xml" | tail -n 1)
echo "$0 $* [$name $last]" | sed 's|.*/hooks/||' >>${said}
case "$1 $2" in "no-$2 $2") echo "not $2" >&2; exit 1;; esac
`;
    writeFileSync(join(hooks, 'lxc'), script, { mode: 0o755 });
    writeFileSync(join(hooks, 'lxc.d/10-more'), script, { mode: 0o755 });
    connection = await connect(uri());
  });

  afterAll(async () => {
    await connection.close();
    await daemon[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const uri = (): string => daemon.uri.replace(/^qemu/, 'lxc');

  function xmlOf(name: string, line = 'sleep 1000'): string {
    return `<domain type='lxc'><name>${name}</name><memory unit='MiB'>64</memory>
      <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>${line}</initarg></os>
      <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
  }

  /** Operations of one of the two scripts. */
  function told(name: string, script = 'lxc'): string[] {
    const lines = readFileSync(said, 'utf8').split('\n');
    return lines.flatMap((line) => {
      const match = new RegExp(`^${script} ${name} (\\S+ \\S+) - \\[${name} </domain>\\]$`).exec(line);
      return match?.[1] === undefined ? [] : [match[1]];
    });
  }

  const folders = (): string[] => (existsSync(containers()) ? readdirSync(containers()) : []);
  const containers = (): string => join(daemon.stateDir, 'run/lxc');

  it('hooks are called in libvirt’s order, with the definition, also by the next daemon', async () => {
    await connection.createDomain(xmlOf('hooked'));
    await daemon.crash();
    await connection.close();
    connection = await connect(uri());
    await (await connection.lookupDomainByName('hooked')).destroy();
    const all = ['prepare begin', 'start begin', 'started begin', 'reconnect begin', 'stopped end', 'release end'];
    expect(told('hooked')).toEqual(all);
    expect(told('hooked', 'lxc.d/10-more')).toEqual(all);
  });

  it('they hear of an end that nobody asked for, and of one while there was no daemon', async () => {
    const short = await connection.createDomain(xmlOf('short', 'while [ ! -e /tmp/end ]; do usleep 20000; done'));
    await connection.createDomain(xmlOf('alone', 'while [ ! -e /tmp/end ]; do usleep 20000; done'));
    const ended = short.waitForStop();
    writeFileSync(join(rootfs, 'tmp/end'), '');
    await ended;
    await pollUntil(() => told('alone').includes('release end'), 'it is not over');
    expect(told('short').slice(-2)).toEqual(['stopped end', 'release end']);
    rmSync(join(rootfs, 'tmp/end'));

    await connection.createDomain(xmlOf('unseen', 'while [ ! -e /tmp/end ]; do usleep 20000; done'));
    await daemon.stop('SIGKILL');
    writeFileSync(join(rootfs, 'tmp/end'), '');
    await pollUntil(
      () => guestsOf(daemon.stateDir).length === 0,
      () => guestsOf(daemon.stateDir).join(),
    );
    await daemon.start();
    await connection.close();
    connection = await connect(uri());
    expect(told('unseen').slice(-2)).toEqual(['stopped end', 'release end']);
    rmSync(join(rootfs, 'tmp/end'));
  });

  it.each([
    ['prepare', ['prepare begin', 'release end']],
    ['start', ['prepare begin', 'start begin', 'stopped end', 'release end']],
    ['started', ['prepare begin', 'start begin', 'started begin', 'stopped end', 'release end']],
  ])('one that refuses to %s keeps it from running, and nothing of it is left', async (operation, expected) => {
    await expect(connection.createDomain(xmlOf(`no-${operation}`))).rejects.toThrow(
      new RegExp(`Hook script execution failed: .*no-${operation} ${operation} begin -: .*not ${operation}`),
    );
    expect(told(`no-${operation}`)).toEqual(expected);
    expect(await connection.listAllDomains()).toEqual([]);
    expect(folders()).toEqual([]);
  });

  it('a container that was to end with its client ends with a virsh that is killed', async () => {
    const file = join(folder, 'owned.xml');
    writeFileSync(file, xmlOf('owned'));
    // Its console keeps virsh there.
    const line = `virsh -c '${uri()}' create --autodestroy --console '${file}'`;
    const virsh = spawn('script', ['-qfec', `exec ${line}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] });
    const isGone = once(virsh, 'close');
    const active = async (): Promise<string[]> =>
      (await connection.listAllDomains({ active: true })).map(({ name }) => name);
    virsh.stdout.resume();
    await pollUntil(async () => (await active()).includes('owned'), 'it does not start');
    for (const { pid } of listChildren(virsh.pid ?? 0)) process.kill(pid, 'SIGKILL');
    await isGone;
    await pollUntil(async () => (await active()).length === 0, 'it still runs');
    await pollUntil(
      () => folders().length === 0,
      () => folders().join(),
    );
    expect(told('owned').slice(-2)).toEqual(['stopped end', 'release end']);
  });

  it('and with its client where the daemon is killed at the same time', async () => {
    await connection.createDomain(xmlOf('orphan'), { autodestroy: true });
    await daemon.crash();
    await connection.close();
    connection = await connect(uri());
    expect(await connection.listAllDomains()).toEqual([]);
    expect(folders()).toEqual([]);
  });
});

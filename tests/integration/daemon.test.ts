/** Guests that outlive their daemon: it is killed at any moment, and the next one finds everything. Guests are boot sectors. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectMonitor } from '../../src/driver/qemu/runtime/monitor-socket.ts';
import { type Connection, connect, DomainState, StateReason } from '../../src/index.ts';
import { QmpClient } from '../../src/qmp/client.ts';
import { guestsOf, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { domainXml, type TestDomain } from '../support/domain-xml.ts';
import { type BootSector, bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { pollUntil } from '../support/poll.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));

let daemon: TestDaemon;
let connection: Connection;

async function xmlOf(guest: BootSector, name: string, more: TestDomain = {}): Promise<string> {
  return domainXml({ name, disks: [{ path: await bootSectorImage(guest), readonly: true }], ...more });
}

async function crash(): Promise<void> {
  await connection.close();
  await daemon.crash();
  connection = await connect(daemon.uri);
}

/** What the daemon answers to whoever asks for all. */
async function survey(): Promise<object[]> {
  const all = await connection.listAllDomains();
  const rows = all.map(async (domain) => ({
    name: domain.name,
    uuid: domain.uuid,
    id: await domain.id(),
    ...(await domain.state()),
    persistent: await domain.isPersistent(),
    xml: await domain.xmlDesc(),
  }));
  return (await Promise.all(rows)).toSorted((a, b) => a.name.localeCompare(b.name));
}

/** Speaks to a guest while no daemon does. */
async function withMonitor(name: string, act: (qmp: QmpClient) => Promise<unknown>): Promise<void> {
  const dir = join(daemon.stateDir, 'run', 'qemu');
  const folder = readdirSync(dir).find((one) => one.startsWith('domain-') && one.endsWith(`-${name}`));
  const qmp = new QmpClient(await connectMonitor(join(dir, folder ?? name, 'monitor.sock')));
  await act(qmp);
  await qmp.close();
}

function pidOf(name: string): number {
  const found = guestsOf(daemon.stateDir).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`guest=${name},`),
  );
  return found ?? -1;
}

beforeEach(async () => {
  daemon = await startDaemon();
  connection = await connect(daemon.uri);
});
afterEach(async () => {
  await connection.close();
  await daemon[Symbol.asyncDispose]();
});

describe('nestling daemon', () => {
  it('finds its guests again after SIGKILL, as they were', async () => {
    await connection.createDomain(await xmlOf('halt', 'a-transient'));
    const defined = await connection.defineDomain(await xmlOf('echo', 'b-defined'));
    await defined.create();
    await connection.createDomain(await xmlOf('halt', 'c-paused'), { paused: true });
    const suspended = await connection.createDomain(await xmlOf('counter', 'd-suspended'));
    await suspended.suspend();
    await connection.defineDomain(await xmlOf('halt', 'e-off'));
    const before = await survey();
    const pids = guestsOf(daemon.stateDir);
    expect(pids).toHaveLength(4);
    for (let time = 0; time < 3; time++) {
      await crash();
      expect(await survey()).toEqual(before);
      expect(guestsOf(daemon.stateDir)).toEqual(pids);
    }
    // They can be worked with as before.
    const again = await connection.lookupDomainByName('d-suspended');
    const stopped = (async () => {
      for await (const event of again.events())
        if (event.event === 'lifecycle' && event.type === 'stopped') return event;
      return undefined;
    })();
    await again.resume();
    expect(await again.state()).toEqual({ state: DomainState.RUNNING, reason: StateReason.running.UNPAUSED });
    await again.destroy();
    expect(await stopped).toMatchObject({ detail: 'destroyed' });
    const next = await connection.createDomain(await xmlOf('halt', 'f-new'));
    expect(await next.id()).toBeGreaterThan(4);
  });

  it('has the console of a guest that an earlier daemon has started', async () => {
    const domain = await connection.createDomain(await xmlOf('echo', 'talker'));
    await crash();
    const again = await connection.lookupDomainByUUID(domain.uuid);
    const console = again.console();
    const heard = console.waitFor('hello', { replay: false });
    await console.write('hello');
    await heard;
    const log = readFileSync(join(daemon.stateDir, 'log', 'qemu', 'talker-serial0.log'), 'latin1');
    expect(log).toContain(greetingOf('echo'));
    expect(log).toContain('hello');
  });

  it('knows how guests have ended while there was no daemon', async () => {
    for (const [guest, name, more] of [
      ['powerbutton', 'off', {}],
      ['halt', 'killed', {}],
      ['halt', 'terminated', {}],
      ['halt', 'stays', {}],
    ] as const) {
      await (await connection.defineDomain(await xmlOf(guest, name, more))).create();
    }
    const panics = await xmlOf('panic', 'panicked', { devices: "<panic model='isa'/>", onCrash: 'destroy' });
    await (await connection.defineDomain(panics)).create({ paused: true });
    await connection.close();
    await daemon.stop('SIGKILL');
    await withMonitor('panicked', async (qmp) => {
      const events = qmp.events();
      await qmp.execute('cont');
      for await (const event of events) if (event.name === 'GUEST_PANICKED') break;
    });
    await withMonitor('off', async (qmp) => {
      // Events are those of this connection: they begin with its negotiation.
      const events = qmp.events();
      await qmp.execute('system_powerdown');
      for await (const event of events) if (event.name === 'SHUTDOWN') break;
    });
    process.kill(pidOf('killed'), 'SIGKILL');
    process.kill(pidOf('terminated'), 'SIGTERM');
    await pollUntil(() => guestsOf(daemon.stateDir).length === 3, 'there are not three guests');
    await daemon.start();
    connection = await connect(daemon.uri);
    const stateOf = async (name: string): Promise<unknown> => await (await connection.lookupDomainByName(name)).state();
    expect(await stateOf('off')).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SHUTDOWN });
    expect(await stateOf('killed')).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.CRASHED });
    expect(await stateOf('terminated')).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.DESTROYED });
    expect(await stateOf('panicked')).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.CRASHED });
    expect(await stateOf('stays')).toMatchObject({ state: DomainState.RUNNING });
    expect(guestsOf(daemon.stateDir)).toHaveLength(1);
    expect(readdirSync(join(daemon.stateDir, 'run', 'qemu')).filter((one) => one.startsWith('domain-'))).toHaveLength(
      1,
    );
  });

  it('ends a guest whose client is gone, when it was to end with it', async () => {
    await connection.createDomain(await xmlOf('halt', 'owned'), { autodestroy: true });
    await crash();
    expect(await connection.listAllDomains()).toEqual([]);
    expect(guestsOf(daemon.stateDir)).toEqual([]);
  });

  it('leaves nothing half started, and loses nothing that was answered, wherever the kill falls', async () => {
    const answered = new Set<string>();
    for (let round = 0; round < 8; round++) {
      const names = [`r${round}-a`, `r${round}-b`, `r${round}-c`];
      const work = names.flatMap((name) => [
        (async () => {
          await connection.defineDomain(await xmlOf('halt', `${name}-defined`));
          answered.add(`${name}-defined`);
        })(),
        (async () => {
          await connection.createDomain(await xmlOf('halt', `${name}-guest`));
          answered.add(`${name}-guest`);
        })(),
      ]);
      const settled = Promise.allSettled(work);
      await new Promise((resolve) => setTimeout(resolve, round * 25));
      await daemon.crash();
      await settled;
      await connection.close();
      connection = await connect(daemon.uri);
      const found = await connection.listAllDomains();
      const there = new Set(found.map(({ name }) => name));
      expect([...answered].filter((name) => !there.has(name))).toEqual([]);
      const active = await connection.listAllDomains({ active: true });
      expect(guestsOf(daemon.stateDir)).toHaveLength(active.length);
      for (const domain of active) {
        await domain.destroy();
        answered.delete(domain.name);
      }
    }
    const files = readdirSync(join(daemon.stateDir, 'etc', 'qemu')).filter((name) => name.endsWith('.xml'));
    expect(files.toSorted()).toEqual((await connection.listAllDomains()).map(({ name }) => `${name}.xml`).toSorted());
  });

  it('ends as asked: guests stay, sockets and pid file go', async () => {
    await connection.createDomain(await xmlOf('halt', 'stays'));
    await connection.close();
    expect(existsSync(daemon.socket)).toBe(true);
    expect(await daemon.stop('SIGTERM')).toBe(0);
    expect(existsSync(daemon.socket)).toBe(false);
    expect(existsSync(join(daemon.stateDir, 'run', 'daemon.pid'))).toBe(false);
    expect(guestsOf(daemon.stateDir)).toHaveLength(1);
    await daemon.start();
    connection = await connect(daemon.uri);
    expect(await connection.listAllDomains({ active: true })).toHaveLength(1);
  });

  it('starts a marked domain once in each boot', async () => {
    const domain = await connection.defineDomain(await xmlOf('halt', 'auto'));
    await domain.setAutostart(true);
    await crash();
    expect(await (await connection.lookupDomainByName('auto')).isActive()).toBe(false);
    // A boot takes the runtime folder along, or changes the boot's id in it.
    rmSync(join(daemon.stateDir, 'run', 'status', 'autostarted'));
    await crash();
    expect(await (await connection.lookupDomainByName('auto')).isActive()).toBe(true);
  });

  it('is refused where another one is', async () => {
    const second = await new Promise<{ code: unknown; stderr: string }>((resolve) => {
      execFile(CLI, ['daemon', '--state-dir', daemon.stateDir], (error, _stdout, stderr) => {
        resolve({ code: error?.code, stderr });
      });
    });
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`it is in use by process ${daemon.pid}`);
    // The first has noticed nothing.
    expect(await connection.listAllDomains()).toEqual([]);
    const elsewhere = `${daemon.stateDir}-2`;
    const third = await new Promise<string>((resolve) => {
      execFile(CLI, ['daemon', '--state-dir', elsewhere, '--socket', daemon.socket], (_error, _stdout, stderr) => {
        resolve(stderr);
      });
    });
    rmSync(elsewhere, { recursive: true });
    expect(third).toContain('another process listens there');
  });

  it('starts a guest without media that may be missing, tells of them, and has them again when they are there', async () => {
    const iso = join(daemon.stateDir, 'medium.iso');
    const image = await bootSectorImage('halt');
    const disks = `<disk type='file' device='cdrom'><source file='${iso}' startupPolicy='optional'/><target dev='sda' bus='sata'/></disk>
      <disk type='file' device='disk'><source file='${iso}.img' startupPolicy='optional'/><target dev='vdb' bus='virtio'/></disk>`;
    const xml = domainXml({ name: 'optional', disks: [{ path: image, readonly: true }] });
    const domain = await connection.defineDomain(xml.replace('</devices>', `${disks}</devices>`));
    const told: string[] = [];
    const events = new AbortController();
    const done = (async () => {
      for await (const event of domain.events({ signal: events.signal })) {
        if (event.event === 'disk-change') told.push(`${event.device} ${event.oldSource} ${event.reason}`);
        if (event.event === 'lifecycle' && event.type === 'stopped') return;
      }
    })();
    await domain.create();
    expect(await domain.xmlDesc()).not.toContain(iso);
    expect(await domain.xmlDesc({ inactive: true })).toContain(`${iso}.img`);
    await domain.destroy();
    await done;
    events.abort();
    expect(told).toEqual([`virtio-disk1 ${iso}.img drop-missing-on-start`, `sata0-0-0 ${iso} missing-on-start`]);

    for (const path of [iso, `${iso}.img`]) writeFileSync(path, Buffer.alloc(1024 * 1024));
    await domain.create();
    expect(await domain.xmlDesc()).toContain(`${iso}.img`);
    await domain.destroy();
  });

  it('dumps a guest that panics, and then ends it or starts it again', async () => {
    const dumps = join(daemon.stateDir, 'dumps');
    const more = { devices: "<panic model='isa'/>" };
    const endings: string[] = [];
    await connection.close();
    await daemon.stop();
    const conf = join(daemon.stateDir, 'etc', 'qemu.conf');
    mkdirSync(join(conf, '..'), { recursive: true });
    writeFileSync(conf, `auto_dump_path = "${dumps}"\n`);
    await daemon.start();
    connection = await connect(daemon.uri);
    for (const action of ['coredump-destroy', 'coredump-restart'] as const) {
      const xml = await xmlOf('panic', action, { ...more, onCrash: action });
      const domain = await connection.defineDomain(xml);
      const until = action === 'coredump-destroy' ? 'stopped' : 'resumed';
      let hasPanicked = false;
      const seen = (async () => {
        for await (const event of domain.events()) {
          if (event.event !== 'lifecycle') continue;
          hasPanicked ||= event.type === 'crashed';
          if (hasPanicked && event.type === until) return endings.push(`${event.type} ${event.detail}`);
        }
        return 0;
      })();
      await domain.create();
      await seen;
      if (await domain.isActive()) await domain.destroy();
    }
    expect(endings).toEqual(['stopped crashed', 'resumed unpaused']);
    const names = readdirSync(dumps).toSorted();
    expect(names[0]).toMatch(/^1-coredump-destroy-\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d$/);
    expect(names[1]).toMatch(/^2-coredump-restart-/);
    const magic = names.slice(0, 2).map((name) => readFileSync(join(dumps, name)).subarray(1, 4).toString('latin1'));
    expect(magic).toEqual(['ELF', 'ELF']);
  });

  it('calls hook scripts as libvirt does, and heeds those that refuse', async () => {
    const dir = join(daemon.stateDir, 'etc', 'hooks');
    const said = join(daemon.stateDir, 'said');
    mkdirSync(dir);
    for (const driver of ['qemu', 'daemon']) {
      writeFileSync(
        join(dir, driver),
        `#!/bin/sh\nname=$(sed -n 's/.*<name>\\(.*\\)<.name>.*/\\1/p')\necho "${driver} $* [$name]" >> ${said}\n` +
          `[ "$1 $2" != "refused prepare" ] || { echo "not today" >&2; exit 1; }\n`,
        { mode: 0o755 },
      );
    }
    const lines = (): string[] => readFileSync(said, 'utf8').trim().split('\n');
    const domain = await connection.createDomain(await xmlOf('halt', 'hooked'));
    await expect(connection.createDomain(await xmlOf('halt', 'refused'))).rejects.toThrow(
      /Hook script execution failed: .*refused prepare begin -: it ended with status 1: not today/,
    );
    await crash();
    await (await connection.lookupDomainByUUID(domain.uuid)).destroy();
    const ofGuest = (name: string): string[] => lines().filter((line) => line.startsWith(`qemu ${name} `));
    expect(ofGuest('hooked')).toEqual(
      ['prepare begin', 'start begin', 'started begin', 'reconnect begin', 'stopped end', 'release end'].map(
        (operation) => `qemu hooked ${operation} - [hooked]`,
      ),
    );
    expect(ofGuest('refused')).toEqual([
      'qemu refused prepare begin - [refused]',
      'qemu refused release end - [refused]',
    ]);
    await connection.close();
    process.kill(daemon.pid, 'SIGHUP');
    await pollUntil(() => lines().some((line) => line.includes('reload')), 'the daemon does not tell that it reloads');
    await daemon.stop('SIGTERM');
    expect(lines().filter((line) => line.startsWith('daemon'))).toEqual([
      'daemon - start - start []',
      'daemon - reload begin SIGHUP []',
      'daemon - shutdown - shutdown []',
    ]);
  });

  it('keeps secrets', async () => {
    const xml = `<secret ephemeral='no' private='no'><usage type='ceph'><name>key</name></usage></secret>`;
    const uuid = await connection.defineSecret(xml, 'sesame');
    await crash();
    expect(Buffer.from(await connection.secrets.value(uuid)).toString()).toBe('sesame');
    await connection.secrets.undefine(uuid);
    await crash();
    expect(await connection.secrets.list()).toEqual([]);
  });

  it('keeps what is running and what is defined apart', async () => {
    const uuid = '5f1b3c52-3b5a-4a52-9d1c-0f4e5a6b7c8d';
    const domain = await connection.createDomain(await xmlOf('halt', 'both', { uuid }));
    expect(await domain.isPersistent()).toBe(false);
    await connection.defineDomain(await xmlOf('halt', 'both', { uuid, memoryMiB: 80 }));
    const check = async (): Promise<void> => {
      const now = await connection.lookupDomainByUUID(uuid);
      expect(await now.isPersistent()).toBe(true);
      expect(await now.xmlDesc()).toContain(`>${64 * 1024}</memory>`);
      expect(await now.xmlDesc({ inactive: true })).toContain(`>${80 * 1024}</memory>`);
    };
    await check();
    await crash();
    await check();
    await (await connection.lookupDomainByUUID(uuid)).undefine();
    expect(await (await connection.lookupDomainByUUID(uuid)).isPersistent()).toBe(false);
    await crash();
    const left = await connection.lookupDomainByUUID(uuid);
    expect(await left.isPersistent()).toBe(false);
    await left.destroy();
    expect(await connection.listAllDomains()).toEqual([]);
  });

  it('lets a guest hang that hangs, and serves the others', async () => {
    await connection.createDomain(await xmlOf('halt', 'awake'));
    await connection.createDomain(await xmlOf('halt', 'stuck'));
    const stuck = pidOf('stuck');
    process.kill(stuck, 'SIGSTOP');
    await crash();
    const states = await Promise.all((await connection.listAllDomains()).map(async (one) => (await one.state()).state));
    expect(states).toEqual([DomainState.RUNNING, DomainState.RUNNING]);
    expect(daemon.words()).toContain("guest 'stuck' runs");
    process.kill(stuck, 'SIGCONT');
    const domain = await connection.lookupDomainByName('stuck');
    await domain.suspend();
    expect((await domain.state()).state).toBe(DomainState.PAUSED);
  });
});

/**
 * SIGKILL of the daemon at random moments of containers' starts, lives and ends: after recovery nothing
 * of what does not run is left, and every definition is.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { listProcesses } from '../../src/process/proc.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';

/** Groups are told by them, also from those of the same test elsewhere. */
const MARK = `kill${process.pid}`;
const NAMES = ['a', 'b', 'c', 'd'].map((letter) => `${MARK}-${letter}`);
const ROUNDS = 8;
/** A start, and the moments after it. */
const LATEST_MS = 250;
const HERD = 50;

describe.skipIf(!canRunContainers())('containers of a daemon that is killed', () => {
  let folder = '';
  let rootfs = '';
  let daemon: TestDaemon;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-lxck-'));
    rootfs = makeBusyboxRoot(folder);
    daemon = await startDaemon();
  });

  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const uri = (): string => daemon.uri.replace(/^qemu/, 'lxc');

  /** One that calls for a reboot again and again. */
  function rebootingOf(name: string): string {
    const init = '<init>/bin/sh</init><initarg>-c</initarg><initarg>usleep 30000; reboot -f</initarg>';
    return xmlOf(name).replace(/<init>.*<\/initarg>/, init);
  }

  function xmlOf(name: string): string {
    return `<domain type='lxc'><name>${name}</name><memory unit='MiB'>64</memory>
      <os><type>exe</type><init>/bin/sleep</init><initarg>1000</initarg></os>
      <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>
      <interface type='ethernet'/><console type='pty'/></devices></domain>`;
  }

  /** Folders of containers; there is none above them before the first start. */
  function folders(): string[] {
    const all = join(daemon.stateDir, 'run/lxc');
    return existsSync(all) ? readdirSync(all) : [];
  }

  /** Living processes with the state's folder in their command line, without the daemon. */
  function processes(): string[] {
    return listProcesses().flatMap(({ pid, gone }) => {
      if (gone || pid === daemon.pid || pid === process.pid) return [];
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(daemon.stateDir) ? [`${pid} ${command.slice(0, 160)}`] : [];
      } catch {
        // Gone between the two looks.
        return [];
      }
    });
  }

  function groups(): string[] {
    const { stdout } = spawnSync('find', ['/sys/fs/cgroup', '-type', 'd', '-name', `*-${MARK}-*.libvirt-lxc`], {
      encoding: 'utf8',
    });
    return stdout.split('\n').filter(Boolean);
  }

  /** Whatever failed: the next begins with nothing. */
  afterEach(async () => {
    await using connection = await connect(uri());
    for (const domain of await connection.listAllDomains()) {
      if (await domain.isActive()) await domain.destroy();
      if (await domain.isPersistent()) await domain.undefine();
    }
  });

  it('leaves what runs running, and nothing of the rest', { timeout: 90_000 }, async () => {
    {
      await using connection = await connect(uri());
      for (const name of NAMES) await connection.defineDomain(xmlOf(name));
    }
    for (let round = 0; round < ROUNDS; round++) {
      const connection = await connect(uri());
      const all = await connection.listAllDomains();
      const busy = all.map(async (domain) => {
        await ((await domain.isActive()) ? domain.destroy() : domain.create());
      });
      // The daemon goes while they wait for it.
      const settled = Promise.allSettled(busy);
      await pause(Math.random() * LATEST_MS);
      await daemon.crash();
      await settled;
      await connection.close().catch(() => undefined);
      await using fresh = await connect(uri());
      const domains = await fresh.listAllDomains();
      expect(domains.map(({ name }) => name).toSorted()).toEqual(NAMES);
      const running = (await fresh.listAllDomains({ active: true })).length;
      // Each has one outermost process.
      const outermost = (): number => processes().filter((line) => line.includes('/conmon ')).length;
      await pollUntil(
        () => outermost() === running,
        () => `${running} run, but: ${processes().join('\n')}`,
      );
      expect(folders()).toHaveLength(running);
    }
    await using connection = await connect(uri());
    for (const domain of await connection.listAllDomains({ active: true })) await domain.destroy();
    await pollUntil(
      () => processes().length === 0,
      () => processes().join('\n'),
    );
    await pollUntil(
      () => groups().length === 0,
      () => groups().join('\n'),
    );
    expect(folders()).toEqual([]);
    for (const domain of await connection.listAllDomains()) await domain.undefine();
  });

  it('in the middle of reboots: nothing is left of what does not run', { timeout: 90_000 }, async () => {
    {
      await using connection = await connect(uri());
      for (const name of NAMES) await connection.defineDomain(rebootingOf(name));
    }
    for (let round = 0; round < ROUNDS; round++) {
      {
        await using connection = await connect(uri());
        const off = await connection.listAllDomains({ active: false });
        await Promise.all(off.map((domain) => domain.create()));
        await pause(Math.random() * LATEST_MS);
        await daemon.crash();
      }
      await using fresh = await connect(uri());
      const domains = await fresh.listAllDomains();
      expect(domains.map(({ name }) => name).toSorted()).toEqual(NAMES);
    }
    await using connection = await connect(uri());
    for (const domain of await connection.listAllDomains()) {
      // Where the daemon was killed while it started one again, nobody can tell that it was to.
      if (await domain.isActive()) await domain.destroy();
      await domain.undefine();
    }
    await pollUntil(
      () => processes().length === 0,
      () => processes().join('\n'),
    );
    await pollUntil(
      () => groups().length === 0,
      () => groups().join('\n'),
    );
    expect(folders()).toEqual([]);
  });

  it('one that calls for a reboot while there is no daemon is started by the next', async () => {
    const line = `if [ -e /tmp/again ]; then sleep 1000; fi; touch /tmp/again; while [ ! -e /tmp/go ]; do usleep 20000; done; reboot -f`;
    const init = `<init>/bin/sh</init><initarg>-c</initarg><initarg>${line}</initarg>`;
    {
      await using connection = await connect(uri());
      await connection.createDomain(xmlOf(`${MARK}-e`).replace(/<init>.*<\/initarg>/, init));
    }
    await daemon.stop('SIGKILL');
    writeFileSync(join(rootfs, 'tmp/go'), '');
    await pollUntil(
      () => processes().length === 0,
      () => processes().join('\n'),
    );
    await daemon.start();
    await using connection = await connect(uri());
    const domain = await connection.lookupDomainByName(`${MARK}-e`);
    expect(await domain.isActive()).toBe(true);
    await domain.destroy();
    expect(await connection.listAllDomains()).toEqual([]);
    expect(folders()).toEqual([]);
  });

  it(`starts, lists and ends ${HERD} at once`, { timeout: 90_000 }, async () => {
    await using connection = await connect(uri());
    const herd = await Promise.all(
      Array.from({ length: HERD }, async (_, index) => await connection.createDomain(xmlOf(`${MARK}-herd${index}`))),
    );
    expect(await connection.listAllDomains({ active: true })).toHaveLength(HERD);
    await Promise.all(herd.map(async (domain) => await domain.destroy()));
    expect(await connection.listAllDomains()).toEqual([]);
    await pollUntil(
      () => processes().length === 0,
      () => processes().join('\n'),
    );
  });
});

/** Containers of another architecture than the host's: programs for arm64 by QEMU's user emulation, of i686 natively; nothing is registered on the host. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { machine, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planForeign, readBinfmtFacts } from '../../src/host/binfmt.ts';
import { machineProgram } from '../support/arm64-program.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';
import { startBox } from './container-box.ts';

const isAble = canRunContainers();
const foreign = planForeign('aarch64', readBinfmtFacts()).kind;
if (foreign !== 'private')
  process.stderr.write(`\nSKIPPED: programs for arm64 are '${foreign}' here, not in a namespace of their own\n\n`);
if (machine() !== 'x86_64') process.stderr.write(`\nSKIPPED: i686 needs an x86_64 host\n\n`);

const NAME = 'aarch64';
const registered = (): string[] => {
  const folder = '/proc/sys/fs/binfmt_misc';
  return existsSync(folder) ? readdirSync(folder) : [];
};

describe.skipIf(!isAble)('a container of another architecture', () => {
  let folder = '';
  let rootfs = '';
  let before: string[] = [];

  beforeAll(() => {
    before = registered();
    folder = mkdtempSync(join(tmpdir(), 'nt-foreign-'));
    rootfs = join(folder, 'arm64');
    for (const dir of ['bin', 'proc', 'sys', 'dev']) mkdirSync(join(rootfs, dir), { recursive: true });
    const write = (name: string, program: Buffer): void =>
      writeFileSync(join(rootfs, 'bin', name), program, { mode: 0o755 });
    write('first', machineProgram({ length: NAME.length, status: 1, next: '/bin/second' }));
    write('second', machineProgram({ length: NAME.length, status: 9 }));
  });

  afterAll(() => {
    expect(registered()).toEqual(before);
    rmSync(folder, { recursive: true, force: true });
  });

  const OTHER_USERS =
    "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap>";
  const PRIVATE_NETWORK = '<features><privnet/></features>';

  it.skipIf(foreign !== 'private').each([
    ['with the users of the host', '', 0],
    ['with a network of its own', PRIVATE_NETWORK, 0],
    ['with other users', OTHER_USERS, 100_000],
    ['with both', OTHER_USERS + PRIVATE_NETWORK, 100_000],
  ])('runs %s, and goes on to start programs', async (_, rest, uid) => {
    await using box = await startBox({ folder, rootfs, line: '', init: '/bin/first', arch: NAME, rest });
    await box.until(NAME);
    const status = readFileSync(`/proc/${box.initPid}/status`, 'utf8');
    expect(status).toMatch(new RegExp(`^Uid:\\s+${uid}\\b`, 'm'));
    expect(registered()).toEqual(before);
    box.write('\n');
    expect(await box.ended).toMatchObject({ exitCode: 9 });
    expect(box.output().split(NAME)).toHaveLength(3);
  });

  it.skipIf(machine() !== 'x86_64')('of the 32-bit kin runs natively, and says what it is', async () => {
    const busybox = makeBusyboxRoot(folder);
    await using box = await startBox({ folder, rootfs: busybox, arch: 'i686', line: 'busybox uname -m' });
    expect(await box.ended).toMatchObject({ exitCode: 0 });
    expect(box.output()).toBe('i686\r\n');
  });

  it.skipIf(foreign !== 'private')('is kept by the daemon, whose definition stays true', async () => {
    await using daemon = await startDaemon();
    const virsh = (...args: string[]): { status: number | null; words: string } => {
      const uri = daemon.uri.replace(/^qemu/, 'lxc');
      const { status, stdout, stderr } = spawnSync('virsh', ['-q', '-c', uri, ...args], {
        encoding: 'utf8',
        timeout: 30_000,
      });
      return { status, words: `${stdout}${stderr}`.trim() };
    };
    const definition = (arch: string): string => {
      const path = join(folder, `${arch}.xml`);
      writeFileSync(
        path,
        `<domain type='lxc'><name>${arch}</name><memory unit='MiB'>64</memory>
         <os><type arch='${arch}'>exe</type><init>/bin/first</init></os><on_poweroff>destroy</on_poweroff>
         <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`,
      );
      return path;
    };
    expect(virsh('capabilities').words).toMatch(/<arch name='aarch64'>/);
    expect(virsh('create', definition(NAME))).toMatchObject({ status: 0 });
    try {
      expect(virsh('dumpxml', NAME).words).toContain("<type arch='aarch64'>exe</type>");
      const log = (): string =>
        readdirSync(join(daemon.stateDir), { recursive: true, encoding: 'utf8' })
          .filter((name) => name.endsWith('console.log'))
          .map((name) => readFileSync(join(daemon.stateDir, name), 'utf8'))
          .join('');
      await pollUntil(() => log().includes(NAME), 'it has printed nothing');
      await daemon.crash();
      expect(virsh('domstate', NAME)).toEqual({ status: 0, words: 'running' });
      expect(registered()).toEqual(before);
    } finally {
      virsh('destroy', NAME);
    }
    expect(virsh('create', definition('vax')).words).toMatch(/<os><type arch='vax'> is no architecture/);
  });
});

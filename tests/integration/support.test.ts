/**
 * The test guests themselves, run by raw QEMU: whoever sees another test fail can look here first to learn whether the guest
 * or Nestling is to blame.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, utimesSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { formatHeader, formatRecord } from '../../src/core/ledger-format.ts';
import { bundleScript } from '../support/bundle.ts';
import { ForeignThings } from '../support/foreign-things.ts';
import {
  BOOT_SECTORS,
  type BootSector,
  bootSectorImage,
  copyBootSectorImage,
  greetingOf,
} from '../support/guests/boot-sectors.ts';
import { buildOnce } from '../support/guests/cache.ts';
import { LINUX_GUEST_CMDLINE, LINUX_GUEST_READY, linuxGuest } from '../support/guests/linux-guest.ts';
import { LeakScope } from '../support/leaks.ts';
import { pollUntil } from '../support/poll.ts';
import { type RawQemu, startRawQemu } from '../support/raw-qemu.ts';
import { StreamText } from '../support/until.ts';

async function boot(kind: BootSector, machine: string, ...args: string[]): Promise<RawQemu> {
  const image = await bootSectorImage(kind);
  const drive = `file=${image},format=raw,if=none,id=disk,readonly=on`;
  return await startRawQemu([
    '-machine',
    machine,
    '-m',
    '16',
    '-drive',
    drive,
    '-device',
    'virtio-blk-pci,drive=disk',
    ...args,
  ]);
}

describe.each(['q35', 'pc'])('boot sectors on %s', (machine) => {
  it.each(BOOT_SECTORS.filter((kind) => kind !== 'mute'))('%s greets', async (kind) => {
    await using qemu = await boot(kind, machine);
    expect(await qemu.serial.until('\r\n')).toContain(greetingOf(kind));
  });

  it('poweroff ends QEMU', async () => {
    await using qemu = await boot('poweroff', machine);
    expect(await qemu.exit()).toBe(0);
  });

  it('halt stays, and cannot be asked to leave', async () => {
    await using qemu = await boot('halt', machine);
    await qemu.serial.until(greetingOf('halt'));
    await qemu.command('system_powerdown');
    expect(await qemu.command('query-status')).toContain('"running"');
  });

  it('mute says nothing until it is killed', async () => {
    await using qemu = await boot('mute', machine);
    await qemu.command('query-status');
    qemu.process.kill();
    await qemu.exit();
    expect(qemu.serial.text).not.toContain('nestling');
  });

  it('echo sends back what it receives', async () => {
    await using qemu = await boot('echo', machine);
    await qemu.serial.until('\r\n');
    const text = 'The quick brown fox jumps over the lazy dog 0123456789.';
    qemu.input.write(text);
    expect(await qemu.serial.until('.')).toBe(text);
  });

  it('reboot and crash reset the machine again and again', async () => {
    for (const kind of ['reboot', 'crash'] as const) {
      await using qemu = await boot(kind, machine);
      for (let time = 0; time < 3; time += 1) await qemu.serial.until(greetingOf(kind));
      expect(qemu.process.exitCode).toBeNull();
    }
  });

  it('crash ends QEMU where a reset means that', async () => {
    await using qemu = await boot('crash', machine, '-action', 'reboot=shutdown');
    expect(await qemu.exit()).toBe(0);
  });

  it('panic is noticed by pvpanic', async () => {
    await using qemu = await boot('panic', machine, '-device', 'pvpanic', '-action', 'panic=exit-failure');
    expect(await qemu.exit()).toBe(1);
  });

  it('counter counts, and not while stopped', async () => {
    await using qemu = await boot('counter', machine);
    expect(await qemu.serial.until('count 12\r\n')).toMatch(/count 1\r\ncount 2\r\n[^]*count 11\r\n/);
    await qemu.command('stop');
    // One more round trip: what was printed before the stop has arrived then.
    await qemu.command('query-status');
    const before = qemu.serial.text;
    await qemu.command('query-status');
    expect(qemu.serial.text).toBe(before);
    await qemu.command('cont');
    await qemu.serial.until('count 20\r\n');
  });

  it('powerbutton powers off when asked', async () => {
    await using qemu = await boot('powerbutton', machine);
    await qemu.serial.until(greetingOf('powerbutton'));
    await qemu.command('system_powerdown');
    await qemu.serial.until('power button pressed');
    expect(await qemu.exit()).toBe(0);
  });
});

describe('boot sectors on other buses', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nestling-buses-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it.each([
    ['sata', ['-device', 'ide-hd,drive=disk']],
    ['scsi', ['-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=disk']],
    ['usb', ['-device', 'qemu-xhci', '-device', 'usb-storage,drive=disk']],
    ['nvme', ['-device', 'nvme,drive=disk,serial=1']],
  ])('%s', async (_name, device) => {
    const image = await copyBootSectorImage('poweroff', directory);
    const drive = `file=${image},format=raw,if=none,id=disk`;
    await using qemu = await startRawQemu(['-machine', 'q35', '-m', '16', '-drive', drive, ...device]);
    await qemu.serial.until(greetingOf('poweroff'));
    expect(await qemu.exit()).toBe(0);
  });
});

describe('the Linux guest', () => {
  async function bootLinux(cmdline: string, args: readonly string[] = [], modules: string[] = []): Promise<RawQemu> {
    const { kernel, initrd } = await linuxGuest({ modules });
    const append = `${LINUX_GUEST_CMDLINE} ${cmdline}`;
    return await startRawQemu([
      '-machine',
      'q35',
      '-m',
      '256',
      '-kernel',
      kernel,
      '-initrd',
      initrd,
      '-append',
      append,
      ...args,
    ]);
  }

  it('boots to a root shell that sees its devices, and powers off', async () => {
    const image = await bootSectorImage('halt');
    const disk = [
      '-drive',
      `file=${image},format=raw,if=none,id=disk,readonly=on`,
      '-device',
      'virtio-blk-pci,drive=disk',
    ];
    const net = ['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net'];
    const port = [
      '-device',
      'virtio-serial',
      '-chardev',
      'null,id=port',
      '-device',
      'virtserialport,chardev=port,name=test.port',
    ];
    await using qemu = await bootLinux('', [...disk, ...net, ...port]);
    await qemu.serial.until(LINUX_GUEST_READY);
    await qemu.serial.until('nestling# ');
    qemu.input.write(
      'id -u; head -c 64 /dev/vda | strings | wc -c; ls /sys/class/net /dev/virtio-ports; echo do""ne\n',
    );
    const said = await qemu.serial.until('done');
    expect(said).toContain('eth0');
    expect(said).toContain('test.port');
    qemu.input.write('poweroff -f\n');
    expect(await qemu.exit()).toBe(0);
    expect(qemu.serial.text).not.toContain('does not load');
  });

  it('runs a command from the kernel command line, with the network up', async () => {
    const net = ['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net'];
    await using qemu = await bootLinux('nestling.net=dhcp nestling.run="uname -s; poweroff"', net);
    expect(await qemu.exit()).toBe(0);
    expect(qemu.serial.text).toContain('nestling net: 10.0.2.15');
    expect(qemu.serial.text).toMatch(/Linux\r\n/);
  });

  it('powers off on the power button', async () => {
    await using qemu = await bootLinux('');
    await qemu.serial.until('nestling# ');
    await qemu.command('system_powerdown');
    await qemu.serial.until('power button pressed');
    expect(await qemu.exit()).toBe(0);
  });

  it('loads further modules', async () => {
    await using qemu = await bootLinux('nestling.run="cat /proc/filesystems; poweroff"', [], ['overlay']);
    expect(await qemu.exit()).toBe(0);
    expect(qemu.serial.text).toContain('overlay');
  });
});

describe('the leak check', () => {
  it('finds processes and files that are left, also those that left their parent, and forgets them when gone', async () => {
    const scope = new LeakScope();
    try {
      await writeFile(join(scope.temporary, 'left'), '');
      // The shell ends at once; its child has another parent then, and no terminal or group in common with us.
      const shell = spawn('sh', ['-c', 'setsid sleep 600 > /dev/null 2>&1 & echo $!'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const orphan = Number(await new StreamText(shell.stdout).until('\n'));
      await once(shell, 'close');
      // On its way from one program to the next it has no words.
      const words = async (): Promise<string> => await readFile(`/proc/${orphan}/cmdline`, 'utf8');
      await pollUntil(async () => (await words()).startsWith('sleep'), 'the child does not get to its program');
      const leaks = scope.findLeaks();
      expect(leaks).toContain(`file ${join(scope.temporary, 'left')}`);
      expect(leaks.find((leak) => leak.startsWith(`process ${orphan}:`))).toContain('sleep 600');
      process.kill(orphan, 'SIGKILL');
      await rm(join(scope.temporary, 'left'));
      await scope.expectNoLeaks();
    } finally {
      scope.close();
    }
  });

  it('minds nothing of other programs that run beside the tests, until they are gone', async () => {
    const root = await mkdtemp(join(tmpdir(), 'foreign-'));
    const options = {
      proc: join(root, 'proc'),
      ledgerDirs: [join(root, 'ledger')],
      isOurs: (pid: string) => pid === '7',
    };
    for (const folder of ['proc/8', 'proc/7', 'ledger', 'groups/theirs/vcpu0', 'groups/ours', 'groups/empty'])
      mkdirSync(join(root, folder), { recursive: true });
    const ledgerOf = async (pid: number, path: string): Promise<void> => {
      const owner = { pid, startTime: '1', bootId: 'b', pidNamespace: 'n' };
      const record = { id: 1, kind: 'tree', identity: { path, link: 'vnet0' } };
      await writeFile(join(root, 'ledger', String(pid)), formatHeader(owner) + formatRecord(record));
    };
    await ledgerOf(8, '/run/x/theirs');
    await ledgerOf(7, '/run/x/ours');
    await writeFile(join(root, 'groups/theirs/vcpu0/cgroup.procs'), '8\n9\n');
    await writeFile(join(root, 'groups/ours/cgroup.procs'), '8\n7\n');
    const found = (): boolean[] => {
      const foreign = new ForeignThings(options);
      const groups = ['theirs', 'ours', 'empty'].map((name) => foreign.includesGroup(join(root, 'groups', name)));
      return [
        ...['/run/x/theirs/a/b', '/run/x/ours/a', '/run/x', 'vnet0', 'vnet1'].map((one) => foreign.includes(one)),
        ...groups,
      ];
    };
    expect(found()).toEqual([true, false, false, true, false, true, false, false]);
    await rm(join(root, 'proc/8'), { recursive: true });
    expect(found()).toEqual([false, false, false, false, false, true, false, false]);
    await rm(root, { recursive: true });
  });

  it('leaves no folder behind when its process ends without it: a test file that throws while it is read', async () => {
    const bundle = await bundleScript(fileURLToPath(new URL('../support/leaks.ts', import.meta.url)));
    const program = `import { LeakScope } from ${JSON.stringify(bundle)};
      process.stdout.write(new LeakScope().temporary);
      throw new Error('no test is collected');`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
    });
    expect([status, stdout]).toEqual([1, expect.stringMatching(/^\/tmp\/nt-[0-9a-f]{9}$/)]);
    expect(existsSync(stdout)).toBe(false);
  });

  it('removes the folders of processes that were killed, once they are old; those of the living stay', () => {
    // Above the greatest number that a process can have.
    const [old, fresh] = ['/tmp/nt-fffffe000', '/tmp/nt-fffffe001'];
    const mine = `/tmp/nt-${process.pid.toString(16).padStart(6, '0')}fff`;
    const longAgo = new Date(Date.now() - 3_600_000);
    try {
      for (const folder of [old, fresh, mine]) mkdirSync(folder, { recursive: true });
      for (const folder of [old, mine]) utimesSync(folder, longAgo, longAgo);
      new LeakScope().close();
      expect([old, fresh, mine].map((folder) => existsSync(folder))).toEqual([false, true, true]);
    } finally {
      for (const folder of [old, fresh, mine]) rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('the cache of guests', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('builds an entry once, whole, whoever asks at the same time, and leaves nothing of a failed build', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'nestling-cache-'));
    vi.stubEnv('NESTLING_TEST_CACHE', directory);
    const build = (text: string) => (into: string) => writeFile(join(into, 'content'), text);
    const entries = await Promise.all(['a', 'b', 'c'].map((text) => buildOnce('entry', build(text))));
    expect(new Set(entries)).toEqual(new Set([join(directory, 'entry')]));
    const fail = (): Promise<void> => Promise.reject(new Error('no luck'));
    await expect(buildOnce('other', fail)).rejects.toThrow('no luck');
    await buildOnce('entry', fail);
    expect(await readdir(directory)).toEqual(['entry']);
    expect(await readFile(join(directory, 'entry', 'content'), 'utf8')).toMatch(/^[abc]$/);
    await rm(directory, { recursive: true });
  });
});

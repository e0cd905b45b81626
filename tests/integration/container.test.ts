/** Containers made of definitions by a real runtime: what is in them, what they cannot do, and how they end. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planContainerXml } from '../../src/driver/lxc/runtime/describe-plan.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { bundleScript } from '../support/bundle.ts';
import { startBox } from './container-box.ts';

const runtime = lookUpProgram('crun');
const isAble = runtime !== undefined && process.getuid?.() === 0 && existsSync('/bin/busybox');
if (!isAble) process.stderr.write('\nSKIPPED: containers need root, crun and busybox-static\n\n');

describe.skipIf(!isAble)('a container', () => {
  let folder = '';
  let rootfs = '';

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nt-box-'));
    rootfs = join(folder, 'rootfs');
    for (const dir of ['bin', 'proc', 'sys', 'dev', 'tmp', 'etc', 'x', 'mnt'])
      mkdirSync(join(rootfs, dir), { recursive: true });
    execFileSync('cp', ['/bin/busybox', join(rootfs, 'bin')]);
    for (const name of [
      'sh',
      'cat',
      'ls',
      'mount',
      'id',
      'ps',
      'tty',
      'touch',
      'echo',
      'sleep',
      'mknod',
      'ip',
      'nc',
      'ping',
      'tail',
      'wc',
    ])
      symlinkSync('busybox', join(rootfs, 'bin', name));
    // Where a careless runtime would follow it to the host.
    symlinkSync('/etc', join(rootfs, 'x/etc'));
    writeFileSync(join(folder, 'outside'), 'outside');
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  /** Runs a shell line as its first program. @returns what it printed, and how it ended */
  async function run(line: string, xml: { devices?: string; rest?: string; forked?: boolean } = {}) {
    await using box = await startBox({ folder, rootfs, line, ...xml });
    const end = await box.ended;
    return { ...end, output: box.output().replaceAll('\r\n', '\n') };
  }

  it.each([
    ['out of a nursery', false],
    ['forked where there is none', true],
  ])('has its console, its status, its own processes and devices, %s', async (_, forked) => {
    const { exitCode, output } = await run('tty; ps >/dev/shm/ps; wc -l </dev/shm/ps; ls /dev; exit 7', { forked });
    expect(exitCode).toBe(7);
    expect(output).toMatch(/^\/dev\/pts\/0\n/);
    // The heading, the shell and ps.
    expect(output).toMatch(/\n3\n/);
    for (const node of ['null', 'zero', 'random', 'console', 'tty1', 'pts', 'ptmx']) {
      expect(output.split(/\s+/)).toContain(node);
    }
    expect(output).not.toContain('vda');
  });

  it('tells its first program what libvirt tells', async () => {
    const { output } = await run('echo "$container $LIBVIRT_LXC_NAME $PATH $HOME"');
    expect(output).toBe('lxc-libvirt box /bin:/sbin:/usr/bin:/usr/sbin /\n');
  });

  it("cannot write what is the host's, nor make devices", async () => {
    const { output } = await run(
      'echo 1 > /proc/sys/kernel/panic; echo h > /proc/sysrq-trigger; echo 1 > /sys/kernel/mm/ksm/run; mknod /tmp/sda b 8 0; cat /proc/kcore | wc -c',
    );
    // Not every kernel has the second.
    expect(output.match(/Read-only file system/g)).toHaveLength(existsSync('/proc/sysrq-trigger') ? 3 : 2);
    expect(output).toMatch(/mknod: .*Operation not permitted/);
    expect(output).toMatch(/\n0\n$/);
  });

  it('has the file systems of its definition, and no way out by links', async () => {
    const image = join(folder, 'image');
    execFileSync('truncate', ['-s', '4M', image]);
    execFileSync('mkfs.ext4', ['-q', image]);
    const devices =
      `<filesystem type='mount'><source dir='${folder}'/><target dir='/x/etc/inner'/><readonly/></filesystem>` +
      `<filesystem type='ram'><source usage='64' units='KiB'/><target dir='/tmp'/></filesystem>` +
      `<filesystem type='file'><source file='${image}'/><target dir='/mnt'/></filesystem>`;
    const { output } = await run('cat /etc/inner/outside; touch /etc/inner/y; touch /mnt/made; ls /mnt; mount', {
      devices,
    });
    expect(output).toMatch(/^outside/);
    expect(output).toMatch(/y: Read-only file system/);
    expect(output).toContain('lost+found');
    expect(output).toMatch(/tmpfs on \/tmp type tmpfs \(rw,relatime,size=64k/);
    expect(existsSync('/etc/inner')).toBe(false);
    expect(execFileSync('losetup', ['-j', image], { encoding: 'utf8' })).toBe('');
  });

  it('has a network of its own when it asks for one', async () => {
    const rest = '<features><privnet/></features>';
    const { output } = await run('ls /sys/class/net; echo 1 > /proc/sys/net/ipv4/ip_forward && echo changed', { rest });
    expect(output).toBe('lo\nchanged\n');
  });

  it('reaches others on a bridge, and leaves nothing of it behind', async () => {
    const program = await bundleScript(fileURLToPath(new URL('container-network-program.ts', import.meta.url)));
    const text = execFileSync('unshare', ['-n', process.execPath, program, folder, rootfs], {
      encoding: 'utf8',
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    const seen: unknown = JSON.parse(text);
    expect(seen).toEqual({
      caller: expect.stringMatching(/inet 10\.9\.0\.3\/24 .*hello from two/s),
      whileOpen: expect.stringMatching(/vnet0.* master br0 /),
      left: ['lo', 'br0'],
      names: ['eth1', 'eth2'],
      limits: expect.stringContaining('rate 8Mbit'),
      with2: expect.stringMatching(/eth1 +inet 10\.9\.0\.9\/24 .*eth2/s),
      without: expect.not.stringMatching(/eth[12]/),
      distinct: 50,
    });
    expect(seen).toMatchObject({ caller: expect.stringMatching(/default via 10\.9\.0\.1 dev lan0/) });
    expect(seen).toMatchObject({ caller: expect.stringMatching(/1 packets received/) });
  });

  it('is root of its own only, where ids are mapped', async () => {
    execFileSync('chown', ['-R', '100000:100000', rootfs]);
    const rest =
      "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap><features><privnet/></features>";
    try {
      const { output } = await run('id; touch /tmp/mine; cat /proc/self/uid_map; ip link set lo down && ip -o link', {
        rest,
      });
      expect(output).toMatch(/uid=0.*gid=0/);
      expect(output).toMatch(/0 +100000 +65536/);
      // Its network is its root's to change.
      expect(output).toMatch(/lo: <LOOPBACK>/);
      expect(execFileSync('stat', ['-c', '%u', join(rootfs, 'tmp/mine')], { encoding: 'utf8' }).trim()).toBe('100000');
    } finally {
      execFileSync('chown', ['-R', '0:0', rootfs]);
    }
  });

  it('is planned without being started', () => {
    const xml = `<domain type='lxc'><name>box</name><memory>65536</memory><os><type>exe</type><init>/bin/sh</init></os>
      <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem></devices></domain>`;
    const { binary, command, files } = planContainerXml(xml, { name: 'other' });
    expect(binary).toBe('unshare');
    expect(command).toContain(`[ ! -L ${rootfs}/dev ]`);
    expect(JSON.stringify(files)).toContain('LIBVIRT_LXC_NAME=other');
  });

  it('says why it does not start', async () => {
    await expect(
      run('true', {
        devices: `<filesystem type='mount'><source dir='${folder}/gone'/><target dir='/x'/></filesystem>`,
      }),
    ).rejects.toThrow(/gone/);
  });

  it('ends at once when it is destroyed, whatever its programs do', async () => {
    await using box = await startBox({ folder, rootfs, line: "trap '' TERM INT HUP; while :; do sleep 1000; done" });
    const { signal } = await box.destroy();
    expect(signal).toBe('SIGKILL');
    expect(existsSync(`/proc/${box.initPid}/root/bin`)).toBe(false);
  });

  it('ends with its caller, even when that is killed', async () => {
    const program = await bundleScript(fileURLToPath(new URL('container-parent.ts', import.meta.url)));
    const caller = spawn(process.execPath, [program, folder, rootfs], { stdio: ['ignore', 'pipe', 'inherit'] });
    const initPid = await new Promise<string>((resolve) =>
      caller.stdout.once('data', (data) => resolve(String(data).trim())),
    );
    // Told as soon as it was let go; its program is executed a moment later.
    await expect.poll(() => readFileSync(`/proc/${initPid}/cmdline`, 'utf8'), { timeout: 20_000 }).toContain('sleep');
    caller.kill('SIGKILL');
    await expect.poll(() => stateOf(initPid), { timeout: 5000 }).toMatch(/^(gone|Z)/);
  });
});

/** Whoever reaps orphans here may be late: a zombie runs no more. */
function stateOf(pid: string): string {
  try {
    return /^State:\s+(.)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 'gone';
  } catch {
    return 'gone';
  }
}

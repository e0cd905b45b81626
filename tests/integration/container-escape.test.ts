/**
 * Ways out of a container: links in its root on the way to what is mounted there, also while it swaps them; files of /proc and /sys that act on the
 * host or tell of it; what the host shares in memory. Beside container-hostile.test.ts, which is about processes, limits and files.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { v2Hierarchy } from '../../src/cgroup/host.ts';
import { connect, type Domain, VirtError } from '../../src/index.ts';
import { canRunContainers, makeBusyboxRoot, shellContainer } from '../support/busybox-root.ts';
import { allWritten, HOST_SETTINGS, writeSettings } from '../support/kernel-settings.ts';
import { pollUntil } from '../support/poll.ts';
import { startBox } from './container-box.ts';

const MAPPED =
  "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap>";
const UNMAPPED = "<idmap><uid start='0' target='0' count='65536'/><gid start='0' target='0' count='65536'/></idmap>";
const TAME = "<features><capabilities policy='default'><sys_admin state='off'/></capabilities></features>";
const SWAPS = 8;
const hasV2 = v2Hierarchy(detectCgroups())?.writable === true;
if (!hasV2) process.stderr.write('\nSKIPPED: settings of the kernel: this host has no cgroup v2 to write in\n\n');
/** So many where none has met the directory yet. */
const MOST_SWAPS = 600;

describe.skipIf(!canRunContainers())('a container', () => {
  let folder = '';
  let outside = '';

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nt-escape-'));
    outside = join(folder, 'outside');
    mkdirSync(outside);
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function newRoot(name: string): string {
    mkdirSync(join(folder, name));
    return makeBusyboxRoot(join(folder, name));
  }

  /** Nothing of the host has changed. */
  function expectUntouched(mounts: string): void {
    expect(readdirSync(outside)).toEqual([]);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(mounts);
  }

  const share = (target: string, type = 'ram'): string =>
    type === 'ram'
      ? `<filesystem type='ram'><source usage='64'/><target dir='${target}'/></filesystem>`
      : `<filesystem type='bind'><source dir='${folder}'/><target dir='${target}'/></filesystem>`;

  it.each([
    ['in the middle of the path', 'srv', '/srv/sub/deep', (out: string) => out],
    ['that climb', 'srv', '/srv/sub/deep', (out: string) => `../../../../../../../../../../..${out}`],
    ['by way of /proc', 'srv', '/srv/sub', (out: string) => `/proc/1/root${out}`],
    ['by its own /proc', 'srv', '/srv/sub', (out: string) => `/proc/self/root${out}`],
    ['at its end', 'srv', '/srv', (out: string) => out],
    ['to a link', 'srv', '/srv/sub', () => '/second'],
  ])('has mounts below its own root, with links %s', async (_, link, target, to) => {
    for (const type of ['ram', 'bind']) {
      const rootfs = newRoot(`r${Math.random().toString(36).slice(2)}`);
      symlinkSync(to(outside), join(rootfs, link));
      symlinkSync(outside, join(rootfs, 'second'));
      const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
      const outcome = await startBox({ folder, rootfs, line: 'echo inside', devices: share(target, type) }).then(
        async (box) => {
          await using _box = box;
          await box.ended;
          return box.output();
        },
        (error: unknown) => (error instanceof VirtError ? 'refused' : String(error)),
      );
      expect(outcome).toMatch(/inside|^refused$/);
      expectUntouched(mounts);
    }
  });

  it('has mounts where the links of its root lead inside it', async () => {
    const rootfs = newRoot('inside');
    symlinkSync('/run', join(rootfs, 'srv'));
    const line = 'grep -c " /run/deep/er " /proc/self/mountinfo';
    await using box = await startBox({ folder, rootfs, line, devices: share('/srv/deep/er') });
    await box.ended;
    expect(box.output().trim()).toBe('1');
  });

  it.each(['/mnt/../../x', '/..', 'relative'])('has no file system on %s', async (target) => {
    const started = startBox({ folder, rootfs: newRoot(`r${target.length}`), line: 'true', devices: share(target) });
    await expect(started).rejects.toThrow(/leads upwards|no absolute path/);
  });

  it.each(['dev/pts', 'dev/shm', 'dev/mqueue', 'sys/fs', 'sys/fs/cgroup', 'proc/sys'])(
    'has its own /%s where its root has a link for it',
    async (name) => {
      const rootfs = newRoot(`l${name.replaceAll('/', '-')}`);
      mkdirSync(join(rootfs, name, '..'), { recursive: true });
      symlinkSync(outside, join(rootfs, name));
      const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
      await using box = await startBox({ folder, rootfs, line: 'echo inside' });
      await box.ended;
      expect(box.output()).toContain('inside');
      expectUntouched(mounts);
    },
  );

  it('gets nothing outside by swapping a directory for a link while something is attached there', {
    timeout: 60_000,
  }, async () => {
    const rootfs = newRoot('swap');
    mkdirSync(join(rootfs, 'x'));
    // The way to the folder outside exists in the container's root too, so that the link leads somewhere.
    mkdirSync(join(rootfs, outside), { recursive: true });
    const line = `while :; do mv /x/d /x/e 2>/dev/null; ln -s ${outside} /x/d; rm /x/d; mv /x/e /x/d 2>/dev/null || mkdir -p /x/d; done`;
    const xml = shellContainer(`swap-${process.pid}`, { root: rootfs, line, devices: "<console type='pty'/>" });
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    await using connection = await connect('lxc:///embed');
    const domain = await connection.createDomain(xml);
    let attached = 0;
    for (let swap = 0; swap < SWAPS || (attached === 0 && swap < MOST_SWAPS); swap++) {
      const device = share(`/x/d/s${swap}`);
      if (await succeeds(domain.attachDevice(device))) attached++;
      const node = "<hostdev mode='capabilities' type='misc'><source><char>/dev/full</char></source></hostdev>";
      if (swap === 0) await domain.attachDevice(node);
      expectUntouched(mounts);
    }
    expect(attached).toBeGreaterThan(0);
    expect(await mountsOf(domain)).not.toContain(`${folder} `);
    await domain.destroy();
    expectUntouched(mounts);
  });

  it.each([
    ['whose root is the host’s', '', ''],
    ['whose users are mapped', MAPPED, ''],
    ['whose root may not mount', TAME, 'tame'],
  ])('%s cannot act on the host by files of /proc and /sys, or read its memory', async (_, rest, kind) => {
    const attempts = [
      // Prints help in the kernel's log: the one request that does nothing.
      '(echo h >/proc/sysrq-trigger) 2>/dev/null && echo SYSRQ',
      'head -c 64 /proc/kcore 2>/dev/null | grep -q ELF && echo KCORE',
      '[ -n "$(ls /sys/firmware 2>/dev/null)" ] && echo FIRMWARE',
      '[ -n "$(cat /proc/keys 2>/dev/null)" ] && echo KEYS',
      '[ -n "$(cat /proc/timer_list 2>/dev/null)" ] && echo TIMERS',
      '(echo 1 >/proc/irq/default_smp_affinity) 2>/dev/null && echo IRQ',
      'for n in mem kmem port kmsg vda sda; do [ -e /dev/$n ] && echo NODE $n; done',
      '(mknod /tmp/m c 1 1) 2>/dev/null && (head -c 1 /tmp/m) 2>/dev/null && echo MEM',
      ...(kind === 'tame'
        ? [
            'mount -o remount,bind,rw /proc/sys 2>/dev/null && echo REMOUNTED; mount -t proc p /mnt 2>/dev/null && echo PROC',
            'mount -t tmpfs t /mnt 2>/dev/null && echo TMPFS; mount -t devtmpfs d /mnt 2>/dev/null && echo DEVTMPFS',
            'umount /proc/kcore 2>/dev/null && echo UNMASKED; unshare -m true 2>/dev/null && echo UNSHARED',
          ]
        : []),
    ];
    await using box = await startBox({
      folder,
      rootfs: newRoot(`p${rest.length}`),
      line: `${attempts.join('\n')}\necho done`,
      rest,
    });
    await box.ended;
    expect(box.output().trim()).toBe('done');
  });

  it.skipIf(!hasV2).each([
    ['whose root is the host’s', '', []],
    ['whose users are the host’s', UNMAPPED, []],
    ['with a network of its own', '<features><privnet/></features>', ['net/ipv4/ip_forward']],
    ['that has all capabilities', "<features><capabilities policy='allow'/></features>", HOST_SETTINGS],
  ])('%s writes settings of its own network alone, from its first moment on', async (_, rest, own) => {
    const rootfs = newRoot(`s${rest.length}`);
    const line = `all=$(${writeSettings(HOST_SETTINGS)}); echo "$all" >/tmp/wrote; mv /tmp/wrote /tmp/done; sleep 1000`;
    await using connection = await connect('lxc:///embed');
    const domain = await connection.createDomain(
      shellContainer(`settings-${process.pid}`, { root: rootfs, line, rest }),
    );
    await pollUntil(() => existsSync(join(rootfs, 'tmp/done')), 'it does nothing');
    const wrote = readFileSync(join(rootfs, 'tmp/done'), 'utf8').split('\n').filter(Boolean);
    expect(wrote).toEqual(allWritten(own));
    await domain.destroy();
  });

  it('has shared memory, message queues and semaphores of its own', async () => {
    const name = `nt-shm-${process.pid}`;
    writeFileSync(join('/dev/shm', name), 'of the host');
    try {
      await using box = await startBox({
        folder,
        rootfs: newRoot('shm'),
        line: `[ -e /dev/shm/${name} ] && echo SEEN; echo x >/dev/shm/of-the-container; wc -l </proc/sysvipc/shm; echo done`,
      });
      await box.ended;
      expect(box.output().replaceAll('\r', '')).toMatch(/^1\ndone\n$/);
      expect(existsSync('/dev/shm/of-the-container')).toBe(false);
    } finally {
      rmSync(join('/dev/shm', name));
    }
  });

  it('with a network of its own does not reach sockets of the host, with a file or without; else it does', async () => {
    const name = `nt-abstract-${process.pid}`;
    const [tcp, abstract] = [createServer((socket) => socket.destroy()), createServer()];
    tcp.listen(0, '127.0.0.1');
    abstract.listen(`\0${name}`);
    await Promise.all([once(tcp, 'listening'), once(abstract, 'listening')]);
    const address = tcp.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const line = `nc -w 2 127.0.0.1 ${port} </dev/null 2>/dev/null && echo REACHED; grep -q ${name} /proc/net/unix && echo SEEN; echo done`;
    const rootfs = newRoot('net');
    const sayOf = async (rest: string): Promise<string> => {
      await using box = await startBox({ folder, rootfs, line, rest });
      await box.ended;
      return box.output().replaceAll('\r', '');
    };
    try {
      expect(await sayOf('<features><privnet/></features>')).toBe('done\n');
      expect(await sayOf('')).toBe('REACHED\nSEEN\ndone\n');
    } finally {
      tcp.close();
      abstract.close();
    }
  });

  it('is refused with the reason and the way out where the host has no user namespaces', async () => {
    const xml = join(folder, 'mapped.xml');
    writeFileSync(
      xml,
      `<domain type='lxc'><name>nouser</name><memory unit='MiB'>64</memory>${MAPPED}
      <os><type>exe</type><init>/bin/true</init></os>
      <devices><filesystem type='mount'><source dir='${newRoot('nouser')}'/><target dir='/'/></filesystem></devices></domain>`,
    );
    const cli = new URL('../../dist/cli.cjs', import.meta.url).pathname;
    // As many as that user namespace may have in it, which is for it alone to say.
    const line = `echo 0 >/proc/sys/user/max_user_namespaces && exec ${cli} run ${xml}`;
    const child = spawn('unshare', ['-U', '-r', 'sh', '-c', line], { stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    child.stderr.on('data', (chunk: Buffer) => {
      words += chunk.toString();
    });
    const [status] = await once(child, 'close');
    expect(words).toMatch(
      /<idmap> needs user namespaces: user.max_user_namespaces is 0; as root: sysctl -w user.max_user_namespaces=/,
    );
    expect(status).not.toBe(0);
  });
});

async function succeeds(action: Promise<unknown>): Promise<boolean> {
  return await action.then(
    () => true,
    () => false,
  );
}

async function mountsOf(domain: Domain): Promise<string> {
  return String((await domain.exec(['cat', '/proc/self/mountinfo'])).stdout);
}

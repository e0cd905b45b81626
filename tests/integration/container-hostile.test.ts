/** Containers that do what they should not: what they see of the host, reach on it and write to it, and what is left when they are gone. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyActions } from '../../src/cgroup/apply.ts';
import { planTuning } from '../../src/cgroup/controllers.ts';
import { planContainerCgroup } from '../../src/driver/lxc/plan/container-cgroup.ts';
import { connect, VirtError } from '../../src/index.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { listDescendants } from '../../src/process/proc.ts';
import { bundleScript } from '../support/bundle.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { pollUntil } from '../support/poll.ts';
import { startBox } from './container-box.ts';

const hasV1 = ['devices', 'pids', 'memory'].every((name) => existsSync(`/sys/fs/cgroup/${name}/cgroup.procs`));
if (!hasV1)
  process.stderr.write('\nSKIPPED: limits of containers are tested with cgroup v1 here, and this host has none\n\n');
const MAPPED =
  "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap>";

describe.skipIf(!canRunContainers())('a hostile container', () => {
  let folder = '';
  let rootfs = '';

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nt-hostile-'));
    rootfs = makeBusyboxRoot(folder);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  type Options = Partial<Parameters<typeof startBox>[0]>;

  async function run(line: string, options: Options = {}) {
    await using box = await startBox({ folder, rootfs, line, ...options });
    const end = await box.ended;
    return { ...end, output: box.output().replaceAll('\r\n', '\n') };
  }

  it.runIf(hasV1)(
    'that needs more memory than it may have is told what has ended it, running or starting',
    async () => {
      await using connection = await connect('lxc:///embed');
      const xml = (name: string, memory: string, line: string): string =>
        `<domain type='lxc'><name>${name}</name><memory ${memory}</memory>
       <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>${line}</initarg></os>
       <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
      const hungry = 'a=x; while :; do a=$a$a; done';
      const words =
        'the kernel has ended a process of it that needed more memory than its limits allow: raise <memory>, or <memtune>';
      const own = await connection.createDomain(xml('own', "unit='MiB'>16", hungry));
      expect((await own.waitForStop()).reason).toBe(`its first program was ended by signal 9; ${words}`);
      const child = await connection.createDomain(
        xml('child', "unit='MiB'>16", `sh -c '${hungry}'; until [ -e /go ]; do sleep 0.05; done; exit 3`),
      );
      await pollUntil(async () => (await child.stats())['cgroup.memory.oom_kills'] === 1, 'nobody counts it');
      writeFileSync(join(rootfs, 'go'), '');
      expect(await child.waitForStop()).toMatchObject({ reason: `its first program ended with status 3; ${words}` });
      await expect(connection.createDomain(xml('start', "unit='KiB'>300", 'true'))).rejects.toThrow(
        /^cannot start container start: .*; the kernel has ended .* of it that needed more memory .*: raise <memory>, or <memtune>$/,
      );
    },
  );

  /** In groups of its own with the limits of that definition. */
  async function withGroups<T>(content: string, pids: number, use: (procs: string[], pidsGroup: string) => Promise<T>) {
    const { domain } = parseDomain(`<domain type='lxc'><name>x</name>${content}</domain>`);
    const facts = { deviceOf: () => undefined, pidMax: 32_768, threadsMax: 32_768 };
    const { tuning } = planContainerCgroup(domain, facts);
    const v1 = Object.fromEntries(
      ['devices', 'pids', 'memory'].map((name) => [name, `/sys/fs/cgroup/${name}/nestling-test-${process.pid}`]),
    );
    const directories = Object.values(v1);
    for (const directory of directories) mkdirSync(directory);
    try {
      applyActions(planTuning({ path: '/', v1 }, { ...tuning, pids: { max: pids } }));
      return await use(
        directories.map((directory) => `${directory}/cgroup.procs`),
        v1['pids'] ?? '',
      );
    } finally {
      for (const directory of directories) rmdirSync(directory);
    }
  }

  it.each([
    ['exits', 'exit 3', { exitCode: 3 }],
    ['is killed', 'kill -KILL $$; sleep 1000', { exitCode: 0 }],
    ['cannot be executed', 'exec /no/such', { exitCode: 127 }],
  ])('whose init %s at once has ended', async (_, line, expected) => {
    // A namespace's first process cannot kill itself.
    if (expected.exitCode === 0) expect((await run(line.replace('sleep 1000', 'exit 0'))).exitCode).toBe(0);
    else expect((await run(line)).exitCode).toBe(expected.exitCode);
  });

  it('without the init that it names is refused with its name', async () => {
    await expect(run('', { init: '/sbin/missing' })).rejects.toThrow(/executable file `\/sbin\/missing` not found/);
  });

  it('cannot see, signal or trace processes of the host', async () => {
    const { output } = await run(
      `ls -d /proc/[0-9]* | wc -l; ls /proc/${process.pid} ; kill -9 ${process.pid}; echo $$`,
    );
    // The shell, and those of its pipe that are there yet.
    expect(output).toMatch(/^[2-4]\n/);
    // Its own numbers are small; that of this process may be one of them by chance, which is another one then.
    expect(output).toMatch(/\n1\n$/);
    expect(process.exitCode).toBeUndefined();
  });

  it('cannot keep processes beyond its end by leaving its session', async () => {
    await using box = await startBox({
      folder,
      rootfs,
      line: 'setsid sh -c "trap \'\' TERM HUP INT; setsid sleep 31415 & sleep 31415" </dev/null & sleep 0.3; ps; exit 0',
    });
    const below = (): string[] =>
      listDescendants(process.pid).flatMap(({ pid }) => commandOf(pid).filter((command) => command.includes('31415')));
    await box.until('31415');
    await box.ended;
    expect(box.output()).toMatch(/sleep 31415/);
    expect(below()).toEqual([]);
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      expect(commandOf(Number(pid)).filter((command) => command.startsWith('sleep 31415'))).toEqual([]);
    }
  });

  it.each([
    ['its root is the host’s', ''],
    ['its users are mapped', MAPPED],
  ])('cannot write settings of the host, where %s', async (_, rest) => {
    const files = [
      '/proc/sys/kernel/panic',
      '/proc/sys/vm/swappiness',
      '/sys/kernel/mm/ksm/run',
      '/sys/fs/cgroup/*/release_agent',
      '/sys/fs/cgroup/cgroup.procs',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes',
    ];
    const { output } = await run(
      `for f in ${files.join(' ')}; do [ -e $f ] && (cat $f >$f) 2>/dev/null && echo WROTE $f; done; mkdir /sys/fs/cgroup/memory/x && echo MADE; echo done`,
      { rest },
    );
    expect(output).not.toMatch(/WROTE|MADE/);
    expect(output).toMatch(/done\n$/);
  });

  it('cannot make them writable either, where its users are mapped', async () => {
    const { output } = await run(
      `mount -o remount,bind,rw /proc/sys; mount -t proc p /mnt; mkdir /dev/shm/cg; mount -t cgroup -o memory c /dev/shm/cg
       for f in /proc/sys/vm/swappiness /mnt/sys/vm/swappiness /dev/shm/cg/memory.limit_in_bytes; do (cat $f >$f) 2>/dev/null && echo WROTE $f; done
       mount -t devtmpfs d /dev/shm/cg && echo MOUNTED; mount -t ext4 /dev/vda /dev/shm/cg && echo MOUNTED; unshare -m true && echo done`,
      { rest: MAPPED },
    );
    expect(output).not.toMatch(/WROTE|MOUNTED/);
    expect(output).toMatch(/done\n$/);
  });

  it.skipIf(!hasV1)('cannot reach devices that it was not given, by whatever node', async () => {
    const [name = 'vda'] = readdirSync('/sys/class/block').filter((one) => existsSync(`/dev/${one}`));
    const { rdev } = statSync(`/dev/${name}`);
    const [major, minor] = [(rdev >> 8) & 0xfff, rdev & 0xff];
    await withGroups('', 100, async (cgroupProcs) => {
      const { output } = await run(
        `mknod /dev/shm/one b ${major} ${minor} && echo MADE
         mount -t devtmpfs d /mnt && for n in ${name} kmsg kvm mem loop-control; do [ -e /mnt/$n ] && (: </mnt/$n) 2>/dev/null && echo OPENED $n; done
         head -c 2 /dev/zero | wc -c; echo done`,
        // As much as can be given.
        { cgroupProcs, rest: "<features><capabilities policy='allow'/></features>" },
      );
      expect(output).not.toMatch(/MADE|OPENED/);
      expect(output).toMatch(/2\ndone\n$/);
    });
  });

  it.skipIf(!hasV1)('forks no further than its limit, and is gone at once', async () => {
    await withGroups('', 60, async (cgroupProcs, group) => {
      await using box = await startBox({
        folder,
        rootfs,
        line: "trap '' TERM; echo go; bomb() { sleep 1000 & bomb & bomb; }; (bomb) & while :; do read -r line; done",
        cgroupProcs,
      });
      await expect
        .poll(() => Number(readFileSync(`${group}/pids.current`, 'utf8')), { timeout: 10_000 })
        .toBeGreaterThan(55);
      expect(Number(readFileSync(`${group}/pids.current`, 'utf8'))).toBeLessThanOrEqual(60);
      await box.destroy();
      await expect.poll(() => readFileSync(`${group}/cgroup.procs`, 'utf8'), { timeout: 5000 }).toBe('');
    });
  });

  it.skipIf(!hasV1)('fills no more memory than its own, by files either', async () => {
    const content = "<memory unit='MiB'>24</memory><os><type>exe</type><init>/bin/sh</init></os>";
    await withGroups(content, 100, async (cgroupProcs) => {
      const devices = "<filesystem type='ram'><source usage='64' units='KiB'/><target dir='/tmp'/></filesystem>";
      const { output } = await run(
        `dd if=/dev/zero of=/tmp/x bs=1k count=1000 2>&1 | head -1; stat -c %s /tmp/x
         dd if=/dev/zero of=/dev/x bs=1k count=1000 2>&1 | head -1
         dd if=/dev/zero of=/dev/shm/x bs=1M count=200 >/dev/null 2>&1; stat -c %s /dev/shm/x`,
        { cgroupProcs, devices },
      );
      const lines = output.split('\n').filter((line) => !line.includes('Killed'));
      expect(lines[0]).toMatch(/No space left/);
      expect(Number(lines[1])).toBeLessThanOrEqual(65_536);
      expect(lines[2]).toMatch(/No space left/);
      expect(Number(lines[3])).toBeLessThan(24 * 1024 * 1024);
    });
  });

  it("cannot change or read the host's files where its users are mapped", async () => {
    const secrets = join(folder, 'secrets');
    mkdirSync(secrets);
    writeFileSync(join(secrets, 'private'), 'private', { mode: 0o600 });
    writeFileSync(join(secrets, 'public'), 'public', { mode: 0o644 });
    chmodSync(folder, 0o755);
    const devices = `<filesystem type='mount'><source dir='${secrets}'/><target dir='/mnt'/></filesystem>`;
    const { output } = await run(
      'cd /mnt; cat public; cat private; echo x > public; touch new; rm -f public; chown 0 public; chmod 777 .; ln public l; id -u',
      { rest: MAPPED, devices },
    );
    expect(output).toMatch(/^public/);
    expect(output).toMatch(/\n0\n$/);
    expect(output).not.toMatch(/^private/m);
    expect(readdirSync(secrets).toSorted()).toEqual(['private', 'public']);
    expect(readFileSync(join(secrets, 'public'), 'utf8')).toBe('public');
    expect(statSync(join(secrets, 'public')).uid).toBe(0);
  });

  it.each(['dev', 'proc', 'sys', 'mnt'])('cannot lead what is mounted on /%s to the host by a link', async (name) => {
    const outside = join(folder, `outside-${name}`);
    mkdirSync(outside);
    const evil = join(folder, `evil-${name}`);
    mkdirSync(evil);
    const evilRoot = makeBusyboxRoot(evil);
    rmSync(join(evilRoot, name), { recursive: true });
    symlinkSync(outside, join(evilRoot, name));
    mkdirSync(join(evilRoot, outside), { recursive: true });
    const devices = `<filesystem type='ram'><source usage='64'/><target dir='/mnt/deep'/></filesystem>`;
    const before = readFileSync('/proc/self/mountinfo', 'utf8');
    // Whether the runtime refuses or mounts below the container's root is its choice.
    const outcome = await run('echo inside', { rootfs: evilRoot, devices }).then(
      ({ output }) => output,
      (error: unknown) => (error instanceof VirtError ? 'refused' : String(error)),
    );
    expect(outcome).toMatch(/inside|^refused$/);
    expect(readdirSync(outside)).toEqual([]);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
  });

  it('leaves no mounts, loop devices or processes, whoever is killed', async () => {
    const image = join(folder, 'image');
    execFileSync('truncate', ['-s', '4M', image]);
    execFileSync('mkfs.ext4', ['-q', image]);
    const devices = `<filesystem type='file'><source file='${image}'/><target dir='/mnt'/></filesystem>`;
    const before = readFileSync('/proc/self/mountinfo', 'utf8');
    const loops = (): string => execFileSync('losetup', ['-j', image], { encoding: 'utf8' });

    await using box = await startBox({ folder, rootfs, line: 'echo up; sleep 1000', devices });
    await box.until('up');
    expect(loops()).toContain(image);
    const runtime = listDescendants(process.pid).find(({ pid }) => commandOf(pid).some((one) => /^\S*crun /.test(one)));
    if (runtime === undefined) throw new Error('there is no crun');
    process.kill(runtime.pid, 'SIGKILL');
    await box.ended;
    await expect.poll(loops, { timeout: 5000 }).toBe('');

    const program = await bundleScript(fileURLToPath(new URL('container-parent.ts', import.meta.url)));
    const caller = spawn(process.execPath, [program, folder, rootfs, devices], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const initPid = await new Promise<string>((resolve) =>
      caller.stdout.once('data', (data) => resolve(String(data).trim())),
    );
    expect(loops()).toContain(image);
    caller.kill('SIGKILL');
    await expect.poll(loops, { timeout: 5000 }).toBe('');
    expect(commandOf(Number(initPid))).toEqual([]);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
  });
});

/** None for one that has ended, also where nobody has reaped it. */
function commandOf(pid: number): string[] {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return command === '' ? [] : [command];
  } catch {
    return [];
  }
}

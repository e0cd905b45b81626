/**
 * Containers on runc, which has other ways than crun: it puts them into groups and limits devices itself, mounts nothing in /proc, and does not stay with
 * them. What comes out is to be the same.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect, VirtError } from '../../src/index.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { listDescendants, listProcesses } from '../../src/process/proc.ts';
import { canRunOnRunc, makeBusyboxRoot, RUNC_SETTINGS } from '../support/busybox-root.ts';
import { commandOf } from '../support/command-of.ts';
import { startDaemon } from '../support/daemon.ts';
import { escapeXml } from '../support/domain-xml.ts';
import { SYSTEMD_IMAGE_TOOLS, systemdImage } from '../support/guests/systemd-image.ts';
import { pollUntil } from '../support/poll.ts';
import { giveToTestUser, makeTestUser } from '../support/test-user.ts';
import { StreamText } from '../support/until.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const RUN = `runc${process.pid}`;
const NAMED = '/sys/fs/cgroup/systemd';
const MAPPED =
  "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap>";
const PRIVATE = '<features><privnet/></features>';
const disk = readdirSync('/sys/class/block').find((name) => existsSync(`/dev/${name}`));
const hasV1 = existsSync('/sys/fs/cgroup/devices/cgroup.procs');
const missing = [...Object.keys(SYSTEMD_IMAGE_TOOLS), 'debugfs'].filter((name) => lookUpProgram(name) === undefined);
const canBootSystemd = missing.length === 0 && existsSync(`${NAMED}/cgroup.procs`);

interface Given {
  readonly rest?: string;
  readonly devices?: string;
  readonly root?: string;
  readonly init?: string;
}

describe.skipIf(!canRunOnRunc())('a container on runc', () => {
  let folder = '';
  let state = '';
  let rootfs = '';
  let connection: Connection;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-runc-'));
    rootfs = makeBusyboxRoot(folder);
    chmodSync(folder, 0o755);
    state = join(folder, 'state');
    writeSettings(state);
    connection = await connect(`lxc:///embed?root=${state}`);
  });
  afterAll(async () => {
    await connection.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function writeSettings(dir: string): void {
    mkdirSync(join(dir, 'etc'), { recursive: true });
    for (const [name, content] of Object.entries(RUNC_SETTINGS)) writeFileSync(join(dir, name), content);
  }

  function xml(name: string, line: string, { rest = '', devices = '', root, init }: Given = {}): string {
    const given =
      init === undefined
        ? `<init>/bin/sh</init><initarg>-c</initarg><initarg>${escapeXml(line)}</initarg>`
        : `<init>${init}</init>`;
    return `<domain type='lxc'><name>${name}-${RUN}</name><memory unit='MiB'>64</memory><os><type>exe</type>${given}</os>${rest}
      <devices>${root ?? `<filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>`}${devices}<console type='pty'/></devices></domain>`;
  }

  /** All that it has printed. */
  async function outputOf(line: string, given: Given = {}): Promise<string> {
    const domain = await connection.createDomain(xml('box', `${line}; echo "=$?="`, given));
    const text = new StreamText(domain.console().stream());
    await text.until(/=\d+=/);
    await domain.waitForStop();
    return text.text.replaceAll('\r\n', '\n');
  }

  /** Groups, processes and interfaces of these containers. */
  function leftOvers(): string[] {
    const groups = execFileSync('find', ['/sys/fs/cgroup', '-type', 'd', '-name', `*${RUN}*`], { encoding: 'utf8' });
    const processes = listProcesses().flatMap(({ pid, gone }) => {
      const command = gone || pid === process.pid ? '' : commandOf(pid);
      return command.includes(folder) ? [command] : [];
    });
    return [...groups.trim().split('\n').filter(Boolean), ...processes];
  }

  it('is one of runc', async () => {
    const domain = await connection.createDomain(xml('which', 'sleep 1000'));
    const keeper = listDescendants(process.pid).find(({ pid }) => /^\S*conmon /.test(commandOf(pid)))?.pid ?? 0;
    expect(commandOf(keeper)).toMatch(/--runtime=\S*\/runc /);
    // Where memory runs out it writes a file in the folder where it works.
    expect(commandOf(keeper)).toContain(`--socket-dir-path=${readlinkSync(`/proc/${keeper}/cwd`)} `);
    await domain.destroy();
    await pollUntil(
      () => leftOvers().length === 0,
      () => leftOvers().join('\n'),
    );
  });

  it('is what --dry-run of the command shows, where lxc.conf says so', () => {
    const file = join(folder, 'shown.xml');
    writeFileSync(file, xml('shown', 'true'));
    const shown = (...words: string[]): string =>
      execFileSync(CLI, ['run', '--dry-run', ...words, file], { encoding: 'utf8' });
    expect(shown('--root', state)).toMatch(/exec \S*\/conmon .*--runtime=\S*\/runc /);
    if (lookUpProgram('crun') !== undefined) expect(shown()).toMatch(/exec \S*\/crun /);
  });

  it.each([
    ['its root is the host’s', ''],
    ['its users are mapped', MAPPED],
  ])('changes settings of its own network and none of the host’s, where %s', async (_, rest) => {
    const settings = '/proc/sys/kernel/panic /proc/sys/vm/swappiness /proc/sys/fs/file-max /sys/kernel/mm/ksm/run';
    const line = `for f in ${settings} /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/cgroup.procs; do [ -e $f ] && (cat $f >$f) 2>/dev/null && echo WROTE $f; done
      echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward; ls /sys/class/net`;
    const output = await outputOf(line, { rest: `${rest}${PRIVATE}` });
    expect(output).not.toContain('WROTE');
    expect(output).toMatch(/^1\nlo\n=0=/);
  });

  it.skipIf(!hasV1 || disk === undefined)('cannot reach devices that it was not given, by whatever node', async () => {
    const { rdev } = statSync(`/dev/${disk}`);
    const line = `mknod /dev/shm/one b ${(rdev >> 8) & 0xfff} ${rdev & 0xff}; (: </dev/shm/one) 2>/dev/null && echo OPENED
      mount -t devtmpfs d /mnt && for n in ${disk} kmsg kvm mem; do [ -e /mnt/$n ] && (: </mnt/$n) 2>/dev/null && echo OPENED $n; done
      head -c 2 /dev/zero | wc -c; (: </dev/loop-control) && echo given`;
    const output = await outputOf(line, {
      rest: "<features><capabilities policy='allow'/></features>",
      devices: "<hostdev mode='capabilities' type='misc'><source><char>/dev/loop-control</char></source></hostdev>",
    });
    expect(output).not.toContain('OPENED');
    expect(output).toMatch(/2\ngiven\n=0=/);
  });

  it('is told of its limits, runs programs with them, and starts again when it is rebooted', async () => {
    const line =
      'if [ -e /tmp/again ]; then touch /tmp/second; sleep 1000; fi; touch /tmp/again; echo up; read -r go; reboot -f; sleep 1000';
    const domain = await connection.createDomain(xml('again', line));
    const stream = domain.console().stream();
    await new StreamText(stream).until('up');
    const memory = '/sys/fs/cgroup/memory/memory.limit_in_bytes';
    const groups = async (file: string): Promise<string> =>
      String((await domain.exec(['sh', '-c', `cat ${file}`])).stdout);
    if (hasV1) expect((await groups(memory)).trim()).toBe(String(64 * 1024 * 1024));
    expect(await groups('/proc/self/cgroup')).toBe(await groups('/proc/1/cgroup'));
    const { status } = await domain.exec(['sh', '-c', 'exit 9']);
    expect(status).toBe(9);
    stream.write('go\n');
    await pollUntil(() => existsSync(join(rootfs, 'tmp/second')), 'it is not rebooted');
    expect((await domain.exec(['echo', 'there'])).stdout.toString()).toBe('there\n');
    await domain.destroy();
    await pollUntil(
      () => leftOvers().length === 0,
      () => leftOvers().join('\n'),
    );
  });

  it.skipIf(!hasV1 || disk === undefined)('says that its I/O cannot be limited on cgroup v1', async () => {
    const notes: string[] = [];
    writeSettings(join(folder, 'io'));
    await using other = await connect(`lxc:///embed?root=${folder}/io`, { onNote: (note) => notes.push(note) });
    const rest = `<blkiotune><device><path>/dev/${disk}</path><read_iops_sec>100</read_iops_sec></device></blkiotune>`;
    const domain = await other.createDomain(xml('io', 'sleep 1000', { rest }));
    await domain.destroy();
    expect(notes.join('\n')).toContain('<blkiotune> has no effect on cgroup v1 with runc');
  });

  it('that needs more memory than it may have is ended, which is said', async () => {
    const line = 'dd if=/dev/zero of=/dev/shm/x bs=1M count=200; x=$(cat /dev/zero | head -c 200m)';
    const domain = await connection.createDomain(xml('oom', line));
    const { reason } = await domain.waitForStop();
    expect(reason).toMatch(/more memory/);
  });

  it.each(['dev', 'proc', 'sys', 'mnt'])('has nothing mounted outside by a link for /%s in its root', async (name) => {
    const outside = join(folder, `outside-${name}`);
    const evil = join(folder, `evil-${name}`);
    for (const path of [outside, evil]) mkdirSync(path);
    const linked = makeBusyboxRoot(evil);
    rmSync(join(linked, name), { recursive: true });
    symlinkSync(outside, join(linked, name));
    mkdirSync(join(linked, outside), { recursive: true });
    const before = readFileSync('/proc/self/mountinfo', 'utf8');
    // Whether runc refuses or mounts below the container's root is its choice.
    const outcome = await outputOf('echo inside', {
      root: `<filesystem type='mount'><source dir='${linked}'/><target dir='/'/></filesystem>`,
      devices: "<filesystem type='ram'><source usage='64'/><target dir='/mnt/deep'/></filesystem>",
    }).catch((error: unknown) => (error instanceof VirtError ? 'refused' : String(error)));
    expect(outcome).toMatch(/inside|^refused$/);
    expect(readdirSync(outside)).toEqual([]);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
  });

  it('says why it does not start', async () => {
    await expect(connection.createDomain(xml('bad', '', { init: '/no/such' }))).rejects.toThrow(
      /^cannot start container bad-\S+: .*"?\/no\/such"?: (stat .*)?no such file/,
    );
    expect(leftOvers()).toEqual([]);
  });

  it.skipIf(!canBootSystemd)('is a whole system with groups of its own', { timeout: 120_000 }, async () => {
    const image = join(folder, 'image');
    copyFileSync(await systemdImage(), image);
    // A first boot would ask questions.
    writeFileSync(join(folder, 'machine-id'), '0123456789abcdef0123456789abcdef\n');
    execFileSync('debugfs', ['-w', '-R', `write ${join(folder, 'machine-id')} etc/machine-id`, image], {
      stdio: 'ignore',
    });
    const root = `<filesystem type='file'><source file='${image}'/><target dir='/'/></filesystem>`;
    const domain = await connection.createDomain(
      xml('system', '', {
        root,
        init: '/lib/systemd/systemd',
        rest: '<memtune><hard_limit unit="MiB">256</hard_limit></memtune>',
      }),
    );
    const text = new StreamText(domain.console().stream());
    await text.until('login:');
    const own = execFileSync('find', [NAMED, '-path', `*${RUN}*`, '-name', 'system.slice'], { encoding: 'utf8' });
    expect(own).toContain(`system-${RUN}`);
    await domain.shutdown();
    await domain.waitForStop();
    expect(text.text).toMatch(/Reached target.*(poweroff|shutdown)/);
    await pollUntil(
      () => leftOvers().length === 0,
      () => leftOvers().join('\n'),
    );
  });

  it('ends with its caller, and with conmon, and leaves nothing', async () => {
    for (const victim of ['caller', 'conmon']) {
      const file = join(folder, `${victim}.xml`);
      writeFileSync(file, xml(victim, 'echo up; setsid sleep 1000 & sleep 1000'));
      const dir = join(folder, victim);
      writeSettings(dir);
      const caller = spawn(CLI, ['run', '--console', '--root', dir, file], { stdio: ['ignore', 'pipe', 'pipe'] });
      let words = '';
      caller.stdout.on('data', (chunk) => (words += String(chunk)));
      const ended = new Promise<void>((resolve) => caller.once('exit', () => resolve()));
      await pollUntil(() => words.includes('up'), 'it does not start');
      const conmon = listDescendants(caller.pid ?? 0).find(({ pid }) => /^\S*conmon /.test(commandOf(pid)));
      process.kill(victim === 'caller' ? (caller.pid ?? 0) : (conmon?.pid ?? 0), 'SIGKILL');
      await ended;
      await using _next = await connect(`lxc:///embed?root=${dir}`);
      await pollUntil(
        () => leftOvers().length === 0,
        () => leftOvers().join('\n'),
      );
    }
  });

  it('of a daemon outlives it', async () => {
    await using daemon = await startDaemon([], { files: RUNC_SETTINGS });
    const uri = daemon.uri.replace(/^qemu/, 'lxc');
    {
      await using first = await connect(uri);
      await first.createDomain(xml('kept', 'echo up; while :; do sleep 0.1; done'));
    }
    await daemon.crash();
    await using second = await connect(uri);
    const kept = await second.lookupDomainByName(`kept-${RUN}`);
    expect((await kept.exec(['echo', 'there'])).stdout.toString()).toBe('there\n');
    await kept.destroy();
    await pollUntil(
      () => leftOvers().length === 0,
      () => leftOvers().join('\n'),
    );
    expect(readdirSync(join(daemon.stateDir, 'run/lxc'))).toEqual([]);
  });

  it('is had by users without root', async () => {
    const home = mkdtempSync(join(folder, 'user-'));
    chmodSync(home, 0o755);
    const user = makeTestUser(home);
    writeSettings(join(user.home, 'state'));
    giveToTestUser(join(user.home, 'state'));
    const file = join(home, 'box.xml');
    writeFileSync(file, xml('user', 'id -u; cat /proc/sys/kernel/ostype; exit 3', { rest: PRIVATE }));
    const [command, ...args] = user.words([
      process.execPath,
      CLI,
      'run',
      '--console',
      '--root',
      join(user.home, 'state'),
      file,
    ]);
    const { status, stdout, stderr } = spawnSync(command, args, { env: user.env, encoding: 'utf8' });
    expect([stdout, status], stderr).toEqual(['0\r\nLinux\r\n', 3]);
  });
});

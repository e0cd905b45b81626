/** Programs in running containers: by `nestling exec` of a daemon and of an embedded one, signals, and the real virsh in their namespaces. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect, type Domain } from '../../src/index.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const BUSYBOX = '/bin/busybox';
const NAME = 'exec-box';
const missing = [
  ...(process.getuid?.() === 0 ? [] : ['root']),
  ...['crun', 'conmon', 'virsh', 'script'].filter((name) => lookUpProgram(name) === undefined),
  ...(existsSync(BUSYBOX) ? [] : ['busybox-static']),
];
if (missing.length > 0)
  process.stderr.write(`\nSKIPPED: programs in containers: this host lacks ${missing.join(', ')}\n`);

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(command: string, args: readonly string[], input = ''): Promise<Ended> {
  const child: ChildProcess = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (data) => (stdout += String(data)));
  child.stderr?.on('data', (data) => (stderr += String(data)));
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, stdout, stderr };
}

describe.skipIf(missing.length > 0)('programs in a container of a daemon', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nx-'));
  let daemon: TestDaemon;
  let connection: Connection;
  let guest: Domain;
  const exec = async (words: readonly string[], input = ''): Promise<Ended> =>
    await run(CLI, ['exec', '--connect', uri(), ...words], input);
  const uri = (): string => `lxc+unix:///system?socket=${daemon.socket}`;

  beforeAll(async () => {
    daemon = await startDaemon();
    connection = await connect(uri());
    guest = await connection.createDomain(definition(makeRoot(folder)));
  }, 60_000);

  afterAll(async () => {
    await guest.destroy();
    await connection.close();
    await daemon[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it('reads, prints and ends as a program of this host does', async () => {
    const line = 'read word; echo "out $word"; echo err >&2; exit 7';
    expect(await exec([NAME, '--', 'sh', '-c', line], 'typed\n')).toEqual({
      status: 7,
      stdout: 'out typed\n',
      stderr: 'err\n',
    });
    expect((await exec([NAME, '--', 'sh', '-c', 'kill -9 $$'])).status).toBe(137);
  });

  it('has the user, folder and variables that it is given, and the rest from the container', async () => {
    const line = 'id -u; id -g; pwd; echo $FOO $HOME $container';
    const words = ['-u', 'app', '-w', '/tmp', '-e', 'FOO=a b', NAME, '--', 'sh', '-c', line];
    expect((await exec(words)).stdout).toBe('1000\n1001\n/tmp\na b /home/app lxc-libvirt\n');
    expect(await exec(['-u', 'nobody-here', NAME, '--', 'id'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("the container has no user 'nobody-here'"),
    });
  });

  it('its variables are in no command line of the host', async () => {
    const secret = `secret-${process.pid}`;
    const there = join(folder, 'root/tmp/there');
    const line = 'echo $TOKEN; touch /tmp/there; while [ -e /tmp/there ]; do sleep 0.05; done';
    const running = guest.exec(['sh', '-c', line], { env: [`TOKEN=${secret}`] });
    await pollUntil(() => existsSync(there), 'it does not run');
    const commands = execFileSync('ps', ['-eo', 'args', '-ww'], { encoding: 'utf8' });
    rmSync(there);
    expect(commands).toContain('touch /tmp/there');
    expect(commands).not.toContain(secret);
    expect(String((await running).stdout)).toBe(`${secret}\n`);
  });

  it('shares the namespaces, limits and rights of the first program', async () => {
    const facts =
      'readlink /proc/$1/ns/pid /proc/$1/ns/mnt /proc/$1/ns/net; cat /proc/$1/cgroup; grep -E "^Cap(Bnd|Eff|Prm)" /proc/$1/status';
    const { stdout } = await exec([NAME, '--', 'sh', '-c', facts, 'sh', 'self']);
    const { stdout: init } = await exec([NAME, '--', 'sh', '-c', facts, 'sh', '1']);
    expect(stdout).toBe(init);
    expect(stdout).not.toContain(readlinkSync('/proc/self/ns/pid'));
  });

  it('a terminal is one of the container', async () => {
    const { stdout } = await run('script', ['-qec', `${CLI} exec --connect '${uri()}' -t ${NAME} -- tty`, '/dev/null']);
    // With the machine busy crun 1.8 now and then begins an error of its own there, a time without words.
    expect(stdout.replaceAll('^@', '')).toMatch(/(^|Z: )\/dev\/pts\/\d+\r?$/m);
  });

  it('the library has the output, and ends the program with the wait', async () => {
    const result = await guest.exec(['cat'], { input: Buffer.from('bytes') });
    expect([result.status, String(result.stdout)]).toEqual([0, 'bytes']);
    const waiting = new AbortController();
    const endless = guest.exec(['sh', '-c', 'echo > /tmp/begun; exec sleep 1000'], { signal: waiting.signal });
    while (!existsSync(join(folder, 'root/tmp/begun'))) await guest.exec(['true']);
    waiting.abort(new Error('enough'));
    await expect(endless).rejects.toThrow('enough');
    const isGone = async (): Promise<boolean> => !String((await guest.exec(['ps'])).stdout).includes('sleep 1000');
    await pollUntil(isGone, 'the program is still there');
  });

  it('virsh enters the namespaces', async () => {
    const words = [
      '-c',
      uri(),
      'lxc-enter-namespace',
      NAME,
      '--noseclabel',
      '--',
      '/bin/sh',
      '-c',
      'echo $$ in $(hostname); exit 3',
    ];
    const { stdout } = await run('virsh', words);
    expect(stdout).toMatch(/^\d+ in exec-box\n/);
    const fds = await guest.openNamespaces();
    for (const fd of fds) closeSync(fd);
    expect(fds.length).toBeGreaterThanOrEqual(4);
  });

  it('descriptors do not get mixed up with what else is answered', async () => {
    const calls = Array.from({ length: 20 }, async (_, index) => {
      if (index % 2 === 0) return await guest.info();
      for (const fd of await guest.openNamespaces()) closeSync(fd);
      return undefined;
    });
    await expect(Promise.all(calls)).resolves.toHaveLength(20);
  });

  it('virsh signals a process by its number inside', async () => {
    const { stdout } = await run('virsh', ['-c', uri(), 'send-process-signal', NAME, '1', 'usr1']);
    expect(stdout.trim()).toBe('');
    while (!existsSync(join(folder, 'root/tmp/usr1'))) await guest.exec(['true']);
    await expect(guest.sendSignal(31_999, 15)).rejects.toThrow(/has no process 31999/);
    await expect(guest.sendSignal(1, 99)).rejects.toThrow(/no signal 99/);
  });

  it('what is not there is said so', async () => {
    expect(await exec(['nobody', '--', 'true'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("Domain not found: no domain with matching name 'nobody'"),
    });
  });
});

describe.skipIf(missing.length > 0)('programs in an embedded container', () => {
  it('run --listen lets exec in', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nx-'));
    const socket = join(folder, 'sock');
    writeFileSync(join(folder, 'box.xml'), definition(makeRoot(folder)));
    const runner = spawn(CLI, ['run', '--listen', socket, join(folder, 'box.xml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    try {
      // Until the guest is there.
      let ended = await run(CLI, ['exec', '--socket', socket, NAME, '--', 'echo', 'in']);
      for (let tries = 0; ended.status !== 0 && tries < 50; tries++) {
        ended = await run(CLI, ['exec', '--socket', socket, NAME, '--', 'echo', 'in']);
      }
      expect(ended).toEqual({ status: 0, stdout: 'in\n', stderr: '' });
    } finally {
      const gone = new Promise((resolve) => runner.once('exit', resolve));
      runner.kill('SIGTERM');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    }
  }, 60_000);
});

/** A root of busybox; `app` has a group of its own. */
function makeRoot(folder: string): string {
  const root = join(folder, 'root');
  for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(root, name), { recursive: true });
  cpSync(BUSYBOX, join(root, 'bin/busybox'));
  const applets = execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  for (const applet of applets) if (applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n');
  return root;
}

function definition(root: string): string {
  const line = "trap 'echo > /tmp/usr1' USR1; while true; do sleep 0.05; done";
  return `<domain type='lxc'><name>${NAME}</name><memory unit='MiB'>128</memory>
    <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>${line}</initarg></os>
    <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
}

/** A user's own daemon (`lxc:///session`) with the real virsh, `nestling run` and `exec` of that user; whatever is killed, nothing of it is left. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';
import { giveToTestUser, makeTestUser, TEST_USER, type TestUser } from '../support/test-user.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const NAME = 'sess-box';
const LINE = "trap 'exit 3' TERM; echo begun; sleep 1000 & while :; do sleep 0.1; done";
const isAble = canRunContainers() && lookUpProgram('conmon') !== undefined && lookUpProgram('virsh') !== undefined;
if (!isAble) process.stderr.write('\nSKIPPED: a session of containers takes conmon and virsh\n\n');

interface Outcome {
  readonly status: number;
  readonly words: string;
}

describe.runIf(isAble)('a session', () => {
  let folder = '';
  let user: TestUser;
  let daemon: TestDaemon;
  let xml = '';
  let root = '';

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'session-'));
    user = makeTestUser(folder);
    root = makeBusyboxRoot(folder);
    giveToTestUser(root);
    xml = join(folder, 'box.xml');
    writeFileSync(xml, containerXml(root));
    daemon = await startDaemon(['--session'], asUser());
  });
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const asUser = () => ({ prefix: user.words([]), env: user.env, owner: TEST_USER.uid });
  const uri = (): string => `lxc+unix:///session?socket=${daemon.socket}`;
  const run = async (...words: string[]): Promise<Outcome> => {
    const [command, ...args] = user.words(words);
    try {
      const { stdout, stderr } = await promisify(execFile)(command, args, { env: user.env });
      return { status: 0, words: stdout + stderr };
    } catch (error) {
      if (!(error instanceof Error && 'stdout' in error && 'stderr' in error && 'code' in error)) throw error;
      return { status: Number(error.code), words: `${String(error.stdout)}${String(error.stderr)}` };
    }
  };
  const virsh = async (...args: string[]): Promise<string> => (await run('virsh', '-q', '-c', uri(), ...args)).words;
  const exec = async (...args: string[]) => await run(CLI, 'exec', '--connect', uri(), NAME, '--', ...args);
  const stateOf = async (): Promise<string> => (await virsh('domstate', NAME)).trim();
  const containers = (): string[] => processesOf().filter((line) => line.includes('conmon') || line.includes('sleep'));

  it('keeps a container over the death of its daemon', async () => {
    expect(await virsh('define', xml)).toBe('');
    expect(await virsh('start', NAME)).toBe('');
    expect(await exec('sh', '-c', 'id -u; exit 4')).toEqual({ status: 4, words: '0\n' });
    expect(await virsh('domstats', NAME)).toMatch(/cgroup.pids=[1-9]/);
    await daemon.crash(asUser());
    expect(await stateOf()).toBe('running');
    expect(await exec('true')).toMatchObject({ status: 0 });
    await virsh('suspend', NAME);
    expect(await stateOf()).toBe('paused');
    await daemon.crash(asUser());
    expect(await stateOf()).toBe('paused');
    await virsh('resume', NAME);
    await virsh('shutdown', NAME);
    await pollUntil(async () => (await stateOf()) === 'shut off', 'it does not end');
    expect(containers()).toEqual([]);
  });

  // One with a second console is forked by the daemon, as its terminal is to be held outside of it.
  it.each([
    ['conmon', 1],
    ['conmon', 2],
    ['--kill-child', 2],
  ])('leaves nothing when %s of a container with %i consoles is killed', async (what, count) => {
    writeFileSync(xml, containerXml(root, count));
    await virsh('undefine', NAME);
    expect(await virsh('define', xml)).toBe('');
    expect(await virsh('start', NAME)).toBe('');
    const line = processesOf().find((words) => words.includes(what)) ?? '';
    process.kill(Number.parseInt(line, 10), 'SIGKILL');
    await pollUntil(async () => (await stateOf()) === 'shut off', 'it is said to run');
    await pollUntil(
      () => containers().length === 0,
      () => containers().join('\n'),
    );
    // It is said to be off while what it had is still being removed.
    await pollUntil(() => readdirSync(join(daemon.stateDir, 'run/lxc')).length === 0, 'its folder stays');
  });

  it('removes what a daemon has left that died with its containers', async () => {
    await virsh('start', NAME);
    await daemon.stop('SIGKILL');
    for (const line of processesOf().filter((words) => words.includes('/conmon '))) {
      process.kill(Number.parseInt(line, 10), 'SIGKILL');
    }
    await pollUntil(
      () => containers().length === 0,
      () => containers().join('\n'),
    );
    await daemon.start(asUser());
    expect(await stateOf()).toBe('shut off');
    expect(readdirSync(join(daemon.stateDir, 'run/lxc'))).toEqual([]);
  });

  it('is not needed for nestling run, whose container ends with it', async () => {
    const [command, ...args] = user.words([CLI, 'run', '--console', xml]);
    const child = spawn(command, args, { env: user.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let words = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (words += String(data)));
    while (!words.includes('begun')) await once(child.stdout, 'data');
    expect(words).toContain('memory and processes are not limited: this user may make no cgroup here');
    expect(containers()).not.toEqual([]);
    child.kill('SIGKILL');
    await once(child, 'close');
    await pollUntil(
      () => containers().length === 0,
      () => containers().join('\n'),
    );
    const planned = await run(CLI, 'run', '--dry-run', xml);
    expect(planned.words).toMatch(
      /^unshare --user --keep-caps .*newuidmap.*"PID","0","61234","1","1","1061234","65536"/s,
    );
  });

  it('is refused with the reason where the engine around it has covered /proc', async () => {
    const cover = [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      'mount --bind /dev/null /proc/version && exec "$@"',
      'sh',
    ];
    const words = ['unshare', ...cover, ...user.words([CLI, 'run', xml])];
    const child = spawn(words[0] ?? '', words.slice(1), { env: user.env, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (data) => (said += String(data)));
    await once(child, 'close');
    expect(said).toMatch(
      /not started by root needs user namespaces: \/proc\/version is covered.*systempaths=unconfined/,
    );
    expect((await run(CLI, 'doctor', xml)).words).toMatch(/nestling-test may start it/);
  });

  it('does not change the devices of a running container, and says who may', async () => {
    await virsh('start', NAME);
    const device = join(folder, 'device.xml');
    writeFileSync(device, "<filesystem type='mount'><source dir='/usr'/><target dir='/mnt'/></filesystem>");
    expect(await virsh('attach-device', NAME, device)).toMatch(/root's to change: change its definition.*--config/);
    expect(await virsh('attach-device', NAME, device, '--config')).toBe('');
    expect(await virsh('setmem', NAME, '32M', '--live')).toMatch(
      /started without a cgroup, by a user who may make none.*systemd-run --user/,
    );
    await virsh('destroy', NAME);
    await virsh('start', NAME);
    expect((await exec('ls', '/mnt')).words).toContain('bin');
    await virsh('destroy', NAME);
  });

  function containerXml(root: string, consoles = 1): string {
    return `<domain type='lxc'><name>${NAME}</name><memory unit='MiB'>64</memory>
      <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg><![CDATA[${LINE}]]></initarg></os>
      <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem>${"<console type='pty'/>".repeat(consoles)}</devices></domain>`;
  }
});

/** Living ones of the user: pid and words. */
function processesOf(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || !existsSync(`/proc/${pid}/status`)) return [];
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      if (!new RegExp(`^Uid:\\s+${TEST_USER.uid}\\b`, 'm').test(status) || /^State:\s+[ZX]/m.test(status)) return [];
      return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')}`];
    } catch {
      return [];
    }
  });
}

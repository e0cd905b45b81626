/** `nestling exec` in virtual machines: with the real guest agent in a Linux guest, and where none answers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { connect } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { AGENT_CHANNEL, agentGuest, whyNoAgentGuest } from '../support/guests/agent-guest.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { LINUX_GUEST_CMDLINE } from '../support/guests/linux-guest.ts';
import { GUEST_TIMEOUTS } from '../support/guests/program-guest.ts';
import { pollUntil } from '../support/poll.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const why = whyNoAgentGuest();
if (why !== undefined) process.stderr.write(`\nSKIPPED: programs in virtual machines: ${why}\n\n`);

vi.setConfig(GUEST_TIMEOUTS);

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(args: readonly string[], input = ''): Promise<Ended> {
  const child = spawn(CLI, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => (stdout += String(data)));
  child.stderr.on('data', (data) => (stderr += String(data)));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

describe.skipIf(why !== undefined)('nestling exec in a virtual machine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ga-'));
  const socket = join(folder, 'sock');
  let runner: ChildProcess;
  let words = '';

  const exec = async (words_: readonly string[], input = ''): Promise<Ended> =>
    await run(['exec', '--socket', socket, ...words_], input);

  beforeAll(async () => {
    const { kernel, initrd, image } = await agentGuest();
    const xml = domainXml({
      name: 'agent',
      memoryMiB: 512,
      kernel,
      initrd,
      cmdline: `${LINUX_GUEST_CMDLINE} loglevel=1`,
      disks: [{ path: image, readonly: true }],
      devices: AGENT_CHANNEL,
    });
    writeFileSync(join(folder, 'agent.xml'), xml);
    runner = spawn(CLI, ['run', '--listen', socket, join(folder, 'agent.xml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    runner.stderr?.on('data', (data) => (words += String(data)));
    let said = '';
    // Until the agent is there each of them says that it is not.
    await pollUntil(
      async () => {
        if (runner.exitCode !== null) throw new Error(`the guest has ended: ${words}`);
        const ended = await exec(['agent', '--', 'true']);
        said = ended.stderr;
        return ended.status === 0;
      },
      () => `the agent does not answer: ${said}`,
      { timeoutMs: 300_000 },
    );
  });

  afterAll(async () => {
    const ended = once(runner, 'exit');
    if (runner.exitCode === null && runner.kill('SIGTERM')) await ended;
    rmSync(folder, { recursive: true, force: true });
  });

  it('has its output, errors, input and status', async () => {
    const line = 'read -r word; echo "out $word"; echo err >&2; exit 7';
    expect(await exec(['agent', '--', 'sh', '-c', line], 'typed\n')).toEqual({
      status: 7,
      stdout: 'out typed\n',
      stderr: 'err\n',
    });
    expect((await exec(['agent', '--', 'sh', '-c', 'kill -9 $$'])).status).toBe(137);
  });

  it('has the user, folder and variables that it is given, and words as they are', async () => {
    const words_ = ['-u', 'app', '-w', '/tmp', '-e', 'FOO=a  b', 'agent', '--', 'sh', '-c'];
    expect(await exec([...words_, 'id -u; pwd; echo "$FOO $1"', 'sh', '$HOME "x"'])).toEqual({
      status: 0,
      stdout: '1000\n/tmp\na  b $HOME "x"\n',
      stderr: '',
    });
  });

  it('carries much, and bytes that are no text', async () => {
    await using connection = await connect(`qemu+unix:///system?socket=${socket}`);
    const guest = await connection.lookupDomainByName('agent');
    const input = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * 7) % 256));
    const { status, stdout } = await guest.exec(['cat'], { input });
    expect(status).toBe(0);
    expect(stdout.equals(input)).toBe(true);
    await expect(guest.exec(['sleep', '1000'], { signal: AbortSignal.timeout(200) })).rejects.toThrow();
    // The agent answers others while that one runs on.
    expect((await guest.exec(['true'])).status).toBe(0);
  });

  it('says what is wrong: no such program, no such guest, no terminal', async () => {
    expect(await exec(['agent', '--', '/no/such/program'])).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/\/no\/such\/program/),
    });
    expect(await exec(['nobody', '--', 'true'])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/no domain with .*name 'nobody'/),
    });
    expect(await exec(['-t', 'agent', '--', 'true'])).toMatchObject({
      stderr: expect.stringContaining('a guest agent has no terminals'),
    });
  });

  it.each([
    ['no channel for an agent', '', /agent/],
    ['a channel that nobody in the guest listens on', AGENT_CHANNEL, /agent/],
  ])('says so where the guest has %s', async (_, devices, expected) => {
    const file = join(folder, 'mute.xml');
    const mute = join(folder, 'mute.sock');
    writeFileSync(
      file,
      domainXml({ name: 'mute', disks: [{ path: await bootSectorImage('halt'), readonly: true }], devices }),
    );
    const other = spawn(CLI, ['run', '--listen', mute, file], { stdio: 'ignore' });
    const ended = once(other, 'exit');
    try {
      let said: Ended = { status: null, stdout: '', stderr: '' };
      await pollUntil(
        async () => {
          said = await run(['exec', '--socket', mute, 'mute', '--', 'true']);
          return !/nothing listens|no domain|not running/.test(said.stderr);
        },
        () => said.stderr,
      );
      expect(said).toMatchObject({ status: 1, stdout: '', stderr: expect.stringMatching(expected) });
    } finally {
      other.kill('SIGTERM');
      await ended;
    }
  });
});

/** What `nestling run` reports: JSON lines, the plan, the timeline, the monitor's trace without secrets; and secrets themselves. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareRuntimeDir } from '../../src/core/fs-runtime-dir.ts';
import { readHostFacts } from '../../src/host/host-facts.ts';
import { createLuksImage } from '../support/luks.ts';
import { nestling, quote, shell, startNestling, writeGuest } from './cli-session.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cli-output-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const MARKS = [
  'started',
  'xml-parsed',
  'capabilities',
  'validated',
  'qemu-spawned',
  'monitor-ready',
  'running',
  'first-guest-byte',
  'guest-exit',
  'cleaned-up',
];

/** Every line of output as JSON. */
function parseLines(stdout: string): Record<string, unknown>[] {
  expect(stdout.endsWith('\n')).toBe(true);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('--json', () => {
  it('writes every event on a line: marks in order, events with libvirt’s names, the end', async () => {
    const { status, stdout, stderr } = await nestling(['run', '--json', await writeGuest(scratch, 'poweroff')]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = parseLines(stdout);
    const marks = lines.filter(({ event }) => event === 'mark');
    expect(marks.map(({ name }) => name)).toEqual(MARKS);
    const times = marks.map(({ ms }) => Number(ms));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    const lifecycle = lines
      .filter(({ event }) => event === 'lifecycle')
      .map(({ type, detail }) => `${String(type)} ${String(detail)}`);
    expect(lifecycle).toEqual(['resumed unpaused', 'started booted', 'shutdown guest', 'stopped shutdown']);
    expect(lines.at(-1)).toEqual({ event: 'end', status: 0 });
  });

  it.each([
    ['a fault', ['/nonexistent.xml'], { event: 'end', status: 2 }],
    ['a timeout', ['--timeout', '1ms', 'GUEST'], { event: 'end', status: 124, reason: 'timeout' }],
  ])('reports %s and the end', async (_, args, end) => {
    const guest = await writeGuest(scratch, 'halt');
    const { stdout } = await nestling(['run', '--json', ...args.map((arg) => (arg === 'GUEST' ? guest : arg))]);
    const lines = parseLines(stdout);
    expect(lines).toContainEqual(expect.objectContaining({ event: 'error', message: expect.stringMatching(/./) }));
    expect(lines.at(-1)).toEqual(end);
  });

  it('reports the signal that ended it', async () => {
    await using run = await startNestling(['run', '--json', await writeGuest(scratch, 'halt')]);
    await run.stdout.until('first-guest-byte');
    run.process.kill('SIGTERM');
    expect(parseLines((await run.ended).stdout).at(-1)).toEqual({ event: 'end', status: 143, reason: 'SIGTERM' });
  });
});

describe('--timeline, --verbose, --debug', () => {
  it('--timeline prints a table on standard error, beside the console', async () => {
    const guest = await writeGuest(scratch, 'poweroff');
    const { stdout, stderr } = await nestling(['run', '--console', '--timeline', guest]);
    expect(stdout).not.toContain('timeline');
    const [title, ...rows] = stderr.trimEnd().split('\n');
    expect(title).toMatch(/^timeline \(milliseconds/);
    expect(rows.map((row) => row.replace(/\s+[\d.]+\s+\+[\d.]+$/, '').trim())).toEqual([
      'nestling started',
      'XML parsed',
      'capabilities known',
      'definition validated',
      'QEMU spawned',
      'monitor ready',
      'guest running',
      'first guest byte',
      'guest exit',
      'clean-up done',
    ]);
  });

  it('-v says what happens on standard error only', async () => {
    const { stdout, stderr } = await nestling(['run', '-v', await writeGuest(scratch, 'poweroff')]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^\d+\.\d{3}s qemu-spawned$/m);
    expect(stderr).toContain('domain cli-poweroff started (booted)\n');
  });

  it('-d shows the monitor, but no password', async () => {
    const password = 'hush2345';
    const graphics = `<graphics type='vnc' autoport='yes' listen='127.0.0.1' passwd='${password}'/>`;
    const guest = await writeGuest(scratch, 'poweroff', { name: 'vnc', devices: graphics });
    const run = await nestling(['run', '-d', guest]);
    expect(run.status, run.stderr).toBe(0);
    expect(run.stderr).toMatch(/^> .*"execute":"set_password"/m);
    expect(run.stderr).toMatch(/^< .*"QMP"/m);
    expect(run.stderr).not.toContain(password);
    for (const args of [['--dry-run'], ['--dry-run', '--json']]) {
      const plan = await nestling(['run', ...args, guest]);
      expect(plan.status, plan.stderr).toBe(0);
      expect(plan.stdout).toContain('set_password');
      expect(plan.stdout).not.toContain(password);
    }
  });
});

describe('--dry-run', () => {
  it('prints the command line; starts nothing, makes nothing', async () => {
    const root = join(scratch, 'not-made');
    const runtime = prepareRuntimeDir();
    const temporary = join(scratch, 'dry-tmp');
    mkdirSync(temporary);
    const before = readdirSync(runtime);
    const guest = await writeGuest(scratch, 'poweroff');
    const { status, stdout, stderr } = await nestling(['run', '--dry-run', '-r', root, guest]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^\/usr\/bin\/qemu-system-x86_64 \\$/m);
    expect(stdout).toContain(`"path":"${root}/log/qemu/cli-poweroff-serial0.log"`);
    expect(existsSync(root)).toBe(false);
    expect((await nestling(['run', '--dry-run', guest], { env: { TMPDIR: temporary } })).status).toBe(0);
    expect(readdirSync(temporary)).toEqual([]);
    expect(readdirSync(runtime).filter((name) => !before.includes(name) && name !== 'ledger')).toEqual([]);
  });

  it('with --json prints one document', async () => {
    const { stdout } = await nestling(['run', '--dry-run', '--json', '-v', await writeGuest(scratch, 'poweroff')]);
    expect(JSON.parse(stdout)).toMatchObject({
      binary: '/usr/bin/qemu-system-x86_64',
      arguments: expect.arrayContaining(['-machine']),
      fds: expect.arrayContaining([{ kind: 'socketpair', name: 'serial0' }]),
    });
  });
});

describe('--accel', () => {
  it('tcg and auto say what they changed; kvm is demanded', async () => {
    const kvm = (await readHostFacts(['kvm'])).kvm;
    const asKvm = await writeGuest(scratch, 'poweroff', { name: 'as-kvm', accel: 'kvm' });
    const tcg = await nestling(['run', '--accel', 'tcg', asKvm]);
    expect(tcg).toMatchObject({
      status: 0,
      stderr: "nestling: running under TCG, as asked, where the definition says type='kvm'\n",
    });
    if (kvm.usable) return;
    const auto = await nestling(['run', '--accel', 'auto', asKvm]);
    expect(auto.status).toBe(0);
    expect(auto.stderr).toMatch(/^nestling: running under TCG \(emulation\): ./);
    for (const args of [[asKvm], ['--accel', 'kvm', await writeGuest(scratch, 'poweroff')]]) {
      const demanded = await nestling(['run', ...args]);
      expect(demanded.status).toBe(1);
      expect(demanded.stderr).toMatch(/^nestling run: .*needs KVM, which is not usable here: .+--accel tcg/);
    }
  });
});

describe('--secret', () => {
  it('opens a LUKS disk; the value shows nowhere', async () => {
    const value = 'correct-horse-battery';
    const uuid = '5c1f2a33-9d0e-4a4c-8a36-0f6c2d7c1e11';
    const image = join(scratch, 'luks.qcow2');
    const format = ['-f', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10'];
    createLuksImage(['--object', `secret,id=s,data=${value}`, ...format, image, '8M']);
    const encryption = `<encryption format='luks'><secret type='passphrase' uuid='${uuid}'/></encryption>`;
    const disk = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${image}'>${encryption}</source><target dev='vdb' bus='virtio'/></disk>`;
    const guest = await writeGuest(scratch, 'poweroff', { name: 'luks', devices: disk });
    const secret = join(scratch, 'secret.xml');
    writeFileSync(secret, `<secret ephemeral='yes' private='yes'><uuid>${uuid}</uuid></secret>`);
    writeFileSync(join(scratch, 'right'), value, { mode: 0o600 });
    writeFileSync(join(scratch, 'wrong'), 'wrong', { mode: 0o600 });

    const none = await nestling(['run', guest]);
    expect(none).toMatchObject({ status: 1, stderr: expect.stringContaining(`no secret with UUID ${uuid}`) });
    const wrong = await nestling(['run', '-s', `${secret},${join(scratch, 'wrong')}`, guest]);
    expect(wrong).toMatchObject({ status: 1, stderr: expect.stringContaining('Invalid password') });
    const root = join(scratch, 'luks-root');
    const right = await nestling(['run', '-d', '-r', root, `--secret=${secret},${join(scratch, 'right')}`, guest]);
    expect(right.status, right.stderr).toBe(0);
    const log = join(root, 'log/qemu/luks.log');
    expect(statSync(log).mode & 0o077).toBe(0);
    for (const text of [right.stdout, right.stderr, readFileSync(log, 'latin1')]) {
      expect(text).not.toContain(value);
      expect(text).not.toContain(Buffer.from(value).toString('base64'));
    }
    const unreadable = await nestling(['run', '-s', `${secret},${join(scratch, 'missing')}`, guest]);
    expect(unreadable).toMatchObject({
      status: 2,
      stderr: `nestling run: cannot read ${join(scratch, 'missing')}: no such file or directory\n`,
    });
  });
});

describe('output that nobody reads', () => {
  it.each([
    ['run -h', 0],
    ['--help', 0],
    ['run --json GUEST', 141],
  ])('nestling %s | head -1: %i, and nothing on standard error', async (args, status) => {
    const guest = quote(await writeGuest(scratch, 'counter'));
    await using run = await shell(
      `nestling ${args.replace('GUEST', guest)} | head -1 > /dev/null; echo "status=\${PIPESTATUS[0]}"`,
    );
    expect(await run.ended).toMatchObject({ stdout: `status=${status}\n`, stderr: '' });
  });

  it('a full disk is told', async () => {
    await using run = await shell(`nestling run --json ${quote(await writeGuest(scratch, 'halt'))} > /dev/full`);
    const { status, stderr } = await run.ended;
    expect(status).not.toBe(0);
    expect(stderr).toContain('nestling: cannot write to standard output: ENOSPC');
  });
});

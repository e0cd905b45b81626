/** `nestling run` and its exit statuses: how a run ends, who ends it, and what is said then. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, DomainState } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { greetingOf } from '../support/guests/boot-sectors.ts';
import { nestling, quote, shell, startNestling, writeGuest } from './cli-session.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cli-run-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('0: the guest shut down', () => {
  it('says nothing at all', async () => {
    expect(await nestling(['run', await writeGuest(scratch, 'poweroff')])).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
  });

  it('takes the XML from standard input', async () => {
    const input = readFileSync(await writeGuest(scratch, 'poweroff'), 'utf8');
    expect(await nestling(['run', '-'], { input })).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('keeps the root that is named, and no temporary one', async () => {
    const temporary = join(scratch, 'tmp');
    mkdirSync(temporary);
    const guest = await writeGuest(scratch, 'poweroff');
    const { status } = await nestling(['run', '--root', join(scratch, 'root'), '--set-name', 'renamed', guest], {
      env: { TMPDIR: temporary },
    });
    expect(status).toBe(0);
    expect(readdirSync(temporary)).toEqual([]);
    expect(readFileSync(join(scratch, 'root/log/qemu/renamed.log'), 'utf8')).toContain('reason=shutdown');
    expect(readFileSync(join(scratch, 'root/log/qemu/renamed-serial0.log'), 'utf8')).toContain(greetingOf('poweroff'));
    expect((await nestling(['run', guest], { env: { TMPDIR: temporary } })).status).toBe(0);
    expect(readdirSync(temporary)).toEqual([]);
  });
});

describe('1: the guest or QEMU failed', () => {
  it.each([
    [
      'a disk that is not there',
      { disks: [{ path: '/nonexistent/disk.img' }] },
      /\/nonexistent\/disk\.img.*No such file/,
    ],
    [
      'an emulator that is not there',
      { emulator: '/usr/bin/qemu-system-none' },
      /no emulator \/usr\/bin\/qemu-system-none/,
    ],
  ])('%s: one line', async (_, overrides, message) => {
    const { status, stdout, stderr } = await nestling(['run', await writeGuest(scratch, 'halt', overrides)]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  it('a panic: what the guest said last', async () => {
    const guest = await writeGuest(scratch, 'panic', { devices: "<panic model='isa'/>", onCrash: 'destroy' });
    const { status, stderr } = await nestling(['run', guest]);
    expect(status).toBe(1);
    expect(stderr).toContain('nestling run: guest cli-panic crashed: the guest panicked\n');
    expect(stderr).toContain(`  end of the serial console:\n    ${greetingOf('panic')}\n`);
  });

  it('QEMU killed from outside', async () => {
    const root = join(scratch, 'killed');
    await using run = await startNestling(['run', '-v', '-r', root, await writeGuest(scratch, 'halt')]);
    await run.stderr.until('first-guest-byte');
    process.kill(qemuOf(run.process.pid), 'SIGKILL');
    const { status, stderr } = await run.ended;
    expect(status).toBe(1);
    expect(stderr).toContain('guest cli-halt crashed: QEMU ended unexpectedly with signal SIGKILL');
    // Killed at its first byte: the rest of the line may not have come through.
    expect(stderr).toMatch(/end of the serial console:\n {4}n/);
  });
});

describe('2: wrong usage or invalid XML', () => {
  it.each([
    [['run'], 'nestling run: GUEST-XML is missing\n'],
    [['run', 'a', 'b'], "nestling run: unexpected argument 'b'\n"],
    [['run', '--grateful', 'a'], "nestling run: Unknown option '--grateful'\n"],
    [['run', '--accel', 'xen', 'a'], "nestling run: --accel takes auto, kvm, tcg, not 'xen'\n"],
    [['run', '--timeout', 'soon', 'a'], "nestling run: --timeout takes a duration such as 30s or 5m, not 'soon'\n"],
    [['run', '--secret', 'a', 'b'], "nestling run: --secret takes XML-FILE,VALUE-FILE, not 'a'\n"],
    [['run', '--console', '--json', 'a'], 'nestling run: --console and --json both want standard output\n'],
    [['run', '--root', '', 'a'], 'nestling run: --root takes a directory\n'],
    [['run', '/nonexistent.xml'], 'nestling run: cannot read /nonexistent.xml: no such file or directory\n'],
    [['run', '/tmp'], 'nestling run: cannot read /tmp: illegal operation on a directory\n'],
    [['run', '-'], 'nestling run: <stdin>:1:1: '],
    [['rum'], "nestling: there is no command 'rum'; did you mean 'run'?\n"],
  ])('%j', async (args, message) => {
    const { status, stdout, stderr } = await nestling(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr.startsWith(message), stderr).toBe(true);
  });

  it('says every fault with file, line and column', async () => {
    const path = join(scratch, 'faulty.xml');
    const xml = domainXml({ name: 'faulty' }).replace("type='pty'", "type='ptty'").replace('<vcpu>1<', '<vcpu>many<');
    writeFileSync(path, xml);
    const { status, stderr } = await nestling(['run', path]);
    expect(status).toBe(2);
    const faults = stderr.split('\n').filter((line) => line.startsWith(`  ${path}:`));
    expect(faults).toHaveLength(2);
    for (const fault of faults) expect(fault).toMatch(/\.xml:\d+:\d+: domain\/\S+: ./);
  });
});

describe('124: timeout', () => {
  it('ends the guest and shows what it said last', async () => {
    const { status, stderr } = await nestling(['run', '--timeout', '3s', await writeGuest(scratch, 'halt')]);
    expect(status).toBe(124);
    expect(stderr).toBe(
      `nestling run: guest cli-halt did not end within 3 s\n  end of the serial console:\n    ${greetingOf('halt')}\n`,
    );
  });

  it('covers a guest that never speaks, and the start itself', async () => {
    const mute = await nestling(['run', '--timeout', '3s', await writeGuest(scratch, 'mute')]);
    expect(mute).toMatchObject({ status: 124, stderr: 'nestling run: guest cli-mute did not end within 3 s\n' });
    const early = await nestling(['run', '--timeout', '1ms', await writeGuest(scratch, 'mute')]);
    expect(early).toMatchObject({ status: 124, stderr: 'nestling run: the guest did not start within 0.001 s\n' });
  });
});

describe('128+N: ended by a signal', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['SIGQUIT', 131],
  ] as const)('%s', async (signal, expected) => {
    await using run = await startNestling(['run', '-v', await writeGuest(scratch, 'halt')]);
    await run.stderr.until('first-guest-byte');
    const qemu = qemuOf(run.process.pid);
    run.process.kill(signal);
    const { status, stderr } = await run.ended;
    expect(status).toBe(expected);
    expect(stderr).toContain(`nestling: ${signal}: ending the guest\n`);
    expect(stderr).toContain('domain cli-halt stopped (destroyed)');
    expect(existsSync(`/proc/${qemu}/exe`)).toBe(false);
  });

  it.each(['started', 'xml-parsed', 'validated', 'qemu-spawned', 'monitor-ready'])(
    'during the start, after %s',
    async (mark) => {
      await using run = await startNestling(['run', '-v', await writeGuest(scratch, 'halt')]);
      await run.stderr.until(mark);
      run.process.kill('SIGTERM');
      expect((await run.ended).status).toBe(143);
    },
  );

  it('reaches the guest of a whole process group only through nestling', async () => {
    // As a terminal's Ctrl-C or a CI system's `kill -- -PGID`: every process of the group gets it.
    const guest = quote(await writeGuest(scratch, 'powerbutton'));
    await using run = await shell(
      `set -m; nestling run --graceful -v ${guest} & read -r; kill -INT -- -$!; wait $!; echo "status=$?"`,
    );
    await run.stderr.until('first-guest-byte');
    run.process.stdin.write('\n');
    expect((await run.ended).stdout).toBe('status=0\n');
  });
});

describe('--graceful', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s powers the guest down: 0', async (signal) => {
    await using run = await startNestling(['run', '--graceful', '-v', await writeGuest(scratch, 'powerbutton')]);
    await run.stderr.until('first-guest-byte');
    run.process.kill(signal);
    const { status, stderr } = await run.ended;
    expect(status, stderr).toBe(0);
    expect(stderr).toContain('nestling: asked the guest to power down; a second');
    expect(stderr).toContain('domain cli-powerbutton stopped (shutdown)');
  });

  it('the second signal ends a guest that does not listen', async () => {
    await using run = await startNestling(['run', '--graceful', '-v', await writeGuest(scratch, 'mute')]);
    await run.stderr.until('domain cli-mute started');
    run.process.kill('SIGINT');
    await run.stderr.until('asked the guest to power down; a second Ctrl-C ends it');
    run.process.kill('SIGTERM');
    expect((await run.ended).status).toBe(143);
  });

  it('has nothing to ask before there is a guest', async () => {
    await using run = await startNestling(['run', '--graceful', '-v', await writeGuest(scratch, 'powerbutton')]);
    await run.stderr.until('started');
    run.process.kill('SIGINT');
    expect((await run.ended).status).toBe(130);
  });
});

describe('--listen', () => {
  it('lets other programs see and end the guest', async () => {
    const socket = join(scratch, 'listen.sock');
    await using run = await startNestling(['run', '--listen', socket, '-v', await writeGuest(scratch, 'powerbutton')]);
    await run.stderr.until('first-guest-byte');
    await using connection = await connect(`qemu+unix:///system?socket=${socket}`);
    const [domain, ...others] = await connection.listAllDomains();
    expect([domain?.name, others.length]).toEqual(['cli-powerbutton', 0]);
    expect((await domain?.info())?.state).toBe(DomainState.RUNNING);
    await domain?.destroy();
    expect((await run.ended).status).toBe(1);
    expect(existsSync(socket)).toBe(false);
  });

  it('lets virsh take leave when it has ended the guest', async () => {
    const socket = join(scratch, 'virsh.sock');
    await using run = await startNestling(['run', '--listen', socket, '-v', await writeGuest(scratch, 'powerbutton')]);
    await run.stderr.until('first-guest-byte');
    const uri = `qemu+unix:///system?socket=${socket}`;
    const { status, stdout, stderr } = spawnSync('virsh', ['-c', uri, 'destroy', 'cli-powerbutton'], {
      encoding: 'utf8',
    });
    expect([status, stdout.trim(), stderr]).toEqual([0, "Domain 'cli-powerbutton' destroyed", '']);
    expect((await run.ended).status).toBe(1);
  });
});

/** The QEMU among a process's children. */
function qemuOf(parent: number | undefined): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ').map(Number);
  const found = children.find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('/usr/bin/qemu-system'),
  );
  if (found === undefined) throw new Error(`process ${parent} has no QEMU among its children ${children.join()}`);
  return found;
}

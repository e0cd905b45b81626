/** `nestling run --console`: a guest's console on pipes, files and a real terminal, whatever the type of the serial device. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { domainXml, escapeXml } from '../support/domain-xml.ts';
import { bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { linuxGuest } from '../support/guests/linux-guest.ts';
import { pollUntil } from '../support/poll.ts';
import { nestling, quote, type Session, shell, startNestling, writeGuest } from './cli-session.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cli-console-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('with pipes and files', () => {
  it('passes input on and shows output, byte for byte', async () => {
    await using run = await startNestling(['run', '--console', await writeGuest(scratch, 'echo')]);
    await run.stdout.until(`${greetingOf('echo')}\r\n`);
    run.process.stdin.write('ping\x1dpong\x03');
    // Without a terminal no byte means anything to us.
    expect(await run.stdout.until('\x03')).toBe('ping\x1dpong\x03');
    run.process.kill('SIGTERM');
    expect((await run.ended).status).toBe(143);
  });

  it('shows all that the guest printed before its end, though the reader is slow', async () => {
    const guest = quote(await writeGuest(scratch, 'poweroff'));
    await using run = await shell(`exec 3<&0; nestling run --console ${guest} < /dev/null | { read -r go <&3; cat; }`);
    run.process.stdin.end('go\n');
    expect((await run.ended).stdout).toContain(greetingOf('poweroff'));
  });

  it.each([
    ['/dev/null as input', '< /dev/null'],
    ['a file as input', `< /etc/passwd`],
    ['input closed', '<&-'],
  ])('%s: the guest runs to its end', async (_, redirection) => {
    const guest = quote(await writeGuest(scratch, 'poweroff'));
    await using run = await shell(`nestling run --console ${guest} ${redirection}`);
    expect(await run.ended).toMatchObject({
      status: 0,
      stdout: expect.stringContaining(`${greetingOf('poweroff')}\r\n`),
      stderr: '',
    });
  });

  it('ends the guest when nobody reads any more: 141, in order', async () => {
    const root = join(scratch, 'unread');
    const guest = quote(await writeGuest(scratch, 'counter'));
    await using run = await shell(
      `nestling run -r ${quote(root)} --console ${guest} < /dev/null | head -1; echo "status=\${PIPESTATUS[0]}"`,
    );
    const { stdout, stderr } = await run.ended;
    expect({ stdout, stderr }).toEqual({ stdout: `${greetingOf('counter')}\r\nstatus=141\n`, stderr: '' });
    expect(readFileSync(join(root, 'log/qemu/cli-counter.log'), 'utf8')).toMatch(/reason=destroyed\n$/);
  });

  it('runs without any standard stream', async () => {
    const guest = quote(await writeGuest(scratch, 'poweroff'));
    await using run = await shell(`nestling run --console ${guest} <&- >&- 2>&-; echo "status=$?"`);
    expect((await run.ended).stdout).toBe('status=0\n');
  });
});

describe('every type of serial device', () => {
  const serial = (source: string): string => `<serial ${source}<target port='0'/></serial>`;
  it.each([
    ['pty', () => serial("type='pty'>")],
    ['stdio', () => serial("type='stdio'>")],
    ['null', () => serial("type='null'>")],
    ['vc', () => serial("type='vc'>")],
    ['unix', () => serial(`type='unix'><source mode='bind' path='${escapeXml(join(scratch, 'serial.sock'))}'/>`)],
    ['tcp', () => serial("type='tcp'><source mode='connect' host='127.0.0.1' service='9'/><protocol type='raw'/>")],
  ])('%s', async (type, devices) => {
    const { status, stdout, stderr } = await nestling([
      'run',
      '--console',
      await guestWith(`serial-${type}`, devices()),
    ]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(greetingOf('poweroff'));
  });

  it('file: the file gets what it would have got', async () => {
    const path = join(scratch, 'serial.out');
    const guest = await guestWith('serial-file', serial(`type='file'><source path='${escapeXml(path)}'/>`));
    const { stdout } = await nestling(['run', '--console', guest]);
    expect(stdout).toContain(greetingOf('poweroff'));
    expect(readFileSync(path, 'utf8')).toBe(stdout);
  });

  it('without --console a socket is what the definition says', async () => {
    const heard = new Promise<string>((resolve) => {
      const server = createServer((socket) => {
        let text = '';
        socket.on('data', (chunk) => {
          text += chunk.toString();
        });
        socket.on('close', () => {
          server.close();
          resolve(text);
        });
      });
      server.listen(join(scratch, 'ours.sock'));
    });
    const source = `<source mode='connect' path='${escapeXml(join(scratch, 'ours.sock'))}'/>`;
    const { status } = await nestling(['run', await guestWith('serial-socket', serial(`type='unix'>${source}`))]);
    expect(status).toBe(0);
    expect(await heard).toContain(greetingOf('poweroff'));
  });

  it('none: says what is missing', async () => {
    const { status, stderr } = await nestling(['run', '--console', await guestWith('serial-none', '')]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/cannot start guest serial-none: it has no serial device or console.*<serial type='pty'\/>/);
  });

  it('a virtio console alone', async () => {
    const path = join(scratch, 'hvc.xml');
    const console = "<console type='pty'><target type='virtio' port='0'/></console>";
    const linux = await linuxGuest();
    const xml = domainXml({
      name: 'hvc',
      memoryMiB: 192,
      ...linux,
      cmdline: 'console=hvc0 quiet panic=-1',
      devices: console,
    });
    writeFileSync(path, xml.replace(/ *<serial[\s\S]*?<\/serial>\n/, ''));
    await using run = await startNestling(['run', '--console', path]);
    // A console that is a module appears too late for what PID 1 says, but not for its shell.
    await run.stdout.until('nestling# ');
    run.process.stdin.write('uname -m; poweroff\n');
    await run.stdout.until(/^x86_64/m);
    expect((await run.ended).status).toBe(0);
  });

  /** A guest that greets and powers off, with these devices in place of its serial one. */
  async function guestWith(name: string, devices: string): Promise<string> {
    const path = join(scratch, `${name}.xml`);
    const xml = domainXml({ name, disks: [{ path: await bootSectorImage('poweroff'), readonly: true }], devices });
    writeFileSync(path, xml.replace(/ *<serial type='pty'>\n *<target port='0'\/>\n *<\/serial>\n/, ''));
    return path;
  }
});

describe('on a terminal', () => {
  /** Runs the guest between two looks at the terminal's settings. */
  async function onTerminal(args: string): Promise<Session> {
    return await shell(
      `before=$(stty -g); nestling run ${args}; status=$?; [ "$(stty -g)" = "$before" ] && echo restored; echo "status=$status"`,
      { terminal: true },
    );
  }

  it('every key is the guest’s, once; ^] detaches and gives the terminal back', async () => {
    await using run = await onTerminal(`--console ${quote(await writeGuest(scratch, 'echo'))}`);
    await run.stdout.until(`${greetingOf('echo')}\r\n`);
    run.process.stdin.write('ab\x03');
    // The terminal would show typed text once more, and ^C as two characters.
    expect(await run.stdout.until('\x03')).toMatch(/^\r?ab\x03$/);
    run.process.stdin.write('cd\x1d');
    await run.stdout.until('\r\nnestling: detached from the console; the guest runs on');
    run.process.stdin.write('\x03');
    await run.stdout.until('nestling: SIGINT: ending the guest');
    expect(await run.stdout.until('status=')).toContain('restored');
    await run.stdout.until('130');
  });

  it('the guest’s crash gives the terminal back, and the reason stands on lines of its own', async () => {
    await using run = await onTerminal(`--console ${quote(await writeGuest(scratch, 'halt', { name: 'cli-crash' }))}`);
    await run.stdout.until(greetingOf('halt'));
    process.kill(qemuNamed('cli-crash'), 'SIGKILL');
    const text = await run.stdout.until('status=');
    expect(text).toMatch(/^nestling run: guest cli-crash crashed: QEMU ended unexpectedly with signal SIGKILL\r*$/m);
    expect(text).toContain('restored');
    await run.stdout.until('1');
  });

  it('SIGTERM and the time limit give it back, too', async () => {
    await using run = await onTerminal(`--console --timeout 3s ${quote(await writeGuest(scratch, 'echo'))}`);
    const text = await run.stdout.until('status=');
    expect(text).toContain('\r\nnestling run: guest cli-echo did not end within 3 s\r\n');
    expect(text).toContain('restored');
    await run.stdout.until('124');
  });

  it('without --console Ctrl-C is nestling’s, and the guest’s only by asking', async () => {
    await using run = await onTerminal(`--graceful -v ${quote(await writeGuest(scratch, 'powerbutton'))}`);
    await run.stdout.until('first-guest-byte');
    run.process.stdin.write('\x03');
    const text = await run.stdout.until('status=');
    expect(text).toContain('asked the guest to power down; a second Ctrl-C ends it');
    expect(text).toContain('stopped (shutdown)');
    await run.stdout.until('0');
  });

  it('the terminal’s end is the guest’s end', async () => {
    const root = join(scratch, 'hangup');
    const guest = quote(await writeGuest(scratch, 'echo', { name: 'cli-hangup' }));
    await using run = await onTerminal(`-r ${quote(root)} --console ${guest}`);
    await run.stdout.until(greetingOf('echo'));
    const qemu = qemuNamed('cli-hangup');
    run.process.kill('SIGKILL');
    await run.ended;
    await gone(qemu);
    await stamped(join(root, 'log/qemu/cli-hangup.log'), /reason=destroyed\n$/);
  });
});

function qemuNamed(name: string): number {
  const pids = execFileSync('pgrep', ['-f', `^/usr/bin/qemu-system.* guest=${name},`], { encoding: 'utf8' }).trim();
  expect(pids).toMatch(/^\d+$/);
  return Number(pids);
}

async function gone(pid: number): Promise<void> {
  await pollUntil(() => {
    try {
      return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return true;
    }
  }, `process ${pid} is still there`);
}

async function stamped(path: string, pattern: RegExp): Promise<void> {
  await pollUntil(() => pattern.test(readFileSync(path, 'utf8')), `${path} does not end as it should`);
}

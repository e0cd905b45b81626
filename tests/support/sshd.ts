/**
 * Debian's sshd on a port of the loopback with keys and settings of its own, in a mount namespace where libvirt's folder of sockets holds
 * those of one daemon: what `qemu+ssh://` finds on a host. Whoever has the key is the user of the test.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

const SSHD = '/usr/sbin/sshd';
const PATIENCE_MS = 20_000;

export interface TestSshd extends AsyncDisposable {
  readonly port: number;
  readonly user: string;
  /** Of the only key that it lets in. */
  readonly keyFile: string;
  /** With its host key, for clients that check it. */
  readonly knownHosts: string;
}

export function hasSshd(): boolean {
  // Without arguments that it understands it says who it is, and ends.
  return spawnSync(SSHD, ['-V']).error === undefined && spawnSync('ssh', ['-V']).error === undefined;
}

/** `socketDir`: folder with the daemon's sockets, under libvirt's names. */
export async function startSshd(socketDir: string, port: number): Promise<TestSshd> {
  const dir = mkdtempSync(join(tmpdir(), 'sshd-'));
  const path = (name: string): string => join(dir, name);
  for (const name of ['host', 'key']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path(name)]);
  }
  const hostKey = execFileSync('ssh-keygen', ['-y', '-f', path('host')], { encoding: 'utf8' }).trim();
  writeFileSync(path('known_hosts'), `[127.0.0.1]:${port} ${hostKey}\n[localhost]:${port} ${hostKey}\n`);
  writeFileSync(
    path('config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${path('host')}`,
      `AuthorizedKeysFile ${path('key.pub')}`,
      `PidFile ${path('pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'LogLevel VERBOSE',
    ].join('\n'),
  );
  const script = [
    'mount -t tmpfs none /run',
    'mkdir -p /run/sshd',
    `ln -s ${socketDir} /run/libvirt`,
    `exec ${SSHD} -D -e -f ${path('config')}`,
  ].join(' && ');
  const child = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => {
    words += chunk.toString();
  });
  const stop = async (): Promise<void> => {
    await ended(child);
    rmSync(dir, { recursive: true, force: true });
  };
  const deadlineMs = Date.now() + PATIENCE_MS;
  while (!(await answers(port))) {
    if (child.exitCode === null && Date.now() < deadlineMs) continue;
    await stop();
    throw new Error(`sshd does not answer: ${words}`);
  }
  return {
    port,
    user: userInfo().username,
    keyFile: path('key'),
    knownHosts: path('known_hosts'),
    [Symbol.asyncDispose]: stop,
  };
}

async function answers(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('data', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => setTimeout(() => resolve(false), 20));
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  await exit;
}

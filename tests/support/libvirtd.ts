/**
 * Debian's libvirtd, for tests that compare with it or speak to it: in a mount namespace of its own with empty state folders, so that
 * the host's libvirt is neither seen nor changed. Reached by its UNIX socket.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Folders that libvirtd keeps its state in. */
const STATE = ['/run/libvirt', '/var/lib/libvirt', '/var/log/libvirt', '/var/cache/libvirt'];
const PATIENCE_MS = 30_000;

export interface Libvirtd extends AsyncDisposable {
  /** For `qemu+unix:///system?socket=`. */
  readonly socket: string;
  readonly uri: string;
  readonly pid: number;
  /** What it has logged. */
  log(): string;
}

export function hasLibvirtd(): boolean {
  return spawnSync('libvirtd', ['--version']).status === 0;
}

/** Starts it; `conf`: more lines of libvirtd.conf; `network`: in a network namespace of its own, where it may make bridges. */
export async function startLibvirtd(conf = '', { network = false } = {}): Promise<Libvirtd> {
  const dir = mkdtempSync(join(tmpdir(), 'libvirtd-'));
  const socket = join(dir, 'sock', 'libvirt-sock');
  const logFile = join(dir, 'log');
  mkdirSync(join(dir, 'etc', 'qemu'), { recursive: true });
  mkdirSync(join(dir, 'sock'));
  writeFileSync(
    join(dir, 'etc', 'qemu.conf'),
    'stdio_handler = "file"\nsecurity_driver = "none"\nuser = "root"\ngroup = "root"\ncgroup_controllers = []\nnamespaces = []\nremember_owner = 0\n',
  );
  writeFileSync(
    join(dir, 'etc', 'libvirtd.conf'),
    `unix_sock_dir = "${join(dir, 'sock')}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\nmax_clients = 5000\nlog_outputs = "3:file:${logFile}"\n${conf}\n`,
  );
  const script = [
    ...(network ? ['ip link set lo up', 'mount -t sysfs none /sys'] : []),
    ...STATE.map((path) => `mkdir -p ${path} && mount -t tmpfs none ${path}`),
    `mount --bind ${join(dir, 'etc')} /etc/libvirt`,
    'mkdir -p /var/lib/libvirt/qemu /var/log/libvirt/qemu',
    `exec libvirtd --config ${join(dir, 'etc', 'libvirtd.conf')} --pid-file ${join(dir, 'pid')}`,
  ].join(' && ');
  const child = spawn(
    'unshare',
    [...(network ? ['--net'] : []), '--mount', '--propagation', 'private', 'sh', '-c', script],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => {
    words += chunk.toString();
  });
  const stop = async (): Promise<void> => {
    await ended(child);
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await untilAnswers(socket, child, () => words);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    socket,
    uri: `qemu+unix:///system?socket=${socket}`,
    pid: child.pid ?? 0,
    log: () => words + (existsSync(logFile) ? readFileSync(logFile, 'utf8') : ''),
    [Symbol.asyncDispose]: stop,
  };
}

async function untilAnswers(socket: string, child: ChildProcess, words: () => string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await answers(socket))) {
    if (child.exitCode !== null) throw new Error(`libvirtd ended with status ${child.exitCode}: ${words()}`);
    if (Date.now() > deadline) throw new Error(`libvirtd does not answer after ${PATIENCE_MS} ms: ${words()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await exit;
  clearTimeout(timer);
}

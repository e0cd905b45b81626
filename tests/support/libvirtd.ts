/**
 * Debian's libvirtd, for tests that compare with it or speak to it: in a mount namespace of its own with empty state folders, so that
 * the host's libvirt is neither seen nor changed. Reached by its UNIX socket.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pollUntil } from './poll.ts';

/** Folders that libvirtd keeps its state in; what it has found out about QEMU is kept over a restart, as on a host. */
const STATE = ['/run/libvirt', '/var/lib/libvirt', '/var/log/libvirt'];
const CACHE = '/var/cache/libvirt';
const PATIENCE_MS = 30_000;

export interface Libvirtd extends AsyncDisposable {
  /** For `qemu+unix:///system?socket=`. */
  readonly socket: string;
  readonly uri: string;
  readonly pid: number;
  /** What it has logged. */
  log(): string;
  /** Ends it; its definitions stay for the next `start`. Running guests are lost from sight. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export function hasLibvirtd(): boolean {
  return spawnSync('libvirtd', ['--version']).status === 0;
}

export interface LibvirtdPlace {
  /** Commands that run in its mount namespace before it. */
  readonly before?: readonly string[];
  /** In a network namespace of its own, with a /sys that shows it; the commands make what is in it. */
  readonly ownNetwork?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts it; `conf`: more lines of libvirtd.conf. */
export async function startLibvirtd(
  conf = '',
  { before = [], ownNetwork = false, env = {} }: LibvirtdPlace = {},
): Promise<Libvirtd> {
  const dir = mkdtempSync(join(tmpdir(), 'libvirtd-'));
  const socket = join(dir, 'sock', 'libvirt-sock');
  const logFile = join(dir, 'log');
  mkdirSync(join(dir, 'etc', 'qemu'), { recursive: true });
  mkdirSync(join(dir, 'sock'));
  mkdirSync(join(dir, 'cache'));
  writeFileSync(
    join(dir, 'etc', 'qemu.conf'),
    'stdio_handler = "file"\nsecurity_driver = "none"\nuser = "root"\ngroup = "root"\ncgroup_controllers = []\nnamespaces = []\nremember_owner = 0\n',
  );
  writeFileSync(
    join(dir, 'etc', 'libvirtd.conf'),
    `unix_sock_dir = "${join(dir, 'sock')}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\nmax_clients = 5000\nlog_outputs = "3:file:${logFile}"\n${conf}\n`,
  );
  const script = [
    ...STATE.map((path) => `mkdir -p ${path} && mount -t tmpfs none ${path}`),
    `mkdir -p ${CACHE} && mount --bind ${join(dir, 'cache')} ${CACHE}`,
    `mount --bind ${join(dir, 'etc')} /etc/libvirt`,
    'mkdir -p /var/lib/libvirt/qemu /var/log/libvirt/qemu',
    ...(ownNetwork ? ['ip link set lo up', 'mount -t sysfs none /sys'] : []),
    ...before,
    `exec libvirtd --config ${join(dir, 'etc', 'libvirtd.conf')} --pid-file ${join(dir, 'pid')}`,
  ].join(' && ');
  const spaces = ['--mount', '--propagation', 'private', ...(ownNetwork ? ['--net'] : [])];
  let child: ChildProcess | undefined;
  let words = '';
  const start = async (): Promise<void> => {
    const started = spawn('unshare', [...spaces, 'sh', '-c', script], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    });
    child = started;
    started.stderr.on('data', (chunk: Buffer) => {
      words += chunk.toString();
    });
    await untilAnswers(socket, started, () => words);
  };
  const stop = async (): Promise<void> => {
    if (child !== undefined) await ended(child);
  };
  const remove = async (): Promise<void> => {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    socket,
    uri: `qemu+unix:///system?socket=${socket}`,
    get pid() {
      return child?.pid ?? 0;
    },
    log: () => words + (existsSync(logFile) ? readFileSync(logFile, 'utf8') : ''),
    stop,
    start,
    [Symbol.asyncDispose]: remove,
  };
}

async function untilAnswers(socket: string, child: ChildProcess, words: () => string): Promise<void> {
  const isUp = async (): Promise<boolean> => {
    if (await answers(socket)) return true;
    if (child.exitCode !== null) throw new Error(`libvirtd ended with status ${child.exitCode}: ${words()}`);
    return false;
  };
  await pollUntil(isUp, () => `libvirtd does not answer: ${words()}`, { timeoutMs: PATIENCE_MS });
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

/** `nestling daemon` with a state of its own, for tests; guests that it leaves are ended with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pollUntil } from './poll.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
/** Emulated test guests start it too. */
const PATIENCE_MS = 120_000;

export interface TestDaemon extends AsyncDisposable {
  readonly stateDir: string;
  readonly socket: string;
  readonly uri: string;
  readonly pid: number;
  /** What it has said so far. */
  words(): string;
  /** SIGKILL, and a new one on the same state. */
  crash(options?: DaemonOptions): Promise<void>;
  /** Ends it; guests stay. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  start(options?: DaemonOptions): Promise<void>;
}

export interface DaemonOptions {
  /** The command, where it is not the one of this checkout. */
  readonly cli?: string;
  /** Over this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** Where its state is made; default: the system's temporary folder. */
  readonly parent?: string;
  /** A command that executes what is behind it: `['taskset', '1']`. */
  readonly prefix?: readonly string[];
  /** Files in the folder of its state, by name, from the beginning. */
  readonly files?: Readonly<Record<string, string>>;
  /** Who its state belongs to. */
  readonly owner?: number;
}

export async function startDaemon(
  args: readonly string[] = [],
  { cli = CLI, env = {}, prefix: first, owner, parent = tmpdir(), files = {} }: DaemonOptions = {},
): Promise<TestDaemon> {
  const stateDir = mkdtempSync(join(parent, 'nd-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(stateDir, name)), { recursive: true });
    writeFileSync(join(stateDir, name), content);
  }
  if (owner !== undefined) chownSync(stateDir, owner, owner);
  let child: ChildProcess | undefined;
  let words = '';
  const start = async ({ prefix = [] }: DaemonOptions = {}): Promise<void> => {
    const [command = cli, ...rest] = [...prefix, cli, 'daemon', '--state-dir', stateDir, ...args];
    const started = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
    child = started;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the daemon does not start: ${words}`)), PATIENCE_MS);
      const begin = words.length;
      started.stderr?.on('data', (chunk: Buffer) => {
        words += chunk.toString();
        if (words.slice(begin).includes('listening on')) {
          clearTimeout(timer);
          resolve();
        }
      });
      started.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`the daemon ended with status ${String(code)}: ${words}`));
      });
    });
  };
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    const running = child;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null)
      return running?.exitCode ?? null;
    return await new Promise((resolve) => {
      running.once('exit', (code) => resolve(code));
      running.kill(signal);
    });
  };
  await start({ prefix: first ?? [] });
  const socket = join(stateDir, 'run', 'libvirt-sock');
  return {
    stateDir,
    socket,
    uri: `qemu+unix:///system?socket=${socket}`,
    get pid() {
      return child?.pid ?? 0;
    },
    words: () => words,
    start,
    stop,
    crash: async (options) => {
      await stop('SIGKILL');
      await start(options);
    },
    [Symbol.asyncDispose]: async () => {
      await stop('SIGKILL');
      await endGuests(stateDir);
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

/** Guests whose files lie below the folder: they outlive every daemon by design. */
async function endGuests(dir: string): Promise<void> {
  const pids = guestsOf(dir);
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await pollUntil(() => guestsOf(dir).length === 0, 'guests are still there after SIGKILL');
}

export function guestsOf(dir: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${name}/status`, 'utf8'))) return [];
      const command = readFileSync(`/proc/${name}/cmdline`, 'latin1');
      // What all of a container ends with.
      if (/\/conmon\0|--kill-child/.test(command) && command.includes(dir)) return [Number(name)];
      return command.includes('qemu-system') && readFileSync(`/proc/${name}/environ`, 'latin1').includes(dir)
        ? [Number(name)]
        : [];
    } catch {
      return [];
    }
  });
}

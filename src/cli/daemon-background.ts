/** `nestling daemon --daemon`: starts the daemon again as a process of its own, and waits until it serves. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DaemonOptions } from '../daemon/daemon.ts';

/** The descriptor on which the new process says that it serves. */
const READY_FD = 3;
const READY_VARIABLE = 'NESTLING_READY_FD';

/** @returns 0 once it serves; 1 when it has ended before, its words on our standard error */
export async function startInBackground(options: Pick<DaemonOptions, 'mode' | 'stateDir'>): Promise<number> {
  const path = logPath(options);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const log = openSync(path, 'a+', 0o600);
  const begin = statSync(path).size;
  const args = process.argv.slice(2).filter((word) => word !== '--daemon' && word !== '-d');
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', ...args], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
    env: { ...process.env, [READY_VARIABLE]: String(READY_FD) },
  });
  const isReady = await new Promise<boolean>((resolve) => {
    child.stdio[READY_FD]?.once('data', () => resolve(true));
    child.once('exit', () => resolve(false));
    child.once('error', () => resolve(false));
  });
  if (isReady) {
    process.stderr.write(`nestling daemon: runs as process ${child.pid}; what it says goes to ${path}\n`);
  } else {
    const words = Buffer.alloc(Math.max(0, statSync(path).size - begin));
    readSync(log, words, 0, words.length, begin);
    process.stderr.write(words);
  }
  closeSync(log);
  child.stdio[READY_FD]?.destroy();
  child.unref();
  return isReady ? 0 : 1;
}

/** In the new process: whoever waits may go. */
export function sayReady(): void {
  if (process.env[READY_VARIABLE] !== String(READY_FD)) return;
  delete process.env[READY_VARIABLE];
  writeSync(READY_FD, 'ready');
  closeSync(READY_FD);
}

function logPath({ mode, stateDir }: Pick<DaemonOptions, 'mode' | 'stateDir'>): string {
  if (stateDir !== undefined) return join(stateDir, 'log', 'daemon.log');
  if (mode === 'system') return '/var/log/nestling/daemon.log';
  const { XDG_CACHE_HOME: cache, HOME: home } = process.env;
  return join(cache === undefined || cache === '' ? join(home ?? '/', '.cache') : cache, 'nestling/log/daemon.log');
}

/** Where conmon keeps what it is asked for, below a container's folder. */
import { join } from 'node:path';
import type { ContainerMonitor } from './outer-command.ts';

/** How much of what a container prints is kept for those who open its console late. */
const CONSOLE_LOG_BYTES = 4 * 1024 * 1024;

/** conmon (`program`) of the container with that folder. */
export function planMonitor(program: string, dir: string): ContainerMonitor {
  return {
    program,
    socketDir: dir,
    exitDir: exitDirOf(dir),
    consoleLog: consoleLogOf(dir),
    consoleLogBytes: CONSOLE_LOG_BYTES,
  };
}

export function consoleLogOf(dir: string): string {
  return join(dir, 'console.log');
}

export function exitDirOf(dir: string): string {
  return join(dir, 'exit');
}

/**
 * The moments of a container's start in which the caller has work to do: its namespaces are there, its first program is not. Where it waits
 * depends on who owns its network.
 */
import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { memberOf } from '../../../core/members.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import { listDescendants } from '../../../process/proc.ts';
import { errnoOf } from '../../../process/process-error.ts';
import { runCommand } from '../../../process/run-command.ts';

/** More than there are parents. */
const LOOKS = 4;

/** Fills the network namespace of that process. `outer`: the outermost one of the container, with which all of it ends. */
export type SetUpNetwork = ((pid: number, outer: number) => Promise<void>) | undefined;

/** FIFOs that the runtime's hook writes to and reads from. */
export async function makeGate(path: string, signal: AbortSignal | undefined): Promise<void> {
  const { status, stderr } = await runCommand('mkfifo', ['-m', '600', `${path}.in`, `${path}.out`], { signal });
  if (status === 0) return;
  throw new VirtError(`cannot make ${path}.in: ${stderr.trim()}`, {
    code: ErrorCode.SYSTEM_ERROR,
    domain: ErrorDomain.LXC,
  });
}

/**
 * The runtime has made the container's namespaces and waits in its hook: fills the network, and lets it go on. `failed` rejects when the runtime
 * has ended, which may be before it has come to its hook.
 */
export async function letHookOn(
  child: GuestProcess,
  path: string,
  setUp: SetUpNetwork,
  failed: Promise<never>,
): Promise<void> {
  // Opened for both ends, so that neither side waits for the other to open it.
  const outgoing = openSync(`${path}.out`, 'r+');
  try {
    const told = pidToldTo(`${path}.in`, child).catch(async (error: unknown) => {
      // That it has ended is known before what it said is.
      if (child.result !== undefined) await failed;
      throw error;
    });
    const inner = innerPid(child.pid, await Promise.race([told, failed]));
    if (inner !== undefined) await setUp?.(inner, child.pid);
    writeSync(outgoing, 'go\n');
  } finally {
    closeSync(outgoing);
  }
}

/** Not by a plain read, which would keep a thread of this process for good where nobody ever writes. */
async function pidToldTo(path: string, child: GuestProcess): Promise<string> {
  const incoming = new Socket({ fd: openSync(path, constants.O_RDWR | constants.O_NONBLOCK), writable: false });
  const close = (): void => void incoming.destroy();
  child.exited.then(close, close);
  try {
    let text = '';
    for await (const chunk of incoming) {
      text += String(chunk);
      if (text.endsWith('\n')) break;
    }
    const state: unknown = JSON.parse(text || '{}');
    return String(memberOf(state, 'pid'));
  } finally {
    close();
  }
}

/** The process that the outer PID namespace knows by `pid`, by our number. */
export function innerPid(outer: number, pid: string): number | undefined {
  const isInit = (candidate: number): boolean => {
    const numbers = namespacePids(candidate);
    // Ours, the outer namespace's, the container's.
    return numbers.at(-2) === pid.trim() && numbers.at(-1) === '1';
  };
  // To look at every process of the host takes longer, and a container may have ended by now.
  if (!existsSync('/proc/thread-self/children')) return listDescendants(outer).find(({ pid: it }) => isInit(it))?.pid;
  // A parent that ends in between hands it on to one that has been asked already.
  for (let look = 0; look < LOOKS; look++) {
    // Below the outermost: the runtime, or the monitor, and below that the runtime for a while.
    let generation = [outer];
    for (let depth = 0; depth < 3; depth++) {
      generation = generation.flatMap(childrenOf);
      const found = generation.find(isInit);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** Of its first thread; none where it has ended. */
function childrenOf(pid: number): number[] {
  return readIfThere(`/proc/${pid}/task/${pid}/children`)
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
}

/** A process's numbers, from our PID namespace to its own. */
export function namespacePids(pid: number): string[] {
  return /^NSpid:\s+(.*)$/m.exec(readIfThere(`/proc/${pid}/status`))?.[1]?.split(/\s+/) ?? [];
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return '';
    throw error;
  }
}

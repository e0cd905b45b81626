/**
 * A copy of the benches in namespaces of its own: a `/dev/kvm` whose mode is ours to choose (the host's is not touched), and
 * processes that all end with the copy, even those that libvirt makes daemons. `tini -s` reaps them as a good PID 1 does.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, constants, existsSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BenchOptions } from './bench.ts';
import type { Result } from './figures.ts';
import type { Workplace } from './workplace.ts';

const DEV_KVM = '/dev/kvm';
const KVM_MAJOR_MINOR = ['10', '232'] as const;
const PRIVATE = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'] as const;
/** libvirt may take 15 s a start, and there are a few dozen. */
const PATIENCE_MS = 1_200_000;

/** First argument of the copy. */
export const PRIVATE_HOST = '--in-private-host';

/** Why there can be no copy; undefined when there can. */
export function missingForPrivateHost(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, for namespaces and a device node';
  if (spawnSync('tini', ['--version']).error !== undefined) return 'tini is not installed (Debian: tini)';
  const tried = spawnSync('unshare', [...PRIVATE, 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? undefined : `no private namespaces here: ${tried.stderr.trim()}`;
}

/** Runs a measurement in the copy and reads its rows. */
export async function measureInPrivateHost(bench: string, { rounds }: BenchOptions): Promise<readonly Result[]> {
  const self = fileURLToPath(import.meta.url);
  const copy = ['tini', '-s', '--', process.execPath, self, PRIVATE_HOST, bench, '--rounds', String(rounds)];
  const output = execFileSync('unshare', [...PRIVATE, ...copy], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
  });
  return JSON.parse(output) as readonly Result[];
}

const STRAY_PATIENCE_MS = 3_000;
const STRAY_POLL_MS = 10;

/**
 * Waits until nothing but this program and its PID 1 is left in the copy's PID namespace, and kills what takes too long. Does
 * nothing outside of the copy.
 */
export async function endStrays(): Promise<void> {
  // The argument is given with the namespace, and there tini is PID 1: elsewhere this would end the whole machine.
  if (process.argv[2] !== PRIVATE_HOST || process.ppid !== 1) return;
  const deadline = performance.now() + STRAY_PATIENCE_MS;
  for (let pids = strays(); pids.length > 0; pids = strays()) {
    if (performance.now() > deadline) for (const pid of pids) killIfThere(pid);
    await delay(STRAY_POLL_MS);
  }
}

/** SIGKILL, to a process that may just have ended. */
export function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

function strays(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 1 && pid !== process.pid && existsSync(`/proc/${pid}/exe`));
}

/** A device node over `/dev/kvm`, in this mount namespace only. */
export interface KvmNode {
  setMode(mode: number): void;
}

/** Puts it there. Undefined where the host has no `/dev/kvm`: then there is nothing to choose. To be called in the copy. */
export function coverDevKvm(place: Workplace): KvmNode | undefined {
  if (!existsSync(DEV_KVM)) return undefined;
  const dir = place.folder('dev');
  // The temporary directory may be on a file system without device nodes.
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0711', 'none', dir]);
  execFileSync('mknod', [join(dir, 'kvm'), 'c', ...KVM_MAJOR_MINOR]);
  execFileSync('mount', ['--bind', join(dir, 'kvm'), DEV_KVM]);
  // The open directory is enough to reach the node, and the workplace can be removed.
  const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  execFileSync('umount', ['--lazy', dir]);
  return { setMode: (mode) => chmodSync(`/proc/self/fd/${fd}/kvm`, mode) };
}

/**
 * Is KVM usable? Only guest code that really ran can tell: `/dev/kvm` can open, and KVM still abort, spin, or emulate each
 * instruction. This runs one small guest under KVM and, for comparison, under TCG at the same time. The verdict is not
 * kept here: see `accelerator-cache.ts`.
 */
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '../process/process-error.ts';
import { spawnChild } from '../process/spawn.ts';
import { hostArch } from './cpu.ts';
import { type ProbeGuest, probeGuest } from './kvm-guest.ts';

/** Why KVM is not to be used. */
export type KvmRefusal = 'absent' | 'permission' | 'broken' | 'slower-than-emulation' | 'busy';

/** The outcome of a KVM probe; times from QEMU's start to its end, in milliseconds. */
export type KvmVerdict =
  | { readonly usable: true; readonly timeMs: number; readonly tcgTimeMs?: number; readonly detail?: string }
  | { readonly usable: false; readonly reason: KvmRefusal; readonly detail: string };

export interface KvmProbeOptions {
  /** The QEMU binary: a name in PATH or a path. */
  readonly qemu: string;
  /** QEMU's target; default: the host's architecture, the only one KVM can run. */
  readonly arch?: string;
  readonly devKvm?: string;
  /** Directory for the guest's image, which is unlinked before QEMU starts. */
  readonly tempDir?: string;
  readonly signal?: AbortSignal | undefined;
}

/** KVM may take this many times as long as TCG … */
const SLOWER_FACTOR = 3;
/** … but so much at least, so that a busy machine does not lose its KVM. */
const LEAST_BOUND_MS = 1000;
/** TCG itself, or a QEMU without TCG: something is very wrong beyond this. */
const TCG_BOUND_MS = 20_000;

/**
 * Runs the probe guest under KVM. Takes about as long as one TCG run (a tenth of a second), at most three times that or a second.
 * @throws ProcessError when QEMU cannot be started at all, or the signal's reason
 */
export async function probeKvm(options: KvmProbeOptions): Promise<KvmVerdict> {
  const arch = options.arch ?? hostArch();
  const refusal = checkKvmDevice(options.devKvm ?? '/dev/kvm', arch);
  if (refusal !== undefined) return refusal;
  const guest = probeGuest(arch);
  if (guest === undefined)
    return { usable: true, timeMs: 0, detail: `the device opens; no probe guest exists for ${arch}, so none was run` };
  return compare(guest, options);
}

/** What can be said without running QEMU: undefined means that nothing speaks against KVM yet. */
export function checkKvmDevice(devKvm: string, arch: string, host = hostArch()): KvmVerdict | undefined {
  if (arch !== host && !(arch === 'i386' && host === 'x86_64'))
    return refuse('absent', `KVM on a ${host} host cannot run ${arch} guests`);
  try {
    closeSync(openSync(devKvm, 'r+'));
    return undefined;
  } catch (error) {
    const errno = errnoOf(error) ?? 'unknown error';
    const text = `opening ${devKvm}: ${errno}`;
    switch (errno) {
      case 'ENOENT':
        return refuse('absent', `${text}; load the kernel's kvm module, or pass the device into this container`);
      case 'ENODEV':
      case 'ENXIO':
        return refuse(
          'absent',
          `${text}; the kernel has no KVM behind it (virtualization off in firmware or hypervisor?)`,
        );
      case 'EACCES':
      case 'EPERM':
        return refuse('permission', `${text}; join the device's group (usually kvm) or change its mode`);
      case 'EBUSY':
        return refuse('busy', `${text}; another hypervisor holds the processor's virtualization`);
      default:
        return refuse('broken', text);
    }
  }
}

function refuse(reason: KvmRefusal, detail: string): KvmVerdict {
  return { usable: false, reason, detail };
}

/** How a run ended: the guest's last instruction ran, QEMU gave up, or it was stopped. */
type Run =
  | { readonly outcome: 'ran'; readonly timeMs: number }
  | { readonly outcome: 'failed'; readonly how: string; readonly stderr: string }
  | { readonly outcome: 'stopped' };

async function compare(guest: ProbeGuest, options: KvmProbeOptions): Promise<KvmVerdict> {
  const stopTcg = new AbortController();
  const stopKvm = new AbortController();
  const startedMs = performance.now();
  const kvmRun = runGuest(guest, 'kvm', options, stopKvm.signal);
  const tcgRun = runGuest(guest, 'tcg', options, stopTcg.signal);
  let timer = setTimeout(() => stopTcg.abort(), TCG_BOUND_MS);
  try {
    // A KVM that fails does so at once; then there is nothing to compare with.
    const first = await Promise.race([kvmRun, tcgRun.then(() => undefined)]);
    if (first?.outcome === 'failed') return describeFailure(first);
    const tcg = await tcgRun;
    clearTimeout(timer);
    const boundMs = Math.max(LEAST_BOUND_MS, tcg.outcome === 'ran' ? tcg.timeMs * SLOWER_FACTOR : 0);
    timer = setTimeout(() => stopKvm.abort(), Math.max(0, boundMs - (performance.now() - startedMs)));
    return judge(await kvmRun, tcg, boundMs);
  } finally {
    clearTimeout(timer);
    stopTcg.abort();
    stopKvm.abort();
    await Promise.allSettled([kvmRun, tcgRun]);
  }
}

function judge(kvm: Run, tcg: Run, boundMs: number): KvmVerdict {
  const tcgText = tcg.outcome === 'ran' ? `TCG needs ${Math.round(tcg.timeMs)} ms` : 'TCG could not run it either';
  if (kvm.outcome === 'failed') return describeFailure(kvm);
  if (kvm.outcome === 'ran' && kvm.timeMs <= boundMs)
    return { usable: true, timeMs: kvm.timeMs, ...(tcg.outcome === 'ran' && { tcgTimeMs: tcg.timeMs }) };
  return refuse(
    'slower-than-emulation',
    `a small guest did not finish under KVM within ${Math.round(boundMs)} ms (${tcgText}); this is usually a nested hypervisor that emulates guest instructions`,
  );
}

/** KVM_CREATE_VM's errno is in no exit status; QEMU prints it as a number, which is the one thing read from its text. */
const CREATE_VM_ERRNO = /KVM_CREATE_VM\) failed: (\d+)/;
const EBUSY = 16;

function describeFailure(run: Run & { outcome: 'failed' }): KvmVerdict {
  const errno = Number(CREATE_VM_ERRNO.exec(run.stderr)?.[1]);
  const words = run.stderr.trim().split('\n')[0];
  return refuse(
    errno === EBUSY ? 'busy' : 'broken',
    `a small guest under KVM: QEMU ${run.how}${words ? `: ${words}` : ''}`,
  );
}

async function runGuest(
  guest: ProbeGuest,
  accelerator: 'kvm' | 'tcg',
  { qemu, tempDir = tmpdir(), signal }: KvmProbeOptions,
  stop: AbortSignal,
): Promise<Run> {
  const imageFd = openImage(guest.image, tempDir);
  try {
    const args = ['-accel', accelerator, ...guest.args('/dev/fd/3')];
    const startedMs = performance.now();
    const stdio = ['ignore', 'ignore', 'tail', { fd: imageFd }] as const;
    await using child = await spawnChild({ command: qemu, args, stdio, dieWithParent: true }, { signal });
    const kill = (): void => void child.kill('SIGKILL');
    const signals = [stop, ...(signal ? [signal] : [])];
    for (const each of signals) each.addEventListener('abort', kill, { once: true });
    if (signals.some((each) => each.aborted)) kill();
    const { exitCode, signal: killedBy, stderrTail } = await child.exited;
    for (const each of signals) each.removeEventListener('abort', kill);
    signal?.throwIfAborted();
    if (exitCode === guest.exitCode) return { outcome: 'ran', timeMs: performance.now() - startedMs };
    if (stop.aborted) return { outcome: 'stopped' };
    const how = killedBy === undefined ? `exited with status ${exitCode}` : `was ended by ${killedBy}`;
    return { outcome: 'failed', how, stderr: stderrTail };
  } finally {
    closeSync(imageFd);
  }
}

/** An open file that has no name any more, so that nothing is left behind whatever happens. */
function openImage(image: Uint8Array, tempDir: string): number {
  const dir = mkdtempSync(join(tempDir, 'nestling-kvm-'));
  const path = join(dir, 'guest');
  try {
    writeFileSync(path, image);
    return openSync(path, 'r+');
  } finally {
    rmSync(path, { force: true });
    rmdirSync(dir);
  }
}

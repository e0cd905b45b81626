/**
 * libvirt's `virt-qemu-run` on the same XML. It makes QEMU a daemon and does not end with the guest, so both are ended here,
 * by pid: QEMU first, while libvirt is there to remove the cgroup.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SerialFifo } from '../serial-fifo.ts';
import type { BenchGuest, Workplace } from '../workplace.ts';

/** It takes a minute in bad settings. */
const PATIENCE_MS = 120_000;
/** It may never take notice; what it then leaves goes with the private namespaces. */
const NOTICE_MS = 3_000;
const POLL_MS = 5;

/** A root of libvirt's in which nothing was run yet. */
export function makeLibvirtRoot(place: Workplace): string {
  const root = place.folder('libvirt');
  mkdirSync(join(root, 'etc'));
  // Its default is to connect to virtlogd, which may not run here and would be one more process.
  writeFileSync(join(root, 'etc', 'qemu.conf'), 'stdio_handler = "file"\n');
  return root;
}

/** Milliseconds to the guest's first byte. The guest must not end by itself. */
export async function timeLibvirtStart(place: Workplace, guest: BenchGuest, root: string): Promise<number> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  using fifo = new SerialFifo(guest.fifoPath);
  const run = place.start('virt-qemu-run', ['-r', root, guest.xmlPath]);
  try {
    return (await run.whileRunning(fifo.firstByte(signal))) - run.startedMs;
  } finally {
    await endQemu(join(root, 'run', 'qemu', `${guest.name}.pid`));
    await run.end('SIGTERM', signal);
  }
}

/** Kills the QEMU that the file names and waits a while for libvirt to take notice, which removes the file. */
async function endQemu(pidFile: string): Promise<void> {
  if (!existsSync(pidFile)) return;
  const pid = Number(readFileSync(pidFile, 'utf8'));
  if (isQemu(pid)) process.kill(pid, 'SIGKILL');
  const deadline = performance.now() + NOTICE_MS;
  while (existsSync(pidFile) && performance.now() < deadline) await delay(POLL_MS);
}

function isQemu(pid: number): boolean {
  try {
    return pid > 1 && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu-system');
  } catch {
    // It is gone already.
    return false;
  }
}

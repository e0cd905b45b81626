/**
 * libvirt's `virt-qemu-run` on the same XML, in the private host (private-host.ts). It makes QEMU a daemon and does not end with
 * the guest, so both are ended here: QEMU first, while libvirt is there to remove the cgroup.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isTimeout } from '../../src/core/abort.ts';
import { endStrays, killIfThere } from '../private-host.ts';
import { SerialFifo } from '../serial-fifo.ts';
import type { BenchGuest, Workplace } from '../workplace.ts';

/** Where `/dev/kvm` is root's it takes a quarter of a minute, and now and then it never comes back. */
export const LIBVIRT_PATIENCE_MS = 60_000;
/** How long to wait for libvirt to take notice of QEMU's end, and for its own end. */
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

/** Milliseconds to the guest's first byte, `LIBVIRT_PATIENCE_MS` when it takes longer. The guest must not end by itself. */
export async function timeLibvirtStart(place: Workplace, guest: BenchGuest, root: string): Promise<number> {
  using fifo = new SerialFifo(guest.fifoPath);
  const run = place.start('virt-qemu-run', ['-r', root, guest.xmlPath]);
  try {
    return (await run.whileRunning(fifo.firstByte(AbortSignal.timeout(LIBVIRT_PATIENCE_MS)))) - run.startedMs;
  } catch (error) {
    if (isTimeout(error)) return LIBVIRT_PATIENCE_MS;
    throw error;
  } finally {
    await endQemu(join(root, 'run', 'qemu', `${guest.name}.pid`));
    run.child.kill('SIGTERM');
    await endStrays();
  }
}

/** Kills the QEMU that the file names and waits a while for libvirt to take notice, which removes the file. */
async function endQemu(pidFile: string): Promise<void> {
  if (!existsSync(pidFile)) return;
  killIfThere(Number(readFileSync(pidFile, 'utf8')));
  const deadline = performance.now() + NOTICE_MS;
  while (existsSync(pidFile) && performance.now() < deadline) await delay(POLL_MS);
}

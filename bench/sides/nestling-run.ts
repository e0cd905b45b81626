/** The `nestling` command as users start it. */
import { SerialFifo } from '../serial-fifo.ts';
import type { BenchGuest, Workplace } from '../workplace.ts';

export interface NestlingRun {
  /** Where capabilities are kept: an empty one is a first run on this host. */
  readonly cacheDir: string;
  readonly root?: string;
}

function runArguments(guest: BenchGuest, { root }: NestlingRun): string[] {
  return ['run', ...(root === undefined ? [] : ['--root', root]), guest.xmlPath];
}

/** Milliseconds to the guest's first byte. The guest must not end by itself. */
export async function timeNestlingStart(place: Workplace, guest: BenchGuest, options: NestlingRun): Promise<number> {
  const signal = AbortSignal.timeout(20_000);
  using fifo = new SerialFifo(guest.fifoPath);
  const run = place.nestling(runArguments(guest, options), options.cacheDir);
  try {
    return (await run.whileRunning(fifo.firstByte(signal))) - run.startedMs;
  } finally {
    await run.end('SIGTERM', signal);
  }
}

/** Milliseconds from the last byte of a guest that powers off to the end of the command. */
export async function timeNestlingExit(place: Workplace, guest: BenchGuest, options: NestlingRun): Promise<number> {
  const signal = AbortSignal.timeout(20_000);
  using fifo = new SerialFifo(guest.fifoPath);
  const run = place.nestling(runArguments(guest, options), options.cacheDir);
  const exitedMs = await run.exited(signal);
  if (run.child.exitCode !== 0) throw new Error(`nestling run: status ${run.child.exitCode}: ${run.stderr}`);
  return exitedMs - fifo.lastByteMs;
}

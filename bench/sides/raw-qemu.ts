/**
 * QEMU started by hand with the arguments that Nestling would start it with: what everything else is measured against. The
 * descriptors in the plan are given to it, and nobody speaks to its monitor.
 */
import type { StdioOptions } from 'node:child_process';
import { on } from 'node:events';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Duplex } from 'node:stream';
import type { FdRequest } from '../../src/driver/qemu/plan/parts.ts';
import { connect } from '../../src/index.ts';
import { SerialFifo } from '../serial-fifo.ts';
import type { BenchGuest, Run, Workplace } from '../workplace.ts';

/** What starting QEMU needs of Nestling's plan. */
export interface RawPlan {
  readonly binary: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly fds: readonly FdRequest[];
}

const FIRST_FD = 3;
const MONITOR = 'monitor';
const MASTER_KEY_BYTES = 32;
const PATIENCE_MS = 20_000;

/** Nestling's plan for the guest, in a root that stays as long as the workplace. */
export async function readPlan(place: Workplace, guest: BenchGuest, cacheDir: string): Promise<RawPlan> {
  await using connection = await connect(`qemu:///embed?root=${encodeURIComponent(place.folder('plan'))}`, {
    cacheDir,
  });
  const plan = await connection.planDomain(guest.xml);
  // The contract calls a descriptor an object; it is this driver's request.
  return { ...plan, fds: plan.fds as readonly FdRequest[] };
}

/** Starts QEMU with the plan's arguments, or others. */
export function startRawQemu(place: Workplace, plan: RawPlan, args = plan.arguments): Run {
  const opened: number[] = [];
  try {
    const inherited = plan.fds.map((request) => {
      if (request.kind === 'socketpair') return 'pipe';
      const fd = openRequest(place, request);
      opened.push(fd);
      return fd;
    });
    const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', ...inherited];
    return place.start(plan.binary, args, { stdio, env: { ...process.env, ...plan.environment } });
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function openRequest(place: Workplace, request: FdRequest): number {
  switch (request.kind) {
    case 'file':
      mkdirSync(dirname(request.path), { recursive: true });
      return openSync(request.path, request.flags);
    case 'master-key': {
      const path = join(place.dir, 'master-key');
      writeFileSync(path, Buffer.alloc(MASTER_KEY_BYTES));
      return openSync(path, 'r');
    }
    default:
      throw new Error(`the bench's guests need no descriptor of the kind ${request.kind}`);
  }
}

/** Milliseconds to the guest's first byte. The guest must not end by itself. */
export async function timeRawStart(place: Workplace, plan: RawPlan, guest: BenchGuest): Promise<number> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  using fifo = new SerialFifo(guest.fifoPath);
  const run = startRawQemu(place, plan);
  try {
    return (await run.whileRunning(fifo.firstByte(signal))) - run.startedMs;
  } finally {
    await run.end('SIGKILL', signal);
  }
}

/** Milliseconds from the last byte of a guest that powers off to QEMU's end. */
export async function timeRawExit(place: Workplace, plan: RawPlan, guest: BenchGuest): Promise<number> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  using fifo = new SerialFifo(guest.fifoPath);
  // With it QEMU waits for its manager to end it.
  const args = plan.arguments.filter((argument) => argument !== '-no-shutdown');
  const run = startRawQemu(place, plan, args);
  return (await run.exited(signal)) - fifo.lastByteMs;
}

/**
 * Milliseconds from just before QEMU's start to its greeting on the monitor, which it sends before it makes the machine; or, when
 * `until` is `answer`, to the answer of `query-status`, which comes when the guest runs.
 */
export async function timeRawMonitor(place: Workplace, plan: RawPlan, until: 'greeting' | 'answer'): Promise<number> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const beforeMs = performance.now();
  const run = startRawQemu(place, plan);
  try {
    const index = plan.fds.findIndex((request) => request.kind === 'socketpair' && request.name === MONITOR);
    const monitor = run.child.stdio[FIRST_FD + index];
    if (!(monitor instanceof Duplex)) throw new TypeError('QEMU has no monitor');
    if (until === 'answer') monitor.write('{"execute":"qmp_capabilities"}{"execute":"query-status"}');
    await run.whileRunning(untilText(monitor, until === 'greeting' ? '"QMP"' : '"running"', signal));
    return performance.now() - beforeMs;
  } finally {
    await run.end('SIGKILL', signal);
  }
}

async function untilText(stream: Duplex, wanted: string, signal: AbortSignal): Promise<void> {
  let text = '';
  for await (const [chunk] of on(stream, 'data', { signal, close: ['end'] })) {
    text += String(chunk);
    if (text.includes(wanted)) return;
  }
}

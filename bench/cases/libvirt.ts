/**
 * What Nestling adds to raw QEMU as a share of what libvirt's `virt-qemu-run` adds on the same XML, with `/dev/kvm` open to all
 * and with `/dev/kvm` for root alone. Measured by a copy of this program in private namespaces: see private-host.ts.
 */
import { existsSync } from 'node:fs';
import type { Bench, BenchOptions } from '../bench.ts';
import { interleave, type Result, type Row, summarize } from '../figures.ts';
import { type KvmNode, measureInPrivateHost, missingForPrivateHost } from '../private-host.ts';
import { timeNestlingStart } from '../sides/nestling-run.ts';
import { readPlan, timeRawStart } from '../sides/raw-qemu.ts';
import { LIBVIRT_PATIENCE_MS, makeLibvirtRoot, timeLibvirtStart } from '../sides/virt-qemu-run.ts';
import type { Workplace } from '../workplace.ts';

const WARM_SHARE_GOAL = 100 / 6;
const COLD_SHARE_GOAL = 100 / 3;
/** How much of a difference between two equal things this machine may make up. */
const NOISE_MS = 15;
/** Where /dev/kvm is root's, virt-qemu-run needs 13 s and more. */
const SLOW_SAMPLES = 3;

const VIRT_QEMU_RUN = '/usr/bin/virt-qemu-run';
const WHAT = 'time added to raw QEMU, ours / virt-qemu-run';

export const LIBVIRT: Bench = {
  name: 'libvirt',
  summary: 'time added to raw QEMU, against virt-qemu-run',
  measure: async (_place, options) => {
    if (!existsSync(VIRT_QEMU_RUN))
      return [{ what: WHAT, skipped: `${VIRT_QEMU_RUN} is not installed (Debian: libvirt-daemon)` }];
    const missing = missingForPrivateHost();
    if (missing !== undefined) return [{ what: WHAT, skipped: missing }];
    return await measureInPrivateHost('libvirt', options);
  },
};

/** The measurement itself, in the private namespaces. `kvm` is a device node of our own over `/dev/kvm`. */
export async function measureLibvirt(
  place: Workplace,
  kvm: KvmNode | undefined,
  { rounds }: BenchOptions,
): Promise<Result[]> {
  const guest = await place.guest('halt');
  const [cacheDir, root, libvirtRoot, closedRoot] = [
    place.folder('cache'),
    place.folder('root'),
    makeLibvirtRoot(place),
    makeLibvirtRoot(place),
  ];
  const plan = await readPlan(place, guest, cacheDir);
  const ours = (mode: number, warm: boolean) => async (): Promise<number> => {
    kvm?.setMode(mode);
    const where = warm ? { cacheDir, root } : { cacheDir: place.folder('cache'), root: place.folder('root') };
    return await timeNestlingStart(place, guest, where);
  };
  const theirs = (mode: number, warmRoot?: string) => async (): Promise<number> => {
    kvm?.setMode(mode);
    return await timeLibvirtStart(place, guest, warmRoot ?? makeLibvirtRoot(place));
  };
  const open = {
    raw: () => timeRawStart(place, plan, guest),
    oursWarm: ours(0o666, true),
    oursCold: ours(0o666, false),
    theirsWarm: theirs(0o666, libvirtRoot),
    theirsCold: theirs(0o666),
  };
  const closed = {
    oursWarmClosed: ours(0o600, true),
    oursColdClosed: ours(0o600, false),
    theirsWarmClosed: theirs(0o600, closedRoot),
    theirsColdClosed: theirs(0o600),
  };
  if (kvm === undefined) return shareRows(await interleave(open, { rounds }));
  const atMost = { theirsWarmClosed: SLOW_SAMPLES, theirsColdClosed: SLOW_SAMPLES };
  const samples = await interleave({ ...open, ...closed }, { rounds, atMost });
  return [...shareRows(samples), ...closedRows(samples)];
}

type OpenSamples = Record<'raw' | 'oursWarm' | 'oursCold' | 'theirsWarm' | 'theirsCold', number[]>;
type ClosedSamples = Record<'oursWarmClosed' | 'oursColdClosed' | 'theirsWarmClosed' | 'theirsColdClosed', number[]>;

function shareRows({ raw, oursWarm, oursCold, theirsWarm, theirsCold }: OpenSamples): Row[] {
  return [
    shareRow('warm (same root again)', raw, oursWarm, theirsWarm, WARM_SHARE_GOAL),
    shareRow('cold (new root)', raw, oursCold, theirsCold, COLD_SHARE_GOAL),
  ];
}

function shareRow(how: string, raw: number[], ours: number[], theirs: number[], goal: number): Row {
  const base = summarize('raw QEMU', raw);
  const mine = summarize('ours', ours);
  const other = summarize('virt-qemu-run', theirs);
  const addedMs = mine.median - base.median;
  const othersAddedMs = other.median - base.median;
  return {
    what: `${WHAT}, ${how}`,
    unit: 'ms',
    ours: mine,
    others: [other, base],
    figure: { name: 'share', value: (100 * addedMs) / othersAddedMs, unit: '%' },
    goal,
    note: `added: ours ${Math.round(addedMs)} ms, virt-qemu-run ${Math.round(othersAddedMs)} ms; its fairest setting: a reaping parent, /dev/kvm open to all`,
  };
}

function closedRows(samples: OpenSamples & ClosedSamples): Row[] {
  return [
    closedRow('warm', samples.oursWarm, samples.oursWarmClosed, samples.theirsWarmClosed),
    closedRow('cold', samples.oursCold, samples.oursColdClosed, samples.theirsColdClosed),
  ];
}

function closedRow(how: string, open: number[], closed: number[], theirs: number[]): Row {
  const before = summarize('ours, /dev/kvm 0666', open);
  const mine = summarize('ours', closed);
  return {
    what: `the same with /dev/kvm 0600 root, ${how}`,
    unit: 'ms',
    ours: mine,
    others: [summarize('virt-qemu-run', theirs), before],
    figure: { name: 'slower by', value: mine.median - before.median, unit: 'ms' },
    goal: NOISE_MS,
    note: `no slower than the row above, within ${NOISE_MS} ms of noise; virt-qemu-run is measured only ${SLOW_SAMPLES} times, without warm-up, and cut off at ${LIBVIRT_PATIENCE_MS / 1000} s`,
  };
}

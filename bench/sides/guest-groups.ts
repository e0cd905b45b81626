/**
 * The cgroups of one guest, made, limited and removed: by the library as a guest's start and end do it, and by the same system calls in a
 * row. Needs root and a place where groups can be made; runs on the host as in a guest of the suite.
 */
import { closeSync, constants, mkdirSync, openSync, readFileSync, rmdirSync, writeSync } from 'node:fs';
import type { CgroupAction } from '../../src/cgroup/action.ts';
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { type AttachDeviceProgram, loadDevicePrograms } from '../../src/cgroup/device-program.ts';
import { DEFAULT_DEVICE_ACL, deviceRules } from '../../src/cgroup/device-rules.ts';
import { createPartition, removePartition } from '../../src/cgroup/partition.ts';
import { Ledger } from '../../src/core/ledger.ts';
import { planGuestGroups } from '../../src/guest/cgroups/guest-groups.ts';
import { MadeCgroups } from '../../src/guest/cgroups/made-cgroups.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';

/** Removing a group waits for the kernel's other work now and then; single rounds say little. */
const WARM_UPS = 30;
const GUEST = { id: 1, root: '/bench', layout: 'machine' } as const;

export interface GuestGroupsTimes {
  readonly ours: readonly number[];
  readonly plain: readonly number[];
  /** Reading the definition, which asks the kernel for nothing: how fast this CPU runs our code. */
  readonly parsing: readonly number[];
  /** How many groups a guest gets, and how many writes. */
  readonly groups: number;
  readonly writes: number;
}

/** In a partition of its own, which is removed again. `ledgerDir` is where the library notes what it makes. */
export async function timeGuestGroups(ledgerDir: string, rounds: number): Promise<GuestGroupsTimes> {
  const partition = `/nestling-bench-${process.pid}`;
  createPartition(partition);
  try {
    return await timeIn(partition, ledgerDir, rounds);
  } finally {
    await removePartition(partition);
  }
}

async function timeIn(partition: string, ledgerDir: string, rounds: number): Promise<GuestGroupsTimes> {
  using ledger = Ledger.open(ledgerDir);
  const { domain } = parseDomain(xmlOf(partition));
  const deviceNodes = DEFAULT_DEVICE_ACL;
  const ours = async (): Promise<void> => {
    const made = await MadeCgroups.make({ ...GUEST, deviceNodes: () => deviceNodes, ledger }, domain);
    await made?.[Symbol.asyncDispose]();
  };
  const groups = planGuestGroups({ ...GUEST, domain, host: detectCgroups(), devices: deviceRules(deviceNodes) });
  if (groups === undefined) throw new Error('the guest gets no groups');
  const { actions, directories } = groups;
  const calls = plainCalls(actions, directories, await loadDevicePrograms());
  const times: { ours: number[]; plain: number[]; parsing: number[] } = { ours: [], plain: [], parsing: [] };
  for (let round = -WARM_UPS; round < rounds; round++) {
    const parsing = await timeOf(() => parseDomain(xmlOf(partition)));
    const sample = { parsing, ...(await bothInTurn(ours, () => runAll(calls), round % 2 === 0)) };
    if (round < 0) continue;
    for (const side of ['ours', 'plain', 'parsing'] as const) times[side].push(sample[side]);
  }
  return {
    ...times,
    groups: directories.length,
    writes: actions.filter(({ kind }) => kind === 'write' || kind === 'copy-from-parent').length,
  };
}

async function bothInTurn(
  ours: () => Promise<void>,
  plain: () => void,
  oursFirst: boolean,
): Promise<{ ours: number; plain: number }> {
  if (oursFirst) return { ours: await timeOf(ours), plain: await timeOf(plain) };
  const plainMs = await timeOf(plain);
  return { ours: await timeOf(ours), plain: plainMs };
}

async function timeOf(act: () => unknown): Promise<number> {
  const beforeMs = performance.now();
  await act();
  return performance.now() - beforeMs;
}

type Call = () => void;

function runAll(calls: readonly Call[]): void {
  for (const call of calls) call();
}

/** What somebody would write by hand who knew it all beforehand: no look around, no error handling, no ledger. */
function plainCalls(
  actions: readonly CgroupAction[],
  directories: readonly string[],
  attach: AttachDeviceProgram,
): Call[] {
  const own = new Set(directories);
  const make = actions.flatMap((action): Call[] => {
    if (action.kind === 'mkdir') return own.has(action.directory) ? [() => mkdirSync(action.directory)] : [];
    if (action.kind === 'attach-device-program') return [() => attach(action.directory, action.rules)];
    // Of the partition above everything is as it should be.
    if (action.kind === 'copy-from-parent' && own.has(action.directory)) {
      const path = `${action.directory}/${action.file}`;
      const parent = `${action.directory.slice(0, action.directory.lastIndexOf('/'))}/${action.file}`;
      return [() => writeTo(path, readFileSync(parent, 'utf8').trim())];
    }
    if (action.kind === 'write') {
      const path = `${action.directory}/${action.file}`;
      return [() => writeTo(path, action.value)];
    }
    return [];
  });
  const remove = directories.toReversed().map((directory) => () => rmdirSync(directory));
  return [...make, ...remove];
}

function writeTo(path: string, value: string): void {
  const fd = openSync(path, constants.O_WRONLY);
  writeSync(fd, value);
  closeSync(fd);
}

function xmlOf(partition: string): string {
  return `<domain type='qemu'>
  <name>bench</name>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <memtune><hard_limit unit='MiB'>512</hard_limit><soft_limit unit='MiB'>256</soft_limit></memtune>
  <cputune>
    <shares>200</shares><period>100000</period><quota>50000</quota><emulator_quota>80000</emulator_quota>
    <vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='0'/><emulatorpin cpuset='0'/>
  </cputune>
  <resource><partition>${partition}</partition></resource>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>`;
}

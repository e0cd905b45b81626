/**
 * What a guest has used, under the names of libvirt's bulk statistics (virConnectGetAllDomainStats): QEMU's word over the monitor, and the
 * kernel's of its process, threads and cgroup (`process-stats.ts`). Reads only.
 */
import { isTimeout, withTimeout } from '../../../core/abort.ts';
import { memberOf } from '../../../core/members.ts';
import { definitionOf } from '../../../guest/domain-report.ts';
import { stateOf } from '../../../guest/domain-store.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { TypedParameters } from '../../driver.ts';
import type { StatsGroup, StatsOptions } from '../../inspection-operations.ts';
import { readBalloonStats } from './balloon-stats.ts';
import { blockStats, readBlocks } from './block-stats.ts';
import { infoOf } from './domain-numbers.ts';
import { readInterfaceCounters } from './guest-interfaces.ts';
import { groupStats, haltPollTimes, processTimes, rssKiB, threadStats } from './process-stats.ts';
import type { DomainRecord } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';
import { readThreads } from './thread-placement.ts';

/** `VIR_VCPU_RUNNING`. */
const VCPU_RUNNING = 1;
/** What QEMU has not told by then is left out, for whoever does not want to wait. */
const NO_WAIT_MS = 200;
/** virDomainDirtyRateStatus by QEMU's names. */
const DIRTY_RATE_STATES = ['unstarted', 'measuring', 'measured'];

type Numbers = Record<string, number | bigint | string>;

/** Statistics of one domain; of one that is off only its state and sizes. */
export async function readDomainStats(
  record: DomainRecord,
  { groups, noWait = false, backing = false, signal }: StatsOptions = {},
): Promise<TypedParameters> {
  const wants = (group: StatsGroup): boolean => groups === undefined || groups.includes(group);
  const { guest } = record;
  const domain = definitionOf(record, false);
  using patience = noWait ? withTimeout(signal, NO_WAIT_MS) : undefined;
  const ask = async <T>(group: StatsGroup, question: (guest: RunningGuest, limit?: AbortSignal) => Promise<T>) =>
    guest === undefined || !wants(group) ? undefined : await answered(question(guest, patience ?? signal), patience);
  const [threads, blocks, balloon, iothreads, dirtyRate] = await Promise.all([
    // Threads are asked for once, whatever needs them.
    ask('vcpu', (found, limit) => readThreads(found.qmp, found.pid, limit)),
    ask('block', (found, limit) => readBlocks(found.qmp, { backing }, limit)),
    ask('balloon', readBalloonStats),
    ask('iothread', async (found, limit) => await found.qmp.execute('query-iothreads', undefined, { signal: limit })),
    ask('dirtyrate', async (found, limit) => await found.qmp.execute('query-dirty-rate', undefined, { signal: limit })),
  ]);
  const stats: Numbers = {};
  if (wants('state')) {
    const { state, reason } = stateOf(record);
    Object.assign(stats, { 'state.state': state, 'state.reason': reason });
  }
  if (guest !== undefined && wants('cpu-total')) Object.assign(stats, cpuStats(guest));
  if (wants('balloon')) Object.assign(stats, balloonStats(record, balloon));
  if (wants('vcpu')) Object.assign(stats, vcpuStats(record, threads));
  if (guest !== undefined && wants('interface')) Object.assign(stats, interfaceStats(domain));
  if (wants('block')) Object.assign(stats, blockStats(domain, blocks));
  if (guest !== undefined && wants('perf')) {
    for (const [name, value] of Object.entries(guest.perf?.read() ?? {})) stats[`perf.${name}`] = value;
  }
  Object.assign(stats, iothreadStats(iothreads), dirtyRateStats(dirtyRate));
  return stats;
}

/** Undefined where QEMU takes longer than somebody wants to wait. */
async function answered<T>(answer: Promise<T>, patience: AbortSignal | undefined): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (patience?.aborted === true && isTimeout(patience.reason)) return undefined;
    throw error;
  }
}

function cpuStats(guest: RunningGuest): Numbers {
  return {
    ...processTimes(guest.pid),
    // Caches are not watched by anybody here.
    'cpu.cache.monitor.count': 0,
    ...haltPollTimes(guest.pid),
    ...groupStats(guest),
  };
}

function balloonStats(record: DomainRecord, told: Awaited<ReturnType<typeof readBalloonStats>> | undefined): Numbers {
  const { memoryKiB, maxMemoryKiB } = infoOf(record);
  const stats: Numbers = { 'balloon.current': memoryKiB, 'balloon.maximum': maxMemoryKiB };
  if (record.guest === undefined) return stats;
  for (const [name, value] of Object.entries(told ?? {})) {
    if (name !== 'actual') stats[`balloon.${name === 'last_update' ? 'last-update' : name}`] = value;
  }
  stats['balloon.rss'] = rssKiB(record.guest.pid);
  return stats;
}

function vcpuStats(record: DomainRecord, threads: Awaited<ReturnType<typeof readThreads>> | undefined): Numbers {
  const { guest, definition } = record;
  const { value: maximum = 1 } = (guest?.domain ?? definition)?.vcpu ?? {};
  const stats: Numbers = {
    'vcpu.current': infoOf(record).vcpus,
    'vcpu.maximum': maximum,
  };
  if (guest === undefined || threads === undefined) return stats;
  for (const [id, tid] of threads.vcpus) {
    stats[`vcpu.${id}.state`] = VCPU_RUNNING;
    for (const [name, value] of Object.entries(threadStats(guest.pid, tid))) stats[`vcpu.${id}.${name}`] = value;
  }
  return stats;
}

/** Names as virConnectGetAllDomainStats has them. */
const NET_COUNTERS = {
  'rx.bytes': 'rxBytes',
  'rx.pkts': 'rxPackets',
  'rx.errs': 'rxErrors',
  'rx.drop': 'rxDropped',
  'tx.bytes': 'txBytes',
  'tx.pkts': 'txPackets',
  'tx.errs': 'txErrors',
  'tx.drop': 'txDropped',
} as const;

function interfaceStats(domain: Domain): Numbers {
  const interfaces = domain.devices?.interfaces ?? [];
  const stats: Numbers = { 'net.count': interfaces.length };
  interfaces.forEach(({ target }, index) => {
    if (target?.dev === undefined) return;
    stats[`net.${index}.name`] = target.dev;
    const counters = readInterfaceCounters(domain, target.dev);
    if (counters === undefined) return;
    for (const [name, field] of Object.entries(NET_COUNTERS)) stats[`net.${index}.${name}`] = counters[field];
  });
  return stats;
}

function iothreadStats(reply: unknown): Numbers {
  if (!Array.isArray(reply) || reply.length === 0) return {};
  const stats: Numbers = { 'iothread.count': reply.length };
  for (const thread of reply.toSorted((a: unknown, b: unknown) => numberOf(a) - numberOf(b))) {
    for (const name of ['poll-max-ns', 'poll-grow', 'poll-shrink']) {
      const value = memberOf(thread, name);
      if (typeof value === 'number') {
        stats[`iothread.${numberOf(thread)}.${name}`] = name === 'poll-max-ns' ? BigInt(value) : value;
      }
    }
  }
  return stats;
}

/** `iothread3` is number 3. */
function numberOf(thread: unknown): number {
  return Number(String(memberOf(thread, 'id')).replace('iothread', ''));
}

function dirtyRateStats(reply: unknown): Numbers {
  if (reply === undefined) return {};
  const status = DIRTY_RATE_STATES.indexOf(String(memberOf(reply, 'status')));
  const mode = memberOf(reply, 'mode');
  const megabytes = memberOf(reply, 'dirty-rate');
  const vcpus = memberOf(reply, 'vcpu-dirty-rate');
  const stats: Numbers = {
    'dirtyrate.calc_status': Math.max(0, status),
    'dirtyrate.calc_start_time': BigInt(Number(memberOf(reply, 'start-time') ?? 0)),
    'dirtyrate.calc_period': Number(memberOf(reply, 'calc-time') ?? 0),
    'dirtyrate.calc_mode': typeof mode === 'string' ? mode : 'page-sampling',
  };
  if (typeof megabytes === 'number') stats['dirtyrate.megabytes_per_second'] = BigInt(megabytes);
  for (const vcpu of Array.isArray(vcpus) ? vcpus : []) {
    stats[`dirtyrate.vcpu.${Number(memberOf(vcpu, 'id'))}.megabytes_per_second`] = BigInt(
      Number(memberOf(vcpu, 'dirty-rate')),
    );
  }
  return stats;
}

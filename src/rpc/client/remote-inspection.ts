/** What is measured of a domain, behind the protocol. */
import { ErrorCode, VirtError } from '../../core/errors.ts';
import type { TypedParameters, Waiting } from '../../driver/driver.ts';
import {
  type BlockInfo,
  type DirtyRateOptions,
  type GuestInterface,
  type InspectionOperations,
  type InterfaceStats,
  type JobStats,
  MEMORY_STATS,
  type MemoryStats,
  type StatsOptions,
  type VcpuInfo,
} from '../../driver/inspection-operations.ts';
import { fromTypedParams, Max, REMOTE_PROCEDURES as P, type TypedParam } from '../../protocol/index.ts';
import {
  ADDRESS_SOURCES,
  ADDRESS_TYPES,
  bitsOf,
  CONTROL_STATES,
  DIRTY_RATE_MODES,
  DISK_ERRORS,
  flagsOf,
  JOB_TYPES,
  JobFlag,
  MessagesFlag,
  PeekFlag,
  STATS_GROUPS,
  StatsFlag,
} from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

/** Host CPUs that one call for their statistics may be about. */
const CPUS_AT_ONCE = Max.domainGetCpuStatsNcpus;

export class RemoteInspection implements InspectionOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async stats(uuid: string, options: StatsOptions = {}): Promise<TypedParameters> {
    const dom = await this.#calls.domain(uuid, options);
    const args = {
      doms: [dom],
      stats: bitsOf(STATS_GROUPS, options.groups),
      flags: flagsOf([StatsFlag.NOWAIT, options.noWait], [StatsFlag.BACKING, options.backing]),
    };
    const { retStats } = await this.#calls.call(P.connectGetAllDomainStats, args, options);
    return fromTypedParams(retStats[0]?.params ?? []);
  }

  async vcpus(uuid: string, options: Waiting = {}): Promise<readonly VcpuInfo[]> {
    const dom = await this.#calls.domain(uuid, options);
    const { num } = await this.#calls.call(P.domainGetMaxVcpus, { dom }, options);
    const { info } = await this.#calls.call(P.domainGetVcpus, { dom, maxinfo: num, maplen: 0 }, options);
    return info.map(({ number, state, cpuTime, cpu }) => ({
      number,
      state: state === 1 || state === 2 ? state : 0,
      cpuTimeNs: cpuTime,
      cpu,
    }));
  }

  async memoryStats(uuid: string, options: Waiting = {}): Promise<MemoryStats> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, maxStats: MEMORY_STATS.length, flags: 0 };
    const { stats } = await this.#calls.call(P.domainMemoryStats, args, options);
    return Object.fromEntries(
      stats.flatMap(({ tag, val }) => (MEMORY_STATS[tag] === undefined ? [] : [[MEMORY_STATS[tag], val]])),
    );
  }

  async blockStats(uuid: string, disk: string, options: Waiting = {}): Promise<TypedParameters> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, path: disk, nparams: Max.domainBlockStatsParameters, flags: 0 };
    return fromTypedParams((await this.#calls.call(P.domainBlockStatsFlags, args, options)).params);
  }

  async blockInfo(uuid: string, disk: string, options: Waiting = {}): Promise<BlockInfo> {
    const dom = await this.#calls.domain(uuid, options);
    return await this.#calls.call(P.domainGetBlockInfo, { dom, path: disk, flags: 0 }, options);
  }

  async interfaceStats(uuid: string, device: string, options: Waiting = {}): Promise<InterfaceStats> {
    const dom = await this.#calls.domain(uuid, options);
    const found = await this.#calls.call(P.domainInterfaceStats, { dom, device }, options);
    return {
      rxBytes: found.rxBytes,
      rxPackets: found.rxPackets,
      rxErrors: found.rxErrs,
      rxDropped: found.rxDrop,
      txBytes: found.txBytes,
      txPackets: found.txPackets,
      txErrors: found.txErrs,
      txDropped: found.txDrop,
    };
  }

  async interfaceAddresses(
    uuid: string,
    source: 'lease' | 'agent' | 'arp',
    options: Waiting = {},
  ): Promise<readonly GuestInterface[]> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, source: ADDRESS_SOURCES.indexOf(source), flags: 0 };
    const { ifaces } = await this.#calls.call(P.domainInterfaceAddresses, args, options);
    return ifaces.map(({ name, hwaddr, addrs }) => ({
      name,
      mac: hwaddr,
      addresses: addrs.map(({ type, addr, prefix }) => ({
        type: ADDRESS_TYPES[type] ?? 'ipv4',
        address: addr,
        prefix,
      })),
    }));
  }

  async cpuStats(
    uuid: string,
    options: Waiting = {},
  ): Promise<{ readonly total: TypedParameters; readonly perCpu: readonly (TypedParameters | undefined)[] }> {
    const dom = await this.#calls.domain(uuid, options);
    const ask = async (startCpu: number, ncpus: number, nparams: number): Promise<readonly TypedParam[]> =>
      (await this.#calls.call(P.domainGetCpuStats, { dom, nparams, startCpu, ncpus, flags: 0 }, options)).params;
    const count = async (startCpu: number, ncpus: number): Promise<number> =>
      (await this.#calls.call(P.domainGetCpuStats, { dom, nparams: 0, startCpu, ncpus, flags: 0 }, options)).nparams;
    const total = fromTypedParams(await ask(-1, 1, await count(-1, 1)));
    const cpus = await count(0, 0).catch(noneOnV2);
    const each = cpus === 0 ? 0 : await count(0, 1);
    const perCpu: (TypedParameters | undefined)[] = [];
    const end = each === 0 ? 0 : cpus;
    for (let start = 0; start < end; start += CPUS_AT_ONCE) {
      const ncpus = Math.min(CPUS_AT_ONCE, cpus - start);
      const params = await ask(start, ncpus, each);
      for (let cpu = 0; cpu < ncpus; cpu++) {
        const own = params.slice(cpu * each, (cpu + 1) * each);
        perCpu.push(own.length === 0 ? undefined : fromTypedParams(own));
      }
    }
    return { total, perCpu };
  }

  async diskErrors(
    uuid: string,
    options: Waiting = {},
  ): Promise<readonly { readonly disk: string; readonly error: 'unspecified' | 'no-space' }[]> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, maxerrors: Max.domainDiskErrors, flags: 0 };
    const { errors } = await this.#calls.call(P.domainGetDiskErrors, args, options);
    return errors.map(({ disk, error }) => ({
      disk,
      error: DISK_ERRORS[error] === 'no-space' ? 'no-space' : 'unspecified',
    }));
  }

  async messages(
    uuid: string,
    options: { readonly deprecation?: boolean; readonly tainting?: boolean } & Waiting = {},
  ): Promise<readonly string[]> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = flagsOf([MessagesFlag.DEPRECATION, options.deprecation], [MessagesFlag.TAINTING, options.tainting]);
    return (await this.#calls.call(P.domainGetMessages, { dom, flags }, options)).msgs;
  }

  async controlState(
    uuid: string,
    options: Waiting = {},
  ): Promise<{ readonly state: 'ok' | 'job' | 'occupied' | 'error'; readonly sinceMs: number }> {
    const dom = await this.#calls.domain(uuid, options);
    const { state, stateTime } = await this.#calls.call(P.domainGetControlInfo, { dom, flags: 0 }, options);
    return { state: CONTROL_STATES[state] ?? 'error', sinceMs: Number(stateTime) };
  }

  async jobStats(
    uuid: string,
    options: { readonly completed?: boolean; readonly keep?: boolean } & Waiting = {},
  ): Promise<JobStats> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = flagsOf([JobFlag.COMPLETED, options.completed], [JobFlag.KEEP_COMPLETED, options.keep]);
    const { type, params } = await this.#calls.call(P.domainGetJobStats, { dom, flags }, options);
    return { type: JOB_TYPES[type] ?? 'none', parameters: fromTypedParams(params) };
  }

  async abortJob(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.domainAbortJob, { dom: await this.#calls.domain(uuid, options) }, options);
  }

  async securityLabels(
    uuid: string,
    options: Waiting = {},
  ): Promise<readonly { readonly model: string; readonly label: string; readonly enforcing: boolean }[]> {
    const dom = await this.#calls.domain(uuid, options);
    const { labels } = await this.#calls.call(P.domainGetSecurityLabelList, { dom }, options);
    // The protocol does not say which model a label is of.
    return labels.map(({ label, enforcing }) => ({ model: '', label: textOf(label), enforcing: enforcing !== 0 }));
  }

  async launchSecurity(uuid: string, options: Waiting = {}): Promise<TypedParameters> {
    const dom = await this.#calls.domain(uuid, options);
    return fromTypedParams((await this.#calls.call(P.domainGetLaunchSecurityInfo, { dom, flags: 0 }, options)).params);
  }

  async measureDirtyRate(uuid: string, seconds: number, options: DirtyRateOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = DIRTY_RATE_MODES.indexOf(options.mode ?? 'page-sampling');
    await this.#calls.call(P.domainStartDirtyRateCalc, { dom, seconds, flags }, options);
  }

  async setBlockThreshold(uuid: string, disk: string, bytes: bigint, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainSetBlockThreshold, { dom, dev: disk, threshold: bytes, flags: 0 }, options);
  }

  async blockPeek(
    uuid: string,
    disk: string,
    offset: bigint,
    length: number,
    options: Waiting = {},
  ): Promise<Uint8Array> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, path: disk, offset, size: length, flags: 0 };
    return (await this.#calls.call(P.domainBlockPeek, args, options)).buffer;
  }

  async memoryPeek(
    uuid: string,
    offset: bigint,
    length: number,
    options: { readonly physical?: boolean } & Waiting = {},
  ): Promise<Uint8Array> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = options.physical === true ? PeekFlag.PHYSICAL : PeekFlag.VIRTUAL;
    return (await this.#calls.call(P.domainMemoryPeek, { dom, offset, size: length, flags }, options)).buffer;
  }
}

/** Bytes up to the NUL that ends them. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

/** On cgroup v2 nobody counts the time on each host CPU, and servers say so by an error. */
function noneOnV2(error: unknown): number {
  if (error instanceof VirtError && error.code === ErrorCode.OPERATION_INVALID) return 0;
  throw error;
}

/** What is measured of containers: CPU time, memory and I/O of their group, traffic of their interfaces. Reads only. */
import { readFileSync, statSync } from 'node:fs';
import { deviceNumbers } from '../../../cgroup/block-device.ts';
import { countOomKills, readStats, statPerCpu } from '../../../cgroup/stats.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { activeGuest, definitionOf } from '../../../guest/domain-report.ts';
import { stateOf } from '../../../guest/domain-store.ts';
import { interfacesOfLeases } from '../../../guest/guest-ports.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { TypedParameters } from '../../driver.ts';
import type {
  GuestInterface,
  InspectionOperations,
  InterfaceStats,
  JobStats,
  MemoryStats,
  StatsOptions,
} from '../../inspection-operations.ts';
import type { LxcParts } from './lxc-parts.ts';
import type { RunningContainer } from './running-container.ts';
import { unsupported } from './unsupported.ts';

/** Files of /sys/class/net/NAME/statistics: what the host sends is what the container receives. */
const COUNTERS = {
  rxBytes: 'tx_bytes',
  rxPackets: 'tx_packets',
  rxErrors: 'tx_errors',
  rxDropped: 'tx_dropped',
  txBytes: 'rx_bytes',
  txPackets: 'rx_packets',
  txErrors: 'rx_errors',
  txDropped: 'rx_dropped',
} as const satisfies Record<keyof InterfaceStats, string>;

export class ContainerInspection implements InspectionOperations {
  readonly #parts: LxcParts;

  constructor(parts: LxcParts) {
    this.#parts = parts;
  }

  async stats(uuid: string, { groups }: StatsOptions = {}): Promise<TypedParameters> {
    const record = this.#parts.store.byUuid(uuid);
    const { state, reason } = stateOf(record);
    const stats = record.guest?.stats();
    const place = record.guest?.cgroups.place;
    const domain = definitionOf(record, false);
    const wants = (group: NonNullable<typeof groups>[number]): boolean =>
      groups === undefined || groups.includes(group);
    const found: Record<string, number | bigint | string | undefined> = {
      ...(wants('state') ? { 'state.state': state, 'state.reason': reason } : {}),
      ...(wants('cpu-total')
        ? { 'cpu.time': stats?.cpuUsageNs, 'cpu.user': stats?.cpuUserNs, 'cpu.system': stats?.cpuSystemNs }
        : {}),
      ...(wants('balloon')
        ? { 'balloon.current': stats?.memoryUsageKiB, 'balloon.maximum': domain.memory?.value }
        : {}),
      ...(wants('interface') && record.guest !== undefined ? this.#interfaces(record.guest) : {}),
      'cgroup.pids': stats?.pids,
      'cgroup.memory.oom_kills': place === undefined ? undefined : countOomKills(place),
    };
    return Object.fromEntries(
      Object.entries(found).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
  }

  async vcpus(): Promise<never> {
    throw unsupported('virDomainGetVcpus');
  }

  async memoryStats(uuid: string): Promise<MemoryStats> {
    const container = this.#active(uuid);
    const { cgroups, domain } = container;
    const { place } = cgroups;
    const stats = place === undefined ? (container.stats() ?? {}) : readStats(place, { memoryDetail: true });
    const detail = (...names: string[]): bigint | undefined => {
      const bytes = names.map((name) => stats.memoryDetail?.[name]).find((value) => value !== undefined);
      return bytes === undefined ? undefined : BigInt(Math.floor(bytes / 1024));
    };
    const found = {
      actual: BigInt(domain.memory?.value ?? 0),
      rss: stats.memoryUsageKiB === undefined ? undefined : BigInt(stats.memoryUsageKiB),
      swap_in: detail('total_pswpin', 'pswpin'),
      swap_out: detail('total_pswpout', 'pswpout'),
      major_fault:
        stats.memoryDetail?.['pgmajfault'] === undefined ? undefined : BigInt(stats.memoryDetail['pgmajfault']),
      minor_fault: stats.memoryDetail?.['pgfault'] === undefined ? undefined : BigInt(stats.memoryDetail['pgfault']),
    };
    return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined)) as MemoryStats;
  }

  /** `path`: target or source of a disk, or nothing: of the container as a whole. @throws VirtError INVALID_ARG for others */
  async blockStats(uuid: string, path: string): Promise<TypedParameters> {
    const { cgroups, domain } = this.#active(uuid);
    const { place } = cgroups;
    const devices = place === undefined ? [] : (readStats(place, { io: true }).io ?? []);
    const number = path === '' ? undefined : numberOfDisk(domain, path);
    const io = number === undefined ? devices : devices.filter(({ device }) => device === number);
    const sum = (key: 'readBytes' | 'writeBytes' | 'readOps' | 'writeOps'): bigint =>
      io.reduce((total, one) => total + BigInt(one[key] ?? 0), 0n);
    return {
      rd_bytes: sum('readBytes'),
      rd_operations: sum('readOps'),
      wr_bytes: sum('writeBytes'),
      wr_operations: sum('writeOps'),
    };
  }

  async blockInfo(): Promise<never> {
    throw unsupported('virDomainGetBlockInfo');
  }

  /** `device`: name of the host's end, or MAC. */
  async interfaceStats(uuid: string, device: string): Promise<InterfaceStats> {
    const { domain } = this.#active(uuid);
    const found = domain.devices?.interfaces.find(
      ({ target, mac }) => target?.dev === device || mac?.address.toLowerCase() === device.toLowerCase(),
    );
    const end = found?.target?.dev;
    if (end === undefined) {
      throw new VirtError(`'${device}' is no interface of this container: virsh domiflist has them`, {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.LXC,
      });
    }
    return readCounters(end);
  }

  async interfaceAddresses(uuid: string, source: 'lease' | 'agent' | 'arp'): Promise<readonly GuestInterface[]> {
    const { domain } = this.#active(uuid);
    if (source !== 'lease') throw unsupported(`virDomainInterfaceAddresses of source '${source}'`);
    return await interfacesOfLeases(domain, this.#parts.host.siblings?.guestNetworks);
  }

  async cpuStats(
    uuid: string,
  ): Promise<{ readonly total: TypedParameters; readonly perCpu: readonly (TypedParameters | undefined)[] }> {
    const container = this.#active(uuid);
    const { cgroups } = container;
    const stats = container.stats();
    const perCpu = cgroups.place === undefined ? [] : (statPerCpu(cgroups.place) ?? []);
    const total = { cpu_time: stats?.cpuUsageNs, user_time: stats?.cpuUserNs, system_time: stats?.cpuSystemNs };
    return {
      total: Object.fromEntries(
        Object.entries(total).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
      ),
      perCpu: perCpu.map((time) => ({ cpu_time: time })),
    };
  }

  async diskErrors(): Promise<never> {
    throw unsupported('virDomainGetDiskErrors');
  }

  async messages(uuid: string, { tainting = true }: { readonly tainting?: boolean } = {}): Promise<readonly string[]> {
    const { store } = this.#parts;
    return tainting ? store.cardNotes(store.byUuid(uuid)) : [];
  }

  async controlState(uuid: string): Promise<{ readonly state: 'ok'; readonly sinceMs: number }> {
    this.#active(uuid);
    return { state: 'ok', sinceMs: 0 };
  }

  async jobStats(): Promise<JobStats> {
    throw unsupported('virDomainGetJobInfo');
  }

  async abortJob(): Promise<void> {
    throw unsupported('virDomainAbortJob');
  }

  async securityLabels(
    uuid: string,
  ): Promise<readonly { readonly model: string; readonly label: string; readonly enforcing: boolean }[]> {
    const initPid = this.#parts.store.byUuid(uuid).guest?.initPid;
    const { model } = this.#parts.labels;
    if (initPid === undefined || model === 'none') return [];
    const text = readOrEmpty(`/proc/${initPid}/attr/current`).replace(/\0.*$/s, '').trim();
    // AppArmor tells its mode behind the profile.
    const [, label = '', mode = 'enforce'] = /^(.*?)(?: \((\w+)\))?$/.exec(text) ?? [];
    return label === '' ? [] : [{ model, label, enforcing: mode === 'enforce' }];
  }

  async launchSecurity(): Promise<never> {
    throw unsupported('virDomainGetLaunchSecurityInfo');
  }

  async measureDirtyRate(): Promise<void> {
    throw unsupported('virDomainStartDirtyRateCalc');
  }

  async setBlockThreshold(): Promise<void> {
    throw unsupported('virDomainSetBlockThreshold');
  }

  async blockPeek(): Promise<never> {
    throw unsupported('virDomainBlockPeek');
  }

  async memoryPeek(): Promise<never> {
    throw unsupported('virDomainMemoryPeek');
  }

  #interfaces({ domain }: RunningContainer): Record<string, number | bigint | string> {
    const named = (domain.devices?.interfaces ?? []).flatMap(({ target }) =>
      target?.dev === undefined ? [] : [target.dev],
    );
    const found: Record<string, number | bigint | string> = { 'net.count': named.length };
    for (const [index, name] of named.entries()) {
      const { rxBytes, rxPackets, txBytes, txPackets } = readCounters(name);
      Object.assign(found, {
        [`net.${index}.name`]: name,
        [`net.${index}.rx.bytes`]: rxBytes,
        [`net.${index}.rx.pkts`]: rxPackets,
        [`net.${index}.tx.bytes`]: txBytes,
        [`net.${index}.tx.pkts`]: txPackets,
      });
    }
    return found;
  }

  #active(uuid: string): RunningContainer {
    return activeGuest('measure', this.#parts.store.byUuid(uuid));
  }
}

/** `8:0`, as the statistics of groups name it. */
function numberOfDisk({ devices }: Domain, path: string): string {
  const disk = devices?.disks.find(({ target, source }) => target?.dev === path || source?.dev === path);
  const found = disk?.source?.dev === undefined ? undefined : statSync(disk.source.dev, { throwIfNoEntry: false });
  if (found === undefined) {
    throw new VirtError(
      `invalid path: '${path}' is no disk of this container; without a name it is told of all of it`,
      {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.LXC,
      },
    );
  }
  const { major, minor } = deviceNumbers(found.rdev);
  return `${major}:${minor}`;
}

function readCounters(name: string): InterfaceStats {
  const read = (file: string): bigint =>
    BigInt(readOrEmpty(`/sys/class/net/${name}/statistics/${file}`).trim() || '-1');
  return Object.fromEntries(Object.entries(COUNTERS).map(([key, file]) => [key, read(file)])) as Record<
    keyof InterfaceStats,
    bigint
  >;
}

/** It has just gone: the state says so. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

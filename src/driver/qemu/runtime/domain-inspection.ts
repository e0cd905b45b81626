/** What is measured of the domains of one connection: QEMU's own word over the monitor, the kernel's of its threads, files and devices. */
import { closeSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { integerIn, memberOf } from '../../../core/members.ts';
import { randomHex } from '../../../core/random.ts';
import type { HostCpuTimes } from '../../../guest/cgroups/thread-groups.ts';
import { activeGuest, definitionOf } from '../../../guest/domain-report.ts';
import { interfacesOfLeases } from '../../../guest/guest-ports.ts';
import { parseCpuList } from '../../../host/cpu.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { DomainOperation } from '../../domain-state.ts';
import type { TypedParameters, Waiting } from '../../driver.ts';
import type {
  BlockInfo,
  DirtyRateOptions,
  GuestInterface,
  InspectionOperations,
  InterfaceStats,
  JobStats,
  MemoryStats,
  StatsOptions,
  VcpuInfo,
} from '../../inspection-operations.ts';
import { sourcesOf } from '../devices/blockdev/node-index.ts';
import { readBalloonStats } from './balloon-stats.ts';
import type { DomainJobs } from './domain-jobs.ts';
import { readDomainStats } from './domain-stats.ts';
import type { DriverParts } from './driver-parts.ts';
import { executeAgentCommand } from './guest-agent.ts';
import { fileSizes, findDisk, readDiskCounters, readDiskErrors, readLiveBlockInfo } from './guest-disks.ts';
import { readInterfaceCounters } from './guest-interfaces.ts';
import type { DomainStore } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';
import { readThreads } from './thread-placement.ts';

/** Clock ticks of /proc: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;
/** Field of /proc/PID/stat behind the command: the CPU that a thread ran on last. */
const PROCESSOR_FIELD = 36;
/** As libvirt: whoever wants more measures again. */
const DIRTY_RATE_MAX_S = 60;

export class DomainInspection implements InspectionOperations {
  readonly #store: DomainStore;
  readonly #scratchDir: string;
  readonly #jobs: DomainJobs;

  readonly #networks: DriverParts['networks'];

  constructor({ store, root, jobs, networks }: Pick<DriverParts, 'store' | 'root' | 'jobs' | 'networks'>) {
    this.#networks = networks;
    this.#store = store;
    this.#jobs = jobs;
    this.#scratchDir = root.layout.roots.run;
  }

  async stats(uuid: string, options: StatsOptions = {}): Promise<TypedParameters> {
    return await readDomainStats(this.#store.byUuid(uuid), options);
  }

  async vcpus(uuid: string, { signal }: Waiting = {}): Promise<readonly VcpuInfo[]> {
    const guest = this.#active(uuid);
    const { vcpus } = await readThreads(guest.qmp, guest.pid, signal);
    return [...vcpus]
      .toSorted(([a], [b]) => a - b)
      .map(([number, tid]) => ({ number, state: 1, ...threadOf(guest.pid, tid) }));
  }

  async memoryStats(uuid: string, { signal }: Waiting = {}): Promise<MemoryStats> {
    const guest = this.#active(uuid);
    const rss = /^VmRSS:\s*(\d+)/m.exec(readOrEmpty(`/proc/${guest.pid}/status`))?.[1] ?? '0';
    return { ...(await readBalloonStats(guest, signal)), rss: BigInt(rss) };
  }

  async blockStats(uuid: string, disk: string, { signal }: Waiting = {}): Promise<TypedParameters> {
    const guest = this.#active(uuid);
    const wanted = disk === '' ? undefined : findDisk(guest.domain, disk);
    const found = (await readDiskCounters(guest.qmp, guest.domain, signal)).filter(
      (one) => wanted === undefined || one.disk === wanted,
    );
    const names = ['rd_bytes', 'rd_operations', 'rd_total_times', 'wr_bytes', 'wr_operations', 'wr_total_times'];
    return Object.fromEntries(
      [...names, 'flush_operations', 'flush_total_times'].map((name) => [
        name,
        found.reduce((sum, { counters }) => sum + (counters[name] ?? 0n), 0n),
      ]),
    );
  }

  async blockInfo(uuid: string, disk: string, { signal }: Waiting = {}): Promise<BlockInfo> {
    const record = this.#store.byUuid(uuid);
    const found = findDisk(definitionOf(record, false), disk);
    if (record.guest !== undefined) return await readLiveBlockInfo(record.guest.qmp, found, signal);
    const sizes = fileSizes(found);
    const path = found.source?.file ?? found.source?.dev;
    if (sizes === undefined || path === undefined) {
      throw new VirtError(`the size of disk '${disk}' is known only while the domain runs`, {
        code: ErrorCode.OPERATION_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      });
    }
    return { ...sizes, capacity: await virtualSize(path, found.driver?.type, sizes.physical) };
  }

  async interfaceStats(uuid: string, device: string): Promise<InterfaceStats> {
    const guest = this.#active(uuid);
    const found = readInterfaceCounters(guest.domain, device);
    if (found !== undefined) return found;
    throw new VirtError(`invalid path, '${device}' is not a known interface of domain '${guest.domain.name ?? ''}'`, {
      code: ErrorCode.INVALID_ARG,
      domain: ErrorDomain.QEMU,
    });
  }

  async interfaceAddresses(
    uuid: string,
    source: 'lease' | 'agent' | 'arp',
    { signal }: Waiting = {},
  ): Promise<readonly GuestInterface[]> {
    const guest = this.#active(uuid, 'agentCommand');
    if (source === 'agent') {
      return interfacesOfAgent(await executeAgentCommand(guest, 'guest-network-get-interfaces', undefined, signal));
    }
    if (source === 'arp') return interfacesOfArp(guest.domain, readOrEmpty('/proc/net/arp'));
    return await interfacesOfLeases(guest.domain, this.#networks);
  }

  async cpuStats(
    uuid: string,
  ): Promise<{ readonly total: TypedParameters; readonly perCpu: readonly (TypedParameters | undefined)[] }> {
    const guest = this.#active(uuid);
    const fields = statFields(`/proc/${guest.pid}/stat`);
    const user = BigInt(fields[11] ?? 0) * TICK_NS;
    const system = BigInt(fields[12] ?? 0) * TICK_NS;
    const total = { cpu_time: user + system, user_time: user, system_time: system };
    return { total, perCpu: perCpuStats(guest.cgroups.cpuTimes()) };
  }

  async diskErrors(
    uuid: string,
    { signal }: Waiting = {},
  ): Promise<readonly { readonly disk: string; readonly error: 'unspecified' | 'no-space' }[]> {
    const guest = this.#active(uuid);
    return await readDiskErrors(guest.qmp, guest.domain, signal);
  }

  async messages(uuid: string, { tainting = true }: { readonly tainting?: boolean } = {}): Promise<readonly string[]> {
    if (!tainting) return [];
    const record = this.#store.byUuid(uuid);
    const isPrivileged = record.guest !== undefined && process.getuid?.() === 0;
    return [
      ...(isPrivileged ? ['tainted: running with undesirable elevated privileges'] : []),
      ...this.#store.cardNotes(record),
    ];
  }

  async controlState(
    uuid: string,
  ): Promise<{ readonly state: 'ok' | 'job' | 'occupied' | 'error'; readonly sinceMs: number }> {
    this.#active(uuid);
    const sinceMs = this.#jobs.activeForMs(this.#store.byUuid(uuid));
    return sinceMs === undefined ? { state: 'ok', sinceMs: 0 } : { state: 'job', sinceMs };
  }

  /** Of saving and dumping; the lock that they hold is not waited for. */
  async jobStats(
    uuid: string,
    { completed = false, keep = false }: { readonly completed?: boolean; readonly keep?: boolean } = {},
  ): Promise<JobStats> {
    const record = this.#store.byUuid(uuid);
    if (!completed) activeGuest('measure', record);
    return await this.#jobs.stats(record, { completed, keep });
  }

  async abortJob(uuid: string): Promise<void> {
    const record = this.#store.byUuid(uuid);
    activeGuest('abortJob', record);
    this.#jobs.abort(record);
  }

  async securityLabels(uuid: string): Promise<readonly { model: string; label: string; enforcing: boolean }[]> {
    const { guest } = this.#store.byUuid(uuid);
    if (guest === undefined) return [];
    const { labelsOfProcess } = await import('../../../security/process-labels.ts');
    return labelsOfProcess(guest.pid, guest.domain.seclabels);
  }

  async launchSecurity(uuid: string, { signal }: Waiting = {}): Promise<TypedParameters> {
    const guest = this.#active(uuid);
    if (guest.domain.launchSecurity === undefined) return {};
    const [state, measure] = await Promise.all([
      guest.qmp.execute('query-sev', undefined, { signal }),
      guest.qmp.execute('query-sev-launch-measure', undefined, { signal }),
    ]);
    return {
      'sev-measurement': String(memberOf(measure, 'data')),
      'sev-api-major': Number(integerIn(state, 'api-major')),
      'sev-api-minor': Number(integerIn(state, 'api-minor')),
      'sev-build-id': Number(integerIn(state, 'build-id')),
      'sev-policy': Number(integerIn(state, 'policy')),
    };
  }

  async measureDirtyRate(
    uuid: string,
    seconds: number,
    { mode = 'page-sampling', signal }: DirtyRateOptions = {},
  ): Promise<void> {
    if (!Number.isInteger(seconds) || seconds < 1 || seconds > DIRTY_RATE_MAX_S) {
      throw new VirtError(`seconds=${seconds} is invalid: it must be from 1 to ${DIRTY_RATE_MAX_S}`, {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.QEMU,
      });
    }
    await this.#active(uuid).qmp.execute('calc-dirty-rate', { 'calc-time': seconds, mode }, { signal });
  }

  async setBlockThreshold(uuid: string, disk: string, bytes: bigint, { signal }: Waiting = {}): Promise<void> {
    const guest = this.#active(uuid);
    // `vda[3]` is the image with that number below the disk.
    const [, target = disk, index] = /^(.+)\[(\d+)\]$/.exec(disk) ?? [];
    const sources = [...sourcesOf(findDisk(guest.domain, target))];
    const found = index === undefined ? sources[0] : sources.find((source) => source.index === Number(index));
    if (found?.index === undefined) throw invalid(`invalid disk '${disk}': it has no such image`);
    const args = { 'node-name': `libvirt-${found.index}-storage`, 'write-threshold': Number(bytes) };
    await guest.qmp.execute('block-set-write-threshold', args, { signal });
  }

  async blockPeek(uuid: string, disk: string, offset: bigint, length: number): Promise<Uint8Array> {
    const found = findDisk(definitionOf(this.#store.byUuid(uuid), false), disk);
    const path = found.source?.file ?? found.source?.dev;
    if (path === undefined || (found.driver?.type ?? 'raw') !== 'raw') {
      throw new VirtError(`only raw images in files can be peeked into: '${disk}' is ${found.driver?.type ?? 'none'}`, {
        code: ErrorCode.OPERATION_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      });
    }
    return readAt(path, offset, length);
  }

  async memoryPeek(
    uuid: string,
    offset: bigint,
    length: number,
    { physical = false, signal }: { readonly physical?: boolean } & Waiting = {},
  ): Promise<Uint8Array> {
    const guest = this.#active(uuid);
    const filename = join(this.#scratchDir, `peek-${randomHex(8)}`);
    try {
      guest.security?.giveFile(filename);
      const args = { val: Number(offset), size: length, filename };
      await guest.qmp.execute(physical ? 'pmemsave' : 'memsave', args, { signal });
      return readAt(filename, 0n, length);
    } finally {
      rmSync(filename, { force: true });
    }
  }

  #active(uuid: string, operation: DomainOperation = 'measure'): RunningGuest {
    return activeGuest(operation, this.#store.byUuid(uuid));
  }
}

/** By host CPU; none where they are not counted. */
function perCpuStats(times: HostCpuTimes): (TypedParameters | undefined)[] {
  if (times.kind !== 'counted') return [];
  const { totalNs, vcpuNs } = times;
  const online = new Set(onlineCpus());
  return totalNs.map((ns, cpu) => {
    if (!online.has(cpu)) return undefined;
    const vcpu = vcpuNs?.[cpu];
    return { cpu_time: ns, ...(vcpu === undefined ? {} : { vcpu_time: vcpu }) };
  });
}

function onlineCpus(): number[] {
  return parseCpuList(readOrEmpty('/sys/devices/system/cpu/online'));
}

/** What a thread has used, and where it ran last. */
function threadOf(pid: number, tid: number): { cpuTimeNs: bigint; cpu: number } {
  const [time] = readOrEmpty(`/proc/${pid}/task/${tid}/schedstat`).split(' ');
  const fields = statFields(`/proc/${pid}/task/${tid}/stat`);
  const counted = (BigInt(fields[11] ?? 0) + BigInt(fields[12] ?? 0)) * TICK_NS;
  return {
    cpuTimeNs: time === undefined || time === '' ? counted : BigInt(time),
    cpu: Number(fields[PROCESSOR_FIELD] ?? -1),
  };
}

function interfacesOfAgent(reply: unknown): GuestInterface[] {
  if (!Array.isArray(reply)) return [];
  return reply.flatMap((one: unknown) => {
    if (typeof one !== 'object' || one === null) return [];
    const name: unknown = Reflect.get(one, 'name');
    const mac: unknown = Reflect.get(one, 'hardware-address');
    const list: unknown = Reflect.get(one, 'ip-addresses');
    const addresses = (Array.isArray(list) ? list : []).flatMap((entry: unknown) => {
      if (typeof entry !== 'object' || entry === null) return [];
      const address: unknown = Reflect.get(entry, 'ip-address');
      const type = Reflect.get(entry, 'ip-address-type') === 'ipv6' ? ('ipv6' as const) : ('ipv4' as const);
      return typeof address === 'string' ? [{ type, address, prefix: Number(Reflect.get(entry, 'prefix') ?? 0) }] : [];
    });
    if (typeof name !== 'string') return [];
    return [{ name, mac: typeof mac === 'string' ? mac : undefined, addresses }];
  });
}

/** What this host has heard from the guest's interfaces lately. */
export function interfacesOfArp(domain: Domain, arp: string): GuestInterface[] {
  const heard = arp
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
  return (domain.devices?.interfaces ?? []).flatMap(({ mac, target }) => {
    const address = mac?.address?.toLowerCase();
    const addresses = heard
      .filter((fields) => fields[3]?.toLowerCase() === address && fields[2] !== '0x0')
      .map(([ip = '']) => ({ type: 'ipv4' as const, address: ip, prefix: 0 }));
    return address === undefined || addresses.length === 0
      ? []
      : [{ name: target?.dev ?? '', mac: address, addresses }];
  });
}

/** What a guest would see of an image that is not in use. */
async function virtualSize(path: string, format: string | undefined, physical: bigint): Promise<bigint> {
  if (format === undefined || format === 'raw') return physical;
  const { MAX_HEADER_BYTES, parseImageHeader } = await import('../../../image/image-format.ts');
  const header = parseImageHeader(readAt(path, 0n, MAX_HEADER_BYTES));
  return header.virtualSizeBytes ?? physical;
}

function readAt(path: string, offset: bigint, length: number): Uint8Array {
  const fd = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(length);
    return buffer.subarray(0, readSync(fd, buffer, 0, length, offset));
  } finally {
    closeSync(fd);
  }
}

function statFields(path: string): string[] {
  const text = readOrEmpty(path);
  return text === '' ? [] : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

/** The process or thread has ended meanwhile: the next state says so. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

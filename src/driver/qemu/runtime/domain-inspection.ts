/** What is measured of the domains of one connection: QEMU's own word over the monitor, the kernel's of its threads, files and devices. */
import { closeSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { randomHex } from '../../../core/random.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { DomainOperation } from '../../domain-state.ts';
import type { TypedParameters, Waiting } from '../../driver.ts';
import type {
  BlockInfo,
  GuestInterface,
  InspectionOperations,
  InterfaceStats,
  JobStats,
  MemoryStats,
  StatsGroup,
  VcpuInfo,
} from '../../inspection-operations.ts';
import { notRunning } from './affected-domain.ts';
import { definitionOf, requireLegal } from './domain-report.ts';
import { readDomainStats } from './domain-stats.ts';
import type { DomainRecord, DomainStore } from './domain-store.ts';
import type { DriverParts } from './driver-parts.ts';
import { executeAgentCommand } from './guest-agent.ts';
import { fileSizes, findDisk, readDiskCounters, readDiskErrors, readLiveBlockInfo } from './guest-disks.ts';
import { readInterfaceCounters } from './guest-interfaces.ts';
import type { RunningGuest } from './running-guest.ts';
import { readThreads } from './thread-placement.ts';

/** Clock ticks of /proc: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;
/** Field of /proc/PID/stat behind the command: the CPU that a thread ran on last. */
const PROCESSOR_FIELD = 36;
/** QEMU's names of what the guest's balloon driver tells, and libvirt's; bytes become KiB. */
const BALLOON_STATS = {
  'stat-swap-in': ['swap_in', 1024n],
  'stat-swap-out': ['swap_out', 1024n],
  'stat-major-faults': ['major_fault', 1n],
  'stat-minor-faults': ['minor_fault', 1n],
  'stat-free-memory': ['unused', 1024n],
  'stat-total-memory': ['available', 1024n],
  'stat-available-memory': ['usable', 1024n],
  'stat-disk-caches': ['disk_caches', 1024n],
  'stat-htlb-pgalloc': ['hugetlb_pgalloc', 1n],
  'stat-htlb-pgfail': ['hugetlb_pgfail', 1n],
} as const;

export class DomainInspection implements InspectionOperations {
  readonly #store: DomainStore;
  readonly #scratchDir: string;

  constructor({ store, root }: Pick<DriverParts, 'store' | 'root'>) {
    this.#store = store;
    this.#scratchDir = root.layout.roots.run;
  }

  async stats(
    uuid: string,
    { signal, groups }: { readonly groups?: readonly StatsGroup[] | undefined } & Waiting = {},
  ): Promise<TypedParameters> {
    return await readDomainStats(this.#store.byUuid(uuid), { groups, signal });
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
    return { ...(await balloonStats(guest, signal)), rss: BigInt(rss) };
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
    throw new VirtError('virtual networks with leases are not there yet: ask the agent, or arp', {
      code: ErrorCode.NO_SUPPORT,
      domain: ErrorDomain.QEMU,
    });
  }

  async cpuStats(
    uuid: string,
  ): Promise<{ readonly total: TypedParameters; readonly perCpu: readonly (TypedParameters | undefined)[] }> {
    const guest = this.#active(uuid);
    const fields = statFields(`/proc/${guest.pid}/stat`);
    const user = BigInt(fields[11] ?? 0) * TICK_NS;
    const system = BigInt(fields[12] ?? 0) * TICK_NS;
    // Only cgroup v1 counts by host CPU, and only for guests that have a group.
    return { total: { cpu_time: user + system, user_time: user, system_time: system }, perCpu: [] };
  }

  async diskErrors(
    uuid: string,
    { signal }: Waiting = {},
  ): Promise<readonly { readonly disk: string; readonly error: 'unspecified' | 'no-space' }[]> {
    const guest = this.#active(uuid);
    return await readDiskErrors(guest.qmp, guest.domain, signal);
  }

  async messages(uuid: string, { tainting = true }: { readonly tainting?: boolean } = {}): Promise<readonly string[]> {
    const { guest } = this.#store.byUuid(uuid);
    if (guest === undefined || !tainting) return [];
    return process.getuid?.() === 0 ? ['tainted: running with undesirable elevated privileges'] : [];
  }

  async controlState(
    uuid: string,
  ): Promise<{ readonly state: 'ok' | 'job' | 'occupied' | 'error'; readonly sinceMs: number }> {
    this.#active(uuid);
    return { state: 'ok', sinceMs: 0 };
  }

  /** Jobs that take long (saving, dumping) hold the domain until they are done, and are not asked about meanwhile. */
  async jobStats(uuid: string): Promise<JobStats> {
    this.#store.byUuid(uuid);
    return { type: 'none', parameters: {} };
  }

  async abortJob(uuid: string): Promise<void> {
    this.#active(uuid);
    throw new VirtError('no job is active on the domain', {
      code: ErrorCode.OPERATION_INVALID,
      domain: ErrorDomain.QEMU,
    });
  }

  async securityLabels(uuid: string): Promise<readonly { model: string; label: string; enforcing: boolean }[]> {
    const { guest } = this.#store.byUuid(uuid);
    if (guest === undefined) return [];
    const { labelsOfProcess } = await import('../../../security/process-labels.ts');
    return labelsOfProcess(guest.pid, guest.domain.seclabels);
  }

  async blockPeek(uuid: string, disk: string, offset: bigint, length: number): Promise<Uint8Array> {
    const guest = this.#active(uuid);
    const found = findDisk(guest.domain, disk);
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

  #active(uuid: string, operation?: DomainOperation): RunningGuest {
    const record: DomainRecord = this.#store.byUuid(uuid);
    if (record.guest === undefined) throw notRunning(record);
    if (operation !== undefined) requireLegal(operation, record);
    return record.guest;
  }
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

/** Of a guest with a balloon: its size, and what the guest's driver has told last. */
async function balloonStats(guest: RunningGuest, signal: AbortSignal | undefined): Promise<MemoryStats> {
  const balloon = guest.domain.devices?.memballoon;
  const alias = balloon?.alias?.name;
  const current = BigInt(guest.balloonKiB ?? guest.domain.currentMemory ?? guest.domain.memory?.value ?? 0);
  if (alias === undefined || balloon?.model === 'none') return { actual: current };
  const path = `/machine/peripheral/${alias}`;
  const [size, told] = await Promise.allSettled([
    guest.qmp.execute('query-balloon', undefined, { signal }),
    guest.qmp.execute('qom-get', { path, property: 'guest-stats' }, { signal }),
  ]);
  const actual = size.status === 'fulfilled' ? numberIn(size.value, 'actual') / 1024n : current;
  if (told.status === 'rejected') return { actual };
  const stats: Record<string, bigint> = { actual };
  const update = numberIn(told.value, 'last-update');
  if (update > 0n) stats['last_update'] = update;
  const values = typeof told.value === 'object' && told.value !== null ? Reflect.get(told.value, 'stats') : undefined;
  for (const [name, [key, unit]] of Object.entries(BALLOON_STATS)) {
    const value: unknown = typeof values === 'object' && values !== null ? Reflect.get(values, name) : undefined;
    // What the guest does not tell is all ones.
    if (typeof value === 'number' && value >= 0 && value < 2 ** 63) stats[key] = BigInt(Math.trunc(value)) / unit;
  }
  return stats;
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

function numberIn(value: unknown, name: string): bigint {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
  return typeof found === 'number' ? BigInt(Math.trunc(found)) : 0n;
}

/** The process or thread has ended meanwhile: the next state says so. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

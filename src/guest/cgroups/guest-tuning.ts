/**
 * What a definition asks of cgroups, as tunings of the guest's own group and of its threads' sub-groups. Pure. Where the groups lie is
 * `guest-groups.ts`'s, which kernel files carry it is `src/cgroup`'s.
 */
import type { GuestTuning } from '../../cgroup/controllers.ts';
import type { GuestDriver } from '../../cgroup/layout.ts';
import type { Domain } from '../../model/domain/domain.ts';
import { iothreadIdsOf } from '../../model/domain/iothread-ids.ts';

/** Which driver's guest it is, as the groups' names tell. */
export function guestDriverOf({ type }: Domain): GuestDriver {
  return type === 'lxc' ? 'lxc' : 'qemu';
}

/** A group of some of QEMU's threads: `emulator`, `vcpu0`, `iothread1`. */
export interface ThreadTuning {
  readonly kind: 'emulator' | 'vcpu' | 'iothread';
  /** Of the virtual CPU or I/O thread; 0 for the emulator. */
  readonly id: number;
  readonly tuning: GuestTuning;
}

/** Limits of the whole guest. Empty when the definition has none. */
export function guestTuningOf(domain: Domain): GuestTuning {
  const { cputune, memtune, blkiotune } = domain;
  // A container's processes are no virtual CPUs: what is said of these is said of all of it.
  const [periodUs, quotaUs] =
    guestDriverOf(domain) === 'lxc' ? [cputune?.period, cputune?.quota] : [cputune?.globalPeriod, cputune?.globalQuota];
  const cpu = prune({ shares: cputune?.shares, periodUs, quotaUs });
  const memory = prune({
    hardLimitKiB: memtune?.hardLimit,
    softLimitKiB: memtune?.softLimit,
    swapHardLimitKiB: memtune?.swapHardLimit,
  });
  const blkio = blkioTuningOf(blkiotune);
  return prune({ cpu, memory, blkio });
}

/** Where the threads of a guest get groups of their own, one for each; their tunings may be empty. */
export function threadTuningsOf(domain: Domain): ThreadTuning[] {
  if (guestDriverOf(domain) === 'lxc') return [];
  return [
    threadTuningOf(domain, 'emulator', 0),
    ...Array.from({ length: domain.vcpu?.value ?? 1 }, (_, id) => threadTuningOf(domain, 'vcpu', id)),
    ...iothreadIdsOf(domain).map((id) => threadTuningOf(domain, 'iothread', id)),
  ];
}

/** One thread's, whether the definition names it or not. */
export function threadTuningOf(domain: Domain, kind: ThreadTuning['kind'], id: number): ThreadTuning {
  const { cputune } = domain;
  const tuning = (
    periodUs: number | undefined,
    quotaUs: number | undefined,
    cpus: readonly number[] | undefined,
  ): GuestTuning =>
    prune({
      cpu: prune({ periodUs, quotaUs }),
      cpuset: prune({ cpus: cpus?.slice(), mems: restrictiveNodes(domain)?.slice() }),
    });
  switch (kind) {
    case 'emulator':
      return { kind, id, tuning: tuning(cputune?.emulatorPeriod, cputune?.emulatorQuota, emulatorCpus(domain)) };
    case 'vcpu':
      return { kind, id, tuning: tuning(cputune?.period, cputune?.quota, vcpuCpus(domain, id)) };
    default:
      return { kind, id, tuning: tuning(cputune?.iothreadPeriod, cputune?.iothreadQuota, iothreadCpus(domain, id)) };
  }
}

/** Whether the definition limits single threads, so that they cannot do without groups of their own. */
export function limitsThreads(domain: Domain): boolean {
  if (guestDriverOf(domain) === 'lxc') return false;
  const { cputune } = domain;
  const fields = ['period', 'quota', 'emulatorPeriod', 'emulatorQuota', 'iothreadPeriod', 'iothreadQuota'] as const;
  return fields.some((field) => cputune?.[field] !== undefined);
}

/** Whether a definition says anything about where threads run. */
export function placesThreads({ vcpu, cputune }: Domain): boolean {
  return (
    vcpu?.cpuset !== undefined ||
    [cputune?.vcpupins, cputune?.iothreadpins, cputune?.vcpuscheds, cputune?.iothreadscheds].some(
      (list) => (list?.length ?? 0) > 0,
    ) ||
    cputune?.emulatorpin !== undefined ||
    cputune?.emulatorsched !== undefined
  );
}

/** Host CPUs of a virtual CPU: its own pin, else those of the whole guest; undefined: all. */
export function vcpuCpus({ cputune, vcpu }: Domain, id: number): readonly number[] | undefined {
  return cputune?.vcpupins.find((pin) => pin.vcpu === id)?.cpuset ?? vcpu?.cpuset;
}

export function emulatorCpus({ cputune, vcpu }: Domain): readonly number[] | undefined {
  return cputune?.emulatorpin?.cpuset ?? vcpu?.cpuset;
}

export function iothreadCpus({ cputune, vcpu }: Domain, id: number): readonly number[] | undefined {
  return cputune?.iothreadpins.find((pin) => pin.iothread === id)?.cpuset ?? vcpu?.cpuset;
}

/** Host nodes that all of the guest's memory must come from. */
export function strictNodes({ numatune }: Domain): readonly number[] | undefined {
  const memory = numatune?.memory;
  return memory?.mode === 'strict' && memory.placement !== 'auto' ? memory.nodeset : undefined;
}

/** Host nodes that memory comes from as long as the guest's threads may use no others: they can be changed while it runs. */
function restrictiveNodes({ numatune }: Domain): readonly number[] | undefined {
  const memory = numatune?.memory;
  return memory?.mode === 'restrictive' && memory.placement !== 'auto' ? memory.nodeset : undefined;
}

function blkioTuningOf(blkiotune: Domain['blkiotune']): GuestTuning['blkio'] {
  if (blkiotune === undefined) return undefined;
  const devices = blkiotune.devices.map(({ path, weight, readIopsSec, writeIopsSec, readBytesSec, writeBytesSec }) => ({
    path,
    ...pruned({ weight, readIopsSec, writeIopsSec, readBytesSec, writeBytesSec }),
  }));
  return prune({ weight: blkiotune.weight, devices: devices.length === 0 ? undefined : devices });
}

type Pruned<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without undefined members. */
function pruned<T extends object>(value: T): Pruned<T> {
  // Object.fromEntries forgets which member has which type.
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as Pruned<T>;
}

/** The same, and undefined members' parents that are empty count as absent too. */
function prune<T extends object>(value: T): Pruned<T> {
  const members = Object.entries(pruned(value)).filter(
    ([, member]) => typeof member !== 'object' || member === null || Object.keys(member).length > 0,
  );
  return Object.fromEntries(members) as Pruned<T>;
}

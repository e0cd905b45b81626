/**
 * `<cputune>` and `<blkiotune>`: nothing of them is on QEMU's command line (the runtime and its cgroups carry them
 * out), but what cannot be carried out is refused before the guest starts.
 */

import { iothreadIdsOf } from '../../../model/domain/iothread-ids.ts';
import type { Cputune } from '../../../model/domain/vcpu.ts';
import { type DomainContext, fault } from '../context.ts';

/** Reports faults of `<cputune>` and `<blkiotune>`. */
export function validateTuning(context: DomainContext): void {
  const { cputune, blkiotune } = context.domain;
  if (cputune !== undefined) {
    validatePins(context, cputune);
    validateSchedulers(context, cputune);
    validateResourceControl(context, cputune);
  }
  const paths = new Set<string>();
  for (const device of blkiotune?.devices ?? []) {
    if (paths.has(device.path)) fault(context, device, `'${device.path}' is given more than once`, 'path');
    paths.add(device.path);
  }
}

function validatePins(context: DomainContext, { vcpupins, iothreadpins }: Cputune): void {
  const pinned = new Set<number>();
  for (const pin of vcpupins) {
    if (pinned.has(pin.vcpu)) fault(context, pin, `virtual CPU ${pin.vcpu} is pinned more than once`, '@vcpu');
    pinned.add(pin.vcpu);
  }
  const threads = iothreadIdsOf(context.domain);
  const pinnedThreads = new Set<number>();
  for (const pin of iothreadpins) {
    if (!threads.includes(pin.iothread))
      fault(context, pin, `the guest has no I/O thread ${pin.iothread}`, '@iothread');
    if (pinnedThreads.has(pin.iothread)) {
      fault(context, pin, `I/O thread ${pin.iothread} is pinned more than once`, '@iothread');
    }
    pinnedThreads.add(pin.iothread);
  }
}

interface Scheduler {
  readonly scheduler: string;
  readonly priority?: number | undefined;
}

function validateSchedulers(context: DomainContext, cputune: Cputune): void {
  const maximum = context.domain.vcpu?.value ?? 1;
  const cpus = Array.from({ length: maximum }, (_, id) => id);
  const isCpu = (id: number): boolean => cpus.includes(id);
  const isThread = (id: number): boolean => iothreadIdsOf(context.domain).includes(id);
  const vcpuScheds = cputune.vcpuscheds.map((sched) => ({ sched, ids: sched.vcpus }));
  const threadScheds = cputune.iothreadscheds.map((sched) => ({ sched, ids: sched.iothreads }));
  validateMembers(context, vcpuScheds, 'virtual CPU', isCpu);
  validateMembers(context, threadScheds, 'I/O thread', isThread);
  if (cputune.emulatorsched !== undefined) validatePriority(context, cputune.emulatorsched);
}

function validateMembers(
  context: DomainContext,
  schedulers: readonly { readonly sched: Scheduler; readonly ids: readonly number[] }[],
  what: string,
  exists: (id: number) => boolean,
): void {
  const seen = new Set<number>();
  for (const { sched, ids } of schedulers) {
    validatePriority(context, sched);
    const missing = ids.find((id) => !exists(id));
    if (missing !== undefined) fault(context, sched, `the guest has no ${what} ${missing}`);
    const twice = ids.find((id) => seen.has(id));
    if (twice !== undefined) fault(context, sched, `${what} ${twice} has two schedulers`);
    for (const id of ids) seen.add(id);
  }
}

function validatePriority(context: DomainContext, sched: Scheduler): void {
  const isRealtime = sched.scheduler === 'fifo' || sched.scheduler === 'rr';
  if (isRealtime && sched.priority === undefined) {
    fault(context, sched, `scheduler='${sched.scheduler}' needs a priority`, '@priority');
  }
}

/** A virtual CPU belongs to one resctrl group: groups are the same or have nothing in common. */
function validateResourceControl(context: DomainContext, { cachetunes, memorytunes }: Cputune): void {
  validateGroups(context, cachetunes);
  validateGroups(context, memorytunes);
  for (const memory of memorytunes) {
    const clash = cachetunes.find((cache) => overlaps(cache.vcpus, memory.vcpus) && !equals(cache.vcpus, memory.vcpus));
    if (clash !== undefined) fault(context, memory, 'these virtual CPUs overlap with those of a <cachetune>', '@vcpus');
  }
  for (const { caches } of cachetunes) {
    const seen = new Set<string>();
    for (const cache of caches) {
      const key = `${cache.level}/${cache.id}/${cache.type}`;
      if (seen.has(key)) fault(context, cache, `cache ${cache.id} of level ${cache.level} is given more than once`);
      seen.add(key);
    }
  }
}

function validateGroups(context: DomainContext, groups: readonly { readonly vcpus: readonly number[] }[]): void {
  for (const [index, group] of groups.entries()) {
    const clash = groups.slice(0, index).some((earlier) => overlaps(earlier.vcpus, group.vcpus));
    if (clash) fault(context, group, 'these virtual CPUs are in an earlier group already', '@vcpus');
  }
}

function overlaps(a: readonly number[], b: readonly number[]): boolean {
  return a.some((id) => b.includes(id));
}

function equals(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}

/** I/O threads of a domain: which there are, more and fewer of them, how they poll; of the running guest, its next start, or both. */

import { changeAffected, invalid, readAffected } from '../../../guest/affected-domain.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { iothreadIdsOf } from '../../../model/domain/iothread-ids.ts';
import type { IothreadInfo, IothreadSettings } from '../../device-operations.ts';
import type { AffectOptions } from '../../driver.ts';
import { applyIothreadSettings, iothreadProperties } from '../live/iothread-settings.ts';
import type { DriverParts } from './driver-parts.ts';
import { placePlugged } from './place-plugged.ts';
import { affinityOf, readThreads } from './thread-placement.ts';

type Parts = Pick<DriverParts, 'store' | 'starter'>;

export async function readIothreads(
  parts: Parts,
  uuid: string,
  options: AffectOptions,
): Promise<readonly IothreadInfo[]> {
  const { domain, guest } = readAffected(parts.store.byUuid(uuid), options);
  const threads = guest === undefined ? undefined : await readThreads(guest.qmp, guest.pid, options.signal);
  return iothreadIdsOf(domain)
    .toSorted((a, b) => a - b)
    .map((id) => {
      const tid = threads?.iothreads.get(id);
      const pin = domain.cputune?.iothreadpins.find(({ iothread }) => iothread === id);
      return { id, cpus: tid === undefined ? (pin?.cpuset ?? affinityOf(process.pid)) : affinityOf(tid) };
    });
}

export async function addIothread(parts: Parts, uuid: string, id: number, options: AffectOptions): Promise<void> {
  await changeAffected(parts, uuid, options, {
    change: (domain) => {
      const ids = iothreadIdsOf(domain);
      if (ids.includes(id)) throw invalid(`an IOThread is already using iothread_id '${id}'`);
      setIothreads(domain, [...ids, id]);
    },
    carryOut: async (guest) => {
      await guest.qmp.execute('object-add', { 'qom-type': 'iothread', id: `iothread${id}` }, options);
      await placePlugged(guest, options.signal);
    },
  });
}

/** @throws VirtError INVALID_ARG for one that there is not, or that a disk uses */
export async function removeIothread(parts: Parts, uuid: string, id: number, options: AffectOptions): Promise<void> {
  await changeAffected(parts, uuid, options, {
    change: (domain) => {
      const ids = iothreadIdsOf(domain);
      if (!ids.includes(id)) throw invalid(`cannot find IOThread '${id}' in iothreadids list`);
      if ((domain.devices?.disks ?? []).some(({ driver }) => driver?.iothread === id)) {
        throw invalid(`cannot remove IOThread ${id}: it is being used by a disk`);
      }
      setIothreads(
        domain,
        ids.filter((one) => one !== id),
      );
      dropPins(domain, id);
    },
    carryOut: async (guest) => {
      await guest.qmp.execute('object-del', { id: `iothread${id}` }, options);
    },
  });
}

export async function setIothread(
  parts: Parts,
  uuid: string,
  { id, settings }: { readonly id: number; readonly settings: IothreadSettings },
  options: AffectOptions,
): Promise<void> {
  await changeAffected(parts, uuid, options, {
    change: (domain) => {
      const ids = iothreadIdsOf(domain);
      if (!ids.includes(id)) throw invalid(`cannot find IOThread '${id}' in iothreadids list`);
      setIothreads(domain, ids);
      applyIothreadSettings(domain, id, settings);
    },
    carryOut: async (guest) => {
      for (const [property, value] of iothreadProperties(settings)) {
        const args = { path: `/objects/iothread${id}`, property, value };
        await guest.qmp.execute('qom-set', args, { signal: options.signal });
      }
    },
  });
}

function setIothreads(domain: Domain, ids: readonly number[]): void {
  const known = new Map((domain.iothreadids?.iothreads ?? []).map((thread) => [thread.id, thread]));
  domain.iothreads = ids.length;
  domain.iothreadids = { iothreads: ids.map((id) => known.get(id) ?? { id }) };
}

/** What was set for a thread goes with it. */
function dropPins({ cputune }: Domain, id: number): void {
  if (cputune === undefined) return;
  cputune.iothreadpins = cputune.iothreadpins.filter(({ iothread }) => iothread !== id);
  for (const scheduler of cputune.iothreadscheds) {
    scheduler.iothreads = scheduler.iothreads.filter((thread) => thread !== id);
  }
  cputune.iothreadscheds = cputune.iothreadscheds.filter(({ iothreads }) => iothreads.length > 0);
}

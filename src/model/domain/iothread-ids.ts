/** Which I/O threads a definition has: the ones it lists, and those that it only counts. */
import type { Domain } from './domain.ts';

/** Ids of the guest's I/O threads: those that are listed, then the lowest free ones up to the number wanted. */
export function iothreadIdsOf({ iothreads, iothreadids }: Domain): number[] {
  const ids = new Set((iothreadids?.iothreads ?? []).map(({ id }) => id));
  for (let id = 1; ids.size < (iothreads ?? 0); id++) ids.add(id);
  return [...ids];
}

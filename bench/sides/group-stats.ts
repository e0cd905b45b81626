/**
 * Statistics of many guests' groups, as a farm's monitoring reads them: real groups, made once and removed again, each with a few
 * sub-groups' worth of files that nobody asks for. Needs root.
 */
import { applyActions, removeGroups } from '../../src/cgroup/apply.ts';
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { planGroup } from '../../src/cgroup/group-plan.ts';
import type { CgroupPlace } from '../../src/cgroup/host.ts';
import { createPartition, removePartition } from '../../src/cgroup/partition.ts';
import { type GroupStats, readStats } from '../../src/cgroup/stats.ts';

const WANTED = ['cpu', 'cpuacct', 'memory', 'io', 'pids'];

/** Milliseconds to read all of `count` groups once, for each round. */
export async function timeGroupStats(count: number, rounds: number): Promise<number[]> {
  const partition = `/nestling-bench-stats-${process.pid}`;
  const host = detectCgroups();
  const base = partitionName(partition);
  const plans = Array.from({ length: count }, (_, index) =>
    planGroup({
      host,
      base: 'root',
      names: [base, `qemu-${index}-bench.libvirt-qemu`],
      makeAbove: () => false,
      wanted: WANTED,
      demanded: [],
    }),
  );
  createPartition(partition);
  try {
    for (const { actions } of plans) applyActions(actions);
    const places = plans.map(({ place }) => place);
    readAll(places);
    return Array.from({ length: rounds }, () => readAll(places));
  } finally {
    await removeGroups(plans.flatMap(({ directories }) => directories));
    await removePartition(partition);
  }
}

function readAll(places: readonly CgroupPlace[]): number {
  const beforeMs = performance.now();
  const all: GroupStats[] = places.map((place) => readStats(place));
  const tookMs = performance.now() - beforeMs;
  const blind = all.findIndex(
    ({ cpuUsageNs, memoryUsageKiB }) => cpuUsageNs === undefined || memoryUsageKiB === undefined,
  );
  if (blind !== -1) throw new Error(`group ${blind} told neither of CPU time nor of memory`);
  return tookMs;
}

function partitionName(partition: string): string {
  return `${partition.slice(1)}.partition`;
}

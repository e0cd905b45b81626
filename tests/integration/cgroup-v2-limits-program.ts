/** Runs inside the v2 guest, in a box that it prepares first: that limits limit, that groups stop and end as one, that statistics count. */
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import {
  applyActions,
  createPartition,
  detectCgroups,
  deviceRules,
  findStaleGroups,
  freeze,
  type GuestTuning,
  killAll,
  listPartitions,
  loadDevicePrograms,
  planGroup,
  planPrepare,
  planTuning,
  prepare,
  readStats,
  readTuning,
  removeGroups,
  removePartition,
  removeStaleGroups,
  setPartition,
  thaw,
} from '../../src/cgroup/index.ts';
import { spawnChild } from '../../src/process/spawn.ts';
import { ROOT, read, runIn, runScenario, startSleeper } from './cgroup-v2-groups.ts';

const GROUP = 'qemu-1-limited.libvirt-qemu';
const LIMITED = `${ROOT}/${GROUP}`;
/** A disk that nobody has read from its end yet. */
const DISK = '/dev/vda';
const SPIN = 'i=0; while [ $i -lt 8000 ]; do i=$((i+1)); done';

prepare(planPrepare(detectCgroups(), { moveForeign: true }));
const demanded = ['cpu', 'cpuset', 'memory', 'io', 'pids'];
const { place, actions } = planGroup({
  host: detectCgroups(),
  base: 'own',
  names: [GROUP],
  makeAbove: () => true,
  wanted: demanded,
  demanded,
});
applyActions(actions);

await runScenario({
  memory: async () => {
    tune({ memory: { hardLimitKiB: 32 * 1024 } });
    // A buffer of 64 MiB, which is filled before it is written.
    const { signal } = await runIn(place, 'exec dd if=/dev/zero of=/dev/null bs=64M count=1');
    const { oomKills, memoryPeakKiB } = readStats(place);
    return {
      signal,
      oomKills,
      memoryPeakKiB,
      events: read(`${GROUP}/memory.events`),
      tuning: readTuning(place).memory,
    };
  },

  cpu: async () => {
    tune({ cpu: { shares: 50, periodUs: 50_000, quotaUs: 5000 } });
    await runIn(place, SPIN);
    const { throttled, cpuUsageNs } = readStats(place);
    const tuning = readTuning(place).cpu;
    tune({ cpu: { quotaUs: -1 } });
    const before = readStats(place).throttled?.periods ?? 0;
    await runIn(place, SPIN);
    const free = (readStats(place).throttled?.periods ?? 0) - before;
    const isCounted = (cpuUsageNs ?? 0n) > 0n;
    return { periods: throttled?.periods, isCounted, tuning, free, max: read(`${GROUP}/cpu.max`) };
  },

  pids: async () => {
    tune({ pids: { max: 1 } });
    const limited = await runIn(place, 'true & wait');
    tune({ pids: { max: 0 } });
    const free = await runIn(place, 'true & wait');
    return { limited, free, max: read(`${GROUP}/pids.max`), events: read(`${GROUP}/pids.events`) };
  },

  cpuset: async () => {
    const before = readTuning(place).cpuset;
    tune({ cpuset: { cpus: [1], mems: [0] } });
    const { stdout } = await runIn(place, 'grep -E "^(Cpus|Mems)_allowed_list" /proc/self/status');
    const after = readTuning(place).cpuset;
    tune({ cpuset: { cpus: [] } });
    return { before, after, stdout, emptied: readTuning(place).cpuset };
  },

  /** 256 KiB at 128 operations of 4 KiB: counted, and the group waits for it. */
  io: async () => {
    tune({ blkio: { devices: [{ path: DISK, readIopsSec: 128, writeBytesSec: 1_048_576 }] } });
    const max = read(`${GROUP}/io.max`);
    const run = await runIn(place, `dd if=${DISK} of=/dev/null bs=4k count=64 iflag=direct`);
    const { io } = readStats(place);
    const pressure = readStats(place, { pressure: true }).pressure;
    tune({ blkio: { devices: [{ path: DISK, readIopsSec: 0, writeBytesSec: 0 }] } });
    return { run, max, io, ioPressure: pressure?.io?.some?.totalUs, after: read(`${GROUP}/io.max`) };
  },

  devices: async () => {
    const attach = await loadDevicePrograms();
    const allow = (...nodes: string[]): void => {
      applyActions(planTuning(place, { devices: deviceRules(nodes) }), { attach });
    };
    const tried = ['null', 'zero', 'full'].map((name) => `head -c1 /dev/${name} > /dev/null 2>&1 && echo ${name}`);
    const usable = async (): Promise<string> => (await runIn(place, tried.join('; '))).stdout;
    allow('/dev/null', '/dev/zero');
    const first = await usable();
    // Other rules take the place of those before, whether they are wider or narrower.
    allow('/dev/null', '/dev/zero', '/dev/full');
    const widened = await usable();
    allow('/dev/null', '/dev/full');
    return { first, widened, changed: await usable() };
  },

  freeze: async () => {
    await using child = await spawnChild({
      command: 'sh',
      args: ['-c', "trap 'exit 7' TERM; echo ready; while :; do :; done"],
      stdio: ['ignore', 'pipe', 'tail'],
      cgroupProcs: [`${ROOT}/${GROUP}/cgroup.procs`],
    });
    await once(child.readable(1), 'data');
    await freeze(place);
    const frozen = read(`${GROUP}/cgroup.events`);
    // What is frozen does not even do what it is asked to; a signal that it does not handle would end it.
    child.kill('SIGTERM');
    const still = read(`${GROUP}/cgroup.procs`) === String(child.pid);
    await thaw(place);
    const { exitCode } = await child.exited;
    return { frozen, still, exitCode, freeze: read(`${GROUP}/cgroup.freeze`) };
  },

  kill: async () => {
    await using first = await startSleeper(GROUP);
    mkdirSync(`${LIMITED}/inner`);
    await using second = await startSleeper(`${GROUP}/inner`);
    // Also what is frozen can be ended.
    await freeze(place);
    await killAll(place);
    const ends = await Promise.all([first.exited, second.exited]);
    const populated = read(`${GROUP}/cgroup.events`);
    return { signals: ends.map(({ signal }) => signal), populated };
  },

  stale: async () => {
    const dead = [`${ROOT}/machine/qemu-9-dead.libvirt-qemu`, `${ROOT}/machine/qemu-9-dead.libvirt-qemu/vcpu0`];
    for (const directory of [`${ROOT}/machine`, ...dead]) mkdirSync(directory);
    mkdirSync(`${ROOT}/machine/somebodys`);
    await using _alive = await startSleeper(GROUP);
    const stale = findStaleGroups({ minimumAgeMs: 0 });
    await removeStaleGroups(stale);
    const left = findStaleGroups({ minimumAgeMs: 0 });
    return { stale, left, machine: read('machine/cgroup.stat'), alive: read(`${GROUP}/cgroup.events`) };
  },

  /** Limits that guests share, with the levels above; in a name's way stand neither dots nor the kernel's files. */
  partitions: async () => {
    const name = '/virtualmachines/production';
    createPartition(name, { memory: { hardLimitKiB: 65_536 }, cpu: { quotaUs: 50_000 }, pids: { max: 20 } });
    setPartition(name, { memory: { hardLimitKiB: 131_072 } });
    const tree = listPartitions().filter(({ partition }) => partition === '/virtualmachines');
    const max = read('virtualmachines.partition/production.partition/memory.max');
    const busy = await removePartition('/virtualmachines').then(
      () => 'removed',
      (error: unknown) => String(error),
    );
    await removePartition(name);
    await removePartition('/virtualmachines');
    const [outer] = tree;
    const [inner] = outer?.children ?? [];
    return { outer: outer?.partition, inner: inner?.partition, limits: inner?.limits, max, busy };
  },

  /** All that is told of a group. */
  stats: async () => {
    await using _child = await startSleeper(GROUP);
    const stats = readStats(place, { pressure: true, memoryDetail: true });
    const known = Object.entries(stats).flatMap(([name, value]) => (value === undefined ? [] : [name]));
    return { known, pids: stats.pids, anon: stats.memoryDetail?.['anon'], pressure: stats.pressure };
  },
});

await killAll(place);
await removeGroups([LIMITED]);

function tune(tuning: GuestTuning): void {
  applyActions(planTuning(place, tuning, readTuning(place)));
}

/**
 * Every v1 controller of this host by itself: what is set is what the kernel says, and processes feel it. Guests are in cgroup-guests.test.ts,
 * v2 in cgroup-v2-guest.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  applyActions,
  type CgroupPlace,
  type DeviceRule,
  detectCgroups,
  deviceRules,
  type GuestTuning,
  loadDevicePrograms,
  MEMORY_UNLIMITED_KIB,
  planGroup,
  planTuning,
  readStats,
  readTuning,
  removeGroups,
  v1Hierarchy,
  v2Hierarchy,
} from '../../src/cgroup/index.ts';
import { wholeDiskOf } from '../support/whole-disk.ts';

const host = detectCgroups();
const isRoot = process.getuid?.() === 0;
const CONTROLLERS = ['cpu', 'cpuacct', 'cpuset', 'memory', 'blkio', 'devices', 'pids', 'freezer'];
const has = (controller: string): boolean => isRoot && v1Hierarchy(host, controller)?.writable === true;
/** The whole disk, if it is one, on which temporary files lie. */
const disk = wholeDiskOf(tmpdir());
const missing = CONTROLLERS.filter((name) => !has(name));
if (missing.length > 0)
  process.stderr.write(`\nSKIPPED: v1 controllers that are not here, or not ours: ${missing.join(', ')}\n\n`);
if (disk === undefined)
  process.stderr.write('\nSKIPPED: limits of disk traffic: temporary files are not on a whole disk here\n\n');

const plan = planGroup({
  host,
  base: 'root',
  names: [`nestling-controllers-${process.pid}`],
  makeAbove: () => true,
  wanted: isRoot ? CONTROLLERS : [],
  demanded: [],
});
const { place } = plan;
beforeAll(() => void applyActions(plan.actions));
afterAll(async () => await removeGroups(plan.directories));

function tune(tuning: GuestTuning, at = place): void {
  applyActions(planTuning(at, tuning, readTuning(at)));
}

/** Runs a shell script in the group, or another. */
function runIn(script: string, files = plan.directories.map((directory) => `${directory}/cgroup.procs`)): string {
  const enter = `for f in ${files.join(' ')}; do echo $$ > $f; done; ${script}`;
  return spawnSync('sh', ['-c', enter], { encoding: 'utf8' }).stdout;
}

describe.skipIf(!has('cpu'))('cpu', () => {
  it('shares, period and quota are what was set, and are lifted', () => {
    tune({ cpu: { shares: 512, periodUs: 50_000, quotaUs: 20_000 } });
    expect(readTuning(place).cpu).toEqual({ shares: 512, periodUs: 50_000, quotaUs: 20_000 });
    // A period that alone would make the quota too small is no obstacle.
    tune({ cpu: { periodUs: 1_000_000, quotaUs: 1_500_000 } });
    tune({ cpu: { periodUs: 10_000, quotaUs: 5000 } });
    tune({ cpu: { quotaUs: -1 } });
    expect(readTuning(place).cpu).toEqual({ shares: 512, periodUs: 10_000, quotaUs: -1 });
  });

  it('threads’ sub-groups are limited by the same means', () => {
    const directory = `${place.v1['cpu']}/vcpu0`;
    mkdirSync(directory);
    try {
      const inner: CgroupPlace = { path: `${place.path}/vcpu0`, v1: { cpu: directory } };
      tune({ cpu: { periodUs: 100_000, quotaUs: 30_000 } }, inner);
      expect(readTuning(inner)).toMatchObject({ cpu: { periodUs: 100_000, quotaUs: 30_000 } });
    } finally {
      rmdirSync(directory);
    }
  });

  it.skipIf(!has('cpuacct'))('time is counted', () => {
    const before = readStats(place).cpuUsageNs ?? 0n;
    runIn('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done');
    expect(readStats(place).cpuUsageNs).toBeGreaterThan(before);
  });
});

describe.skipIf(!has('memory'))('memory', () => {
  const swapIsCounted = existsSync(`${v1Hierarchy(host, 'memory')?.mountPoint}/memory.memsw.limit_in_bytes`);

  it.skipIf(!swapIsCounted)('limits shrink and grow in the order that the kernel takes', () => {
    const limits = (hardMiB: number, sumMiB: number): GuestTuning['memory'] => {
      return { hardLimitKiB: hardMiB * 1024, softLimitKiB: 16 * 1024, swapHardLimitKiB: sumMiB * 1024 };
    };
    for (const memory of [limits(64, 128), limits(32, 48), limits(256, 512), limits(128, 128)]) {
      tune({ memory });
      expect(readTuning(place).memory).toEqual(memory);
    }
    tune({ memory: { hardLimitKiB: MEMORY_UNLIMITED_KIB, swapHardLimitKiB: MEMORY_UNLIMITED_KIB } });
    expect(readTuning(place).memory).toMatchObject({
      hardLimitKiB: MEMORY_UNLIMITED_KIB,
      swapHardLimitKiB: MEMORY_UNLIMITED_KIB,
    });
  });

  it('what a group is made of is told when asked', () => {
    const { memoryDetail, memoryUsageKiB, pressure } = readStats(place, { memoryDetail: true, pressure: true });
    expect(memoryDetail).toMatchObject({ rss: expect.any(Number), cache: expect.any(Number) });
    expect(memoryUsageKiB).toEqual(expect.any(Number));
    // v1 tells of no pressure.
    expect(pressure).toBeUndefined();
  });
});

describe.skipIf(!has('cpuset'))('cpuset', () => {
  it('begins with the parent’s, and holds its processes to what is set', () => {
    const all = readTuning(place).cpuset;
    expect(all?.cpus?.length).toBeGreaterThan(0);
    expect(all?.mems?.length).toBeGreaterThan(0);
    const last = all?.cpus?.at(-1) ?? 0;
    tune({ cpuset: { cpus: [last], mems: [0] } });
    expect(runIn('grep Cpus_allowed_list /proc/self/status')).toBe(`Cpus_allowed_list:\t${last}\n`);
    tune({ cpuset: all ?? {} });
    expect(readTuning(place).cpuset).toEqual(all);
  });
});

describe.skipIf(!has('blkio') || disk === undefined)('blkio', () => {
  const device = { path: disk?.path ?? '', readIopsSec: 200, writeBytesSec: 1_048_576 };

  it('throttles are what was set, by the disk’s name; 0 lifts them', () => {
    tune({ blkio: { devices: [device] } });
    expect(readTuning(place).blkio?.devices).toEqual([device]);
    tune({ blkio: { devices: [{ path: device.path, readIopsSec: 0, writeBytesSec: 0 }] } });
    expect(readTuning(place).blkio?.devices).toBeUndefined();
  });

  it('what is read is counted', () => {
    const directory = mkdtempSync(join(tmpdir(), 'nestling-blkio-'));
    try {
      const file = join(directory, 'data');
      writeFileSync(file, Buffer.alloc(65_536), { flush: true });
      const counted = () => readStats(place).io?.find((entry) => entry.device === disk?.number);
      const before = counted();
      runIn(`exec dd if=${file} of=/dev/null bs=4k count=16 iflag=direct 2> /dev/null`);
      const after = counted();
      // Beside the program itself, if it has to be read again.
      expect((after?.readOps ?? 0) - (before?.readOps ?? 0)).toBeGreaterThanOrEqual(16);
      expect((after?.readBytes ?? 0) - (before?.readBytes ?? 0)).toBeGreaterThanOrEqual(65_536);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('a part of a disk, or what is none, is an error that says so', () => {
    const refused = (path: string): unknown => {
      return () => tune({ blkio: { devices: [{ path, readIopsSec: 1 }] } });
    };
    expect(refused('/dev/null')).toThrow(/\/dev\/null is not a block device; name the node of a whole disk/);
    expect(refused('/dev/nestling-none')).toThrow(/does not exist/);
  });
});

describe.skipIf(!has('devices'))('devices', () => {
  it('nothing is opened but what is allowed', () => {
    tune({ devices: deviceRules(['/dev/null']) });
    expect(runIn('cat /dev/null && echo null; head -c1 /dev/full 2>&1 > /dev/null || true')).toMatch(
      /^null\n.*not permitted/,
    );
  });
});

describe.skipIf(!has('pids'))('pids', () => {
  it('are limited, counted and free again', () => {
    tune({ pids: { max: 7 } });
    expect(readTuning(place).pids).toEqual({ max: 7 });
    expect(runIn(`cat ${place.v1['pids']}/pids.current`)).toBe('2\n');
    tune({ pids: { max: 0 } });
    expect(readTuning(place).pids).toEqual({ max: 0 });
    expect(readStats(place).pids).toBe(0);
  });
});

describe.skipIf(!isRoot || v2Hierarchy(host)?.writable !== true)('device programs', () => {
  const directory = `${v2Hierarchy(host)?.mountPoint ?? ''}/nestling-programs-${process.pid}`;
  beforeAll(() => mkdirSync(directory));
  afterAll(() => rmdirSync(directory));

  it('of hundreds of rules are taken, and the last rule that fits decides', async () => {
    const filler = Array.from({ length: 400 }, (_, minor): DeviceRule => {
      return { allow: true, type: 'b', major: 240, minor, access: 'rw' };
    });
    const allowed: DeviceRule = { allow: true, type: 'c', major: 1, access: 'rw' };
    const fullDenied: DeviceRule = { allow: false, type: 'c', major: 1, minor: 7, access: 'rwm' };
    const rules = [allowed, ...filler, { ...fullDenied, access: 'r' }, fullDenied];
    applyActions([{ kind: 'attach-device-program', directory, rules }], { attach: await loadDevicePrograms() });
    const tried = ['null', 'zero', 'full'].map((name) => `head -c1 /dev/${name} > /dev/null 2>&1 && echo ${name}`);
    expect(runIn(tried.join('; '), [`${directory}/cgroup.procs`])).toBe('null\nzero\n');
  });

  it('that cannot be attached say which group and why', async () => {
    const attach = await loadDevicePrograms();
    expect(() => attach('/proc', [])).toThrow(/cannot attach a device program to \/proc: EBADF/);
  });
});

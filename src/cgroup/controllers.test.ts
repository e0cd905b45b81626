import { describe, expect, it } from 'vitest';
import type { CgroupAction } from './action.ts';
import { MEMORY_UNLIMITED_KIB, neededControllers, planTuning } from './controllers.ts';
import { formatList, parseList } from './files.ts';
import type { CgroupPlace } from './host.ts';
import { setBlkio } from './v1/blkio.ts';
import { setIo } from './v2/io.ts';

const V1: CgroupPlace = {
  path: '/g',
  v1: Object.fromEntries(
    ['cpu', 'cpuset', 'memory', 'blkio', 'devices', 'pids'].map((name) => [name, `/v1/${name}/g`]),
  ),
};
const V2: CgroupPlace = {
  path: '/g',
  v1: {},
  v2: { directory: '/v2/g', controllers: ['cpu', 'cpuset', 'memory', 'io', 'pids'] },
};
/** `FILE=VALUE` of the writes. */
const writes = (actions: readonly CgroupAction[]): string[] =>
  actions.flatMap((action) => (action.kind === 'write' ? [`${action.file}=${action.value}`] : []));

describe('v1', () => {
  it('CPU', () => {
    expect(writes(planTuning(V1, { cpu: { shares: 2048, periodUs: 50_000, quotaUs: 25_000 } }))).toEqual([
      'cpu.shares=2048',
      'cpu.cfs_quota_us=-1',
      'cpu.cfs_period_us=50000',
      'cpu.cfs_quota_us=25000',
    ]);
    expect(() => planTuning(V1, { cpu: { shares: 1 } })).toThrow(/2 to 262144/);
  });

  it('memory: whichever limit must not pass the other goes first', () => {
    const tuning = { memory: { hardLimitKiB: 2048, swapHardLimitKiB: 4096 } };
    const shrink = writes(planTuning(V1, tuning));
    const grow = writes(planTuning(V1, tuning, { memory: { hardLimitKiB: 512, swapHardLimitKiB: 1024 } }));
    expect(shrink).toEqual(['memory.limit_in_bytes=2097152', 'memory.memsw.limit_in_bytes=4194304']);
    expect(grow).toEqual(shrink.toReversed());
    expect(writes(planTuning(V1, { memory: { hardLimitKiB: MEMORY_UNLIMITED_KIB } }))).toEqual([
      'memory.limit_in_bytes=-1',
    ]);
  });

  it("cpuset: the parent's first", () => {
    const actions = planTuning(V1, { cpuset: { cpus: [3, 0, 1], mems: [0] } });
    expect(actions.slice(0, 2).map(({ kind }) => kind)).toEqual(['copy-from-parent', 'copy-from-parent']);
    expect(writes(actions)).toEqual(['cpuset.memory_migrate=1', 'cpuset.mems=0', 'cpuset.cpus=0-1,3']);
  });

  it('devices: nothing but what is allowed', () => {
    const rule = { allow: true, type: 'c', major: 10, minor: 232, access: 'rw' } as const;
    expect(writes(planTuning(V1, { devices: [rule] }))).toEqual(['devices.deny=a', 'devices.allow=c 10:232 rw']);
  });

  it('block I/O', () => {
    const actions = setBlkio(
      '/v1/g',
      { weight: 500, devices: [{ path: '/dev/x', readBytesSec: 1024, writeIopsSec: 0 }] },
      () => '8:0',
    );
    expect(writes(actions)).toEqual([
      'blkio.weight=500',
      'blkio.throttle.read_bps_device=8:0 1024',
      'blkio.throttle.write_iops_device=8:0 0',
    ]);
    expect(() => setBlkio('/v1/g', { weight: 5000 })).toThrow(/100 to 1000/);
    const weighed = (weight: number) => setBlkio('/v1/g', { devices: [{ path: '/dev/x', weight }] }, () => '8:0');
    expect(writes(weighed(0))).toEqual(['blkio.weight_device=8:0 0']);
    expect(() => weighed(50)).toThrow(/100 to 1000/);
    expect(() => setBlkio('/v1/g', { devices: [{ path: '/dev/null', readIopsSec: 1 }] })).toThrow(/not a block device/);
  });
});

describe('v2', () => {
  it('CPU: what is not given stays', () => {
    expect(writes(planTuning(V2, { cpu: { shares: 200, quotaUs: 25_000 } }))).toEqual([
      'cpu.weight=200',
      'cpu.max=25000 100000',
    ]);
    expect(writes(planTuning(V2, { cpu: { quotaUs: -1 } }, { cpu: { periodUs: 5000 } }))).toEqual(['cpu.max=max 5000']);
    expect(() => planTuning(V2, { cpu: { shares: 262_144 } })).toThrow(/1 to 10000/);
  });

  it('memory: swap is what the sum leaves', () => {
    const memory = { hardLimitKiB: 1024, softLimitKiB: 512, swapHardLimitKiB: 3072 };
    expect(writes(planTuning(V2, { memory }))).toEqual([
      'memory.max=1048576',
      'memory.high=524288',
      'memory.swap.max=2097152',
    ]);
    expect(writes(planTuning(V2, { memory: { swapHardLimitKiB: 3072 } }, { memory }))).toEqual([
      'memory.swap.max=2097152',
    ]);
    expect(() => planTuning(V2, { memory: { swapHardLimitKiB: 1 } })).toThrow(/needs a hard_limit/);
  });

  it('block I/O: 0 lifts a limit', () => {
    const actions = setIo(
      '/v2/g',
      { weight: 200, devices: [{ path: '/dev/x', readBytesSec: 0, writeIopsSec: 9, weight: 50 }] },
      () => '8:0',
    );
    expect(writes(actions)).toEqual(['io.weight=default 200', 'io.max=8:0 rbps=max wiops=9', 'io.weight=8:0 50']);
    const lifted = setIo('/v2/g', { devices: [{ path: '/dev/x', weight: 0 }] }, () => '8:0');
    expect(writes(lifted)).toEqual(['io.weight=8:0 default']);
    expect(() => setIo('/v2/g', { weight: 10_001 })).toThrow(/1 to 10000/);
  });

  it('devices: a program, without any controller', () => {
    const place: CgroupPlace = { path: '/g', v1: {}, v2: { directory: '/v2/g', controllers: [] } };
    expect(planTuning(place, { devices: [] }).map(({ kind }) => kind)).toEqual(['attach-device-program']);
  });
});

describe('a controller that is not there', () => {
  it('is one error that says why and what to do', () => {
    const bare: CgroupPlace = { path: '/g', v1: {}, v2: { directory: '/v2/g', controllers: ['cpu'] } };
    expect(() => planTuning(bare, { memory: { hardLimitKiB: 1 } })).toThrow(
      /'memory' is not enabled in the group above it; run 'nestling ci prepare/,
    );
    expect(() => planTuning({ path: '/g', v1: { cpu: '/c' } }, { pids: { max: 1 } })).toThrow(/'pids' is not mounted/);
  });

  it('is known beforehand', () => {
    expect(neededControllers({ blkio: { weight: 1 }, cpu: { shares: 2 }, devices: [], memory: {} })).toEqual([
      'cpu',
      'io',
    ]);
  });
});

it('lists of numbers', () => {
  expect(parseList('0-2,5\n')).toEqual([0, 1, 2, 5]);
  expect(formatList([5, 2, 1, 0, 2])).toBe('0-2,5');
  expect(parseList('')).toEqual([]);
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readTuning } from './controllers.ts';
import { readIfThere } from './files.ts';
import { countOomKills, readStats } from './stats.ts';
import { MEMORY_UNLIMITED_KIB } from './tuning.ts';
import { readBlkio } from './v1/blkio.ts';
import { readIo } from './v2/io.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-stats-'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A group's directory with these files; texts are the kernel's own. */
function group(name: string, files: Readonly<Record<string, string>>): string {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text);
  return directory;
}

describe('v1', () => {
  const place = () => ({
    path: '/g',
    v1: {
      cpu: group('cpu', {
        'cpu.stat': 'nr_periods 40\nnr_throttled 7\nthrottled_time 9007199254\n',
        'cpu.shares': '2048\n',
        'cpu.cfs_period_us': '100000\n',
        'cpu.cfs_quota_us': '-1\n',
      }),
      cpuacct: group('cpuacct', { 'cpuacct.usage': '12345678901234567890\n', 'cpuacct.stat': 'user 150\nsystem 25\n' }),
      cpuset: group('cpuset', { 'cpuset.cpus': '0-2,7\n', 'cpuset.mems': '0\n' }),
      memory: group('memory', {
        'memory.usage_in_bytes': '10485760\n',
        'memory.max_usage_in_bytes': '20971520\n',
        'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
        // Of the group alone, then with those in it.
        'memory.stat':
          'cache 1024\nrss 0\nhierarchical_memory_limit 9223372036854771712\ntotal_cache 4096\ntotal_rss 8192\n',
        'memory.limit_in_bytes': '536870912\n',
        'memory.soft_limit_in_bytes': '9223372036854771712\n',
      }),
      pids: group('pids', { 'pids.current': '12\n', 'pids.max': 'max\n' }),
      blkio: group('blkio', {
        'blkio.throttle.io_service_bytes':
          '8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Discard 0\n8:0 Total 12288\nTotal 12288\n',
        'blkio.throttle.io_serviced': '8:0 Read 1\n8:0 Write 2\n8:0 Total 3\n8:16 Read 5\nTotal 8\n',
        'blkio.throttle.read_bps_device': '8:0 1048576\n',
        'blkio.throttle.write_iops_device': '8:0 100\n8:16 7\n',
        'blkio.bfq.weight': 'default 200\n',
        'blkio.bfq.weight_device': 'default 200\n8:16 300\n',
      }),
    },
  });

  it('who was ended for want of memory is counted with those of groups below, each of which counts its own', () => {
    expect(countOomKills(place())).toBe(3);
    group('memory/init/more', { 'memory.oom_control': 'oom_kill 1\n' });
    group('memory/init', { 'memory.oom_control': 'oom_kill 2\n' });
    expect(countOomKills(place())).toBe(6);
    expect(countOomKills({ path: '/g', v1: {} })).toBeUndefined();
    group('old', { 'memory.oom_control': 'oom_kill_disable 0\n' });
    expect(countOomKills({ path: '/g', v1: { memory: join(root, 'old') } })).toBeUndefined();
  });

  it('statistics are what the files say, in our units', () => {
    expect(readStats(place())).toEqual({
      cpuUsageNs: 12345678901234567890n,
      cpuUserNs: 1_500_000_000n,
      cpuSystemNs: 250_000_000n,
      throttled: { periods: 7, timeNs: 9_007_199_254n },
      memoryUsageKiB: 10_240,
      memoryPeakKiB: 20_480,
      oomKills: 3,
      pids: 12,
      io: [
        { device: '8:0', readBytes: 4096, writeBytes: 8192, readOps: 1, writeOps: 2 },
        { device: '8:16', readBytes: 0, writeBytes: 0, readOps: 5, writeOps: 0 },
      ],
    });
    expect(readStats(place(), { io: false, memoryDetail: true })).toMatchObject({
      memoryDetail: { cache: 4096, rss: 8192 },
    });
    expect(readStats(place(), { io: false })).not.toHaveProperty('io');
  });

  it('limits are read back in the units in which they are set', () => {
    expect(readTuning(place())).toMatchObject({
      cpu: { shares: 2048, periodUs: 100_000, quotaUs: -1 },
      cpuset: { cpus: [0, 1, 2, 7], mems: [0] },
      memory: { hardLimitKiB: 524_288, softLimitKiB: MEMORY_UNLIMITED_KIB, swapHardLimitKiB: undefined },
      pids: { max: 0 },
    });
    expect(readBlkio(place().v1.blkio, (number) => `/dev/${number}`)).toEqual({
      weight: 200,
      devices: [
        { path: '/dev/8:16', weight: 300, writeIopsSec: 7 },
        { path: '/dev/8:0', readBytesSec: 1_048_576, writeIopsSec: 100 },
      ],
    });
  });
});

describe('v2', () => {
  const PRESSURE =
    'some avg10=1.50 avg60=0.25 avg300=0.00 total=4242\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n';
  const place = (controllers = ['cpu', 'cpuset', 'memory', 'io', 'pids']) => ({
    path: '/g',
    v1: {},
    v2: {
      controllers,
      directory: group('unified', {
        'cpu.stat':
          'usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 50\n',
        'cpu.weight': '100\n',
        'cpu.max': '25000 100000\n',
        'cpuset.cpus': '\n',
        'cpuset.cpus.effective': '0-1\n',
        'cpuset.mems.effective': '0\n',
        'memory.current': '1048576\n',
        'memory.events': 'low 0\nhigh 0\nmax 8\noom 2\noom_kill 1\n',
        'memory.max': '1073741824\n',
        'memory.high': 'max\n',
        'memory.swap.max': '1073741824\n',
        'pids.current': '3\n',
        'pids.max': '10\n',
        'io.stat': '254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n',
        'io.weight': 'default 100\n8:0 50\n',
        'io.max': '8:0 rbps=max wbps=1048576 riops=128 wiops=max\n',
        'cpu.pressure': PRESSURE.split('\n')[0] ?? '',
        'memory.pressure': PRESSURE,
      }),
    },
  });

  it('statistics are what the files say, in our units', () => {
    expect(readStats(place())).toEqual({
      cpuUsageNs: 3_000_000n,
      cpuUserNs: 2_000_000n,
      cpuSystemNs: 1_000_000n,
      throttled: { periods: 4, timeNs: 50_000n },
      memoryUsageKiB: 1024,
      // Kernels before 5.19 do not tell.
      memoryPeakKiB: undefined,
      oomKills: 1,
      pids: 3,
      io: [{ device: '254:0', readBytes: 4096, writeBytes: 0, readOps: 1, writeOps: 0 }],
    });
  });

  it('pressure is read when asked for, as far as the kernel tells', () => {
    const line = { avg10: 1.5, avg60: 0.25, avg300: 0, totalUs: 4242 };
    expect(readStats(place(), { pressure: true }).pressure).toEqual({
      cpu: { some: line, full: undefined },
      memory: { some: line, full: { avg10: 0, avg60: 0, avg300: 0, totalUs: 7 } },
      io: undefined,
    });
    expect(
      readStats({ path: '/g', v1: {}, v2: { directory: root, controllers: [] } }, { pressure: true }).pressure,
    ).toBeUndefined();
  });

  it('without controllers there is still the CPU time', () => {
    const stats = readStats(place([]));
    expect(stats).toMatchObject({ cpuUsageNs: 3_000_000n, pids: undefined, io: undefined });
    expect(stats).not.toHaveProperty('memoryUsageKiB');
    expect(readTuning(place([]))).toEqual({});
  });

  it('limits are read back in the units in which they are set, CPUs as they are in effect', () => {
    expect(readTuning(place())).toMatchObject({
      cpu: { shares: 100, periodUs: 100_000, quotaUs: 25_000 },
      cpuset: { cpus: [0, 1], mems: [0] },
      memory: { hardLimitKiB: 1_048_576, softLimitKiB: MEMORY_UNLIMITED_KIB, swapHardLimitKiB: 2_097_152 },
      pids: { max: 10 },
    });
    expect(readIo(place().v2.directory, (number) => `/dev/${number}`)).toEqual({
      weight: 100,
      devices: [
        { path: '/dev/8:0', weight: 50, readBytesSec: 0, writeBytesSec: 1_048_576, readIopsSec: 128, writeIopsSec: 0 },
      ],
    });
  });
});

describe('reading a file of a group', () => {
  it('takes all of it, however long', () => {
    const text = Array.from({ length: 4000 }, (_, index) => `${index}\n`).join('');
    expect(readIfThere(group('long', { 'cgroup.procs': text }), 'cgroup.procs')).toBe(text);
  });

  it('one that is not there is unknown; what says nothing about the group is an error', () => {
    expect(readIfThere(root, 'memory.peak')).toBeUndefined();
    mkdirSync(join(root, 'cpu.stat'));
    expect(() => readIfThere(root, 'cpu.stat')).toThrow(/cannot read .*\/cpu\.stat: EISDIR/);
  });
});

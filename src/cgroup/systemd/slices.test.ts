import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEMORY_UNLIMITED_KIB } from '../controllers.ts';
import { readCgroupHost } from '../detect.ts';
import { openPartitions, type PartitionStore } from '../partition-store.ts';
import { variant } from './dbus-value.ts';
import { FakeBus, type FakeOptions } from './testing/fake-systemd.ts';
import { unitProperties } from './unit-properties.ts';

let directory: string;
let root: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'slices-'));
  root = join(directory, 'cgroup');
  mkdirSync(root);
});
afterEach(() => rmSync(directory, { recursive: true }));

async function withSlices(act: (slices: PartitionStore, bus: FakeBus) => Promise<void>, options: FakeOptions = {}) {
  const mounts = `30 1 0:26 / ${root} rw - cgroup2 cgroup2 rw`;
  const host = { ...readCgroupHost({ mounts, selfCgroup: '0::/', cgroups: '' }), systemd: true };
  await using bus = await FakeBus.listen(join(directory, 'bus'), options);
  await using slices = await openPartitions({ host, address: bus.address });
  await act(slices, bus);
}

function makeGroup(path: string, files: Record<string, string> = {}): void {
  mkdirSync(join(root, path), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), text);
}

describe('partitions under systemd', () => {
  it('are made as slices with their limits, and changed at run time', async () => {
    await withSlices(async (slices, bus) => {
      const limits = { memory: { hardLimitKiB: 1024 }, pids: { max: 50 } };
      await slices.create('/machine/my-tests', limits);
      const [made] = bus.systemd.calls.filter(({ member }) => member === 'StartTransientUnit');
      expect(made?.body).toEqual([
        'machine-my\\x2dtests.slice',
        'fail',
        [
          ['Description', variant('s', 'Guests in /machine/my-tests')],
          ['MemoryMax', variant('t', 1_048_576n)],
          ['TasksMax', variant('t', 50n)],
        ],
        [],
      ]);
      // One that is there gets the limits.
      await slices.create('/machine/my-tests', { pids: { max: 0 } });
      await slices.set('/machine/my-tests', { cpu: { quotaUs: 150_000, periodUs: 100_000 } });
      const changes = bus.systemd.calls.filter(({ member }) => member === 'SetUnitProperties');
      expect(changes.map(({ body }) => body.slice(1))).toEqual([
        [true, [['TasksMax', variant('t', 2n ** 64n - 1n)]]],
        [true, [['CPUQuotaPerSecUSec', variant('t', 1_500_000n)]]],
      ]);
    });
  });

  it('that an administrator has a unit file for are started', async () => {
    const errors = { StartTransientUnit: ['org.freedesktop.systemd1.UnitExists', 'it has a fragment file'] } as const;
    await withSlices(
      async (slices, bus) => {
        await slices.create('/production', { pids: { max: 9 } });
        const members = bus.systemd.calls.map(({ member }) => member);
        expect(members.slice(members.indexOf('StartTransientUnit'))).toEqual([
          'StartTransientUnit',
          'StartUnit',
          'SetUnitProperties',
        ]);
      },
      { errors },
    );
  });

  it('are listed as trees, with their guests and what they use', async () => {
    makeGroup('machine.slice', { 'pids.max': '100\n', 'pids.current': '3\n' });
    makeGroup('machine.slice/machine-web.slice/machine-qemu\\x2d1\\x2dshop.scope');
    await withSlices(async (slices, bus) => {
      bus.systemd.units.set('machine.slice', '').set('machine-web.slice', '').set('-.slice', '').set('x.slice', '');
      expect(await slices.list()).toMatchObject([
        {
          partition: '/machine',
          path: '/machine.slice',
          limits: { pids: { max: 100 } },
          usage: { pids: 3 },
          guests: [],
          children: [{ partition: '/machine/web', guests: ['shop'], children: [] }],
        },
        { partition: '/x', children: [] },
      ]);
    });
  });

  it('are removed when nothing is in them', async () => {
    makeGroup('production.slice/machine-qemu\\x2d1\\x2dweb.scope');
    await withSlices(async (slices, bus) => {
      await expect(slices.remove('/production')).rejects.toThrow(/no such slice.*partition create \/production/);
      bus.systemd.units.set('production.slice', '');
      await expect(slices.remove('/production')).rejects.toThrow(/EBUSY.*machine-qemu/);
      rmSync(join(root, 'production.slice/machine-qemu\\x2d1\\x2dweb.scope'), { recursive: true });
      await slices.remove('/production');
      expect([...bus.systemd.units]).toEqual([]);
    });
  });

  it('are planned as commands', async () => {
    await withSlices(async (slices, bus) => {
      const limits = {
        memory: { hardLimitKiB: 2048, swapHardLimitKiB: 3072 },
        cpu: { quotaUs: 50_000, periodUs: 100_000, shares: 20 },
        cpuset: { cpus: [0, 1, 9] },
      };
      expect((await slices.planCreate('/a-b', limits)).script).toBe(
        "systemctl start 'a\\x2db.slice'\nsystemctl set-property --runtime 'a\\x2db.slice' " +
          'MemoryMax=2097152 MemorySwapMax=1048576 CPUWeight=20 CPUQuota=50% AllowedCPUs=0,1,9\n',
      );
      await expect(slices.planSet('/', {})).rejects.toThrow(TypeError);
      expect(bus.systemd.calls.every(({ member }) => !member.startsWith('Start'))).toBe(true);
    });
  });
});

describe('limits as properties', () => {
  const of = (limits: Parameters<typeof unitProperties>[0], version: 1 | 2 = 2) =>
    unitProperties(limits, { version, unit: 'x.slice' }).map(({ property: [name, { signature, value }] }) => [
      name,
      signature,
      value,
    ]);

  it('have systemd’s names, units and types', () => {
    const infinity = 2n ** 64n - 1n;
    const none = MEMORY_UNLIMITED_KIB;
    expect(of({ memory: { hardLimitKiB: none, softLimitKiB: 4, swapHardLimitKiB: none } })).toEqual([
      ['MemoryMax', 't', infinity],
      ['MemoryHigh', 't', 4096n],
      ['MemorySwapMax', 't', infinity],
    ]);
    expect(of({ cpu: { quotaUs: -1 } })).toEqual([['CPUQuotaPerSecUSec', 't', infinity]]);
    expect(of({ cpu: { quotaUs: 5000, periodUs: 10_000 } })).toEqual([
      ['CPUQuotaPerSecUSec', 't', 500_000n],
      ['CPUQuotaPeriodUSec', 't', 10_000n],
    ]);
    expect(of({ cpuset: { cpus: [0, 3, 8], mems: [1] } })).toEqual([
      ['AllowedCPUs', 'ay', new Uint8Array([9, 1])],
      ['AllowedMemoryNodes', 'ay', new Uint8Array([2])],
    ]);
    const devices = [
      { path: '/dev/sda', readBytesSec: 100, weight: 7 },
      { path: '/dev/sdb', readBytesSec: 0 },
    ];
    expect(of({ blkio: { weight: 200, devices } })).toEqual([
      ['IOWeight', 't', 200n],
      ['IODeviceWeight', 'a(st)', [['/dev/sda', 7n]]],
      [
        'IOReadBandwidthMax',
        'a(st)',
        [
          ['/dev/sda', 100n],
          ['/dev/sdb', infinity],
        ],
      ],
    ]);
  });

  it('are other ones on v1, and what systemd cannot limit there is refused', () => {
    expect(of({ cpu: { shares: 512 }, blkio: { weight: 300 } }, 1)).toEqual([
      ['CPUShares', 't', 512n],
      ['BlockIOWeight', 't', 300n],
    ]);
    expect(() => of({ cpuset: { cpus: [0] } }, 1)).toThrow(/cgroup v2 only/);
    expect(() => of({ memory: { hardLimitKiB: 4, swapHardLimitKiB: 8 } }, 1)).toThrow(/swap on cgroup v2 only/);
    expect(() => of({ memory: { hardLimitKiB: 8, swapHardLimitKiB: 4 } })).toThrow(/not above it/);
  });
});

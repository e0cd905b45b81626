import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readCgroupHost } from '../../cgroup/detect.ts';
import { variant } from '../../cgroup/systemd/dbus-value.ts';
import { FakeBus, type FakeOptions } from '../../cgroup/systemd/testing/fake-systemd.ts';
import { Ledger } from '../../core/ledger.ts';
import { parseDomain } from '../../model/domain/domain.ts';
import type { GuestCgroupsInit } from './made-cgroups.ts';
import { ScopeCgroups } from './scope-cgroups.ts';
import { planScope } from './scope-groups.ts';

/** Files that the kernel gives a group whose controllers are all there, and what a new one says. */
const FILES = {
  'cgroup.procs': '',
  'cgroup.threads': '',
  'cgroup.type': 'domain',
  'cgroup.subtree_control': '',
  'cpu.max': 'max 100000',
  'cpu.weight': '100',
  'cpu.stat': 'usage_usec 5000',
  'cpuset.cpus': '',
  'cpuset.mems': '',
  'io.max': '',
  'io.stat': '',
  'memory.max': 'max',
  'memory.high': 'max',
  'memory.swap.max': 'max',
  'memory.current': '4096',
  'pids.max': 'max',
};
const MIB = 1024;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'scope-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const domainOf = (elements = '') =>
  parseDomain(
    `<domain type='qemu'><name>web</name><memory>65536</memory><vcpu>1</vcpu>${elements}<os><type>hvm</type></os></domain>`,
  ).domain;

interface Scene {
  readonly bus: FakeBus;
  readonly ledger: Ledger;
  readonly guest: GuestCgroupsInit;
  readonly unit: string;
  /** The scope's group. */
  readonly scope: string;
}

/** A hierarchy of plain files, in which the scope's group is where systemd says. */
async function withScene(options: FakeOptions, act: (scene: Scene) => Promise<void>): Promise<void> {
  await using bus = await FakeBus.listen(join(directory, 'bus'), options);
  using ledger = Ledger.open(join(directory, 'ledger'));
  const mount = join(directory, 'cgroup');
  makeGroup(mount);
  const mounts = `30 1 0:26 / ${mount} rw - cgroup2 cgroup2 rw`;
  const guest: GuestCgroupsInit = {
    layout: 'systemd',
    id: 3,
    root: '/r',
    ledger,
    busAddress: bus.address,
    detect: () => readCgroupHost({ mounts, selfCgroup: '0::/', cgroups: '' }),
  };
  const machine = planScope({ ...guest, domain: domainOf() })?.machine ?? '';
  const unit = `machine-${machine.replaceAll('-', '\\x2d')}.scope`;
  const scope = join(mount, 'machine.slice', unit);
  makeGroup(scope);
  await act({ bus, ledger, guest, unit, scope });
}

function makeGroup(group: string): void {
  mkdirSync(group, { recursive: true });
  for (const [name, content] of Object.entries(FILES)) writeFileSync(join(group, name), content);
}

/** What was asked of systemd to set, as name and value. */
function propertiesSet({ bus }: Scene): unknown[] {
  return bus.systemd.calls.filter(({ member }) => member === 'SetUnitProperties').map(({ body }) => body);
}

describe('the scope of a guest', () => {
  it('is made with its limits, the guest within a group that is not systemd’s, and recorded before', async () => {
    await withScene({}, async (scene) => {
      const { bus, ledger, guest, unit, scope } = scene;
      for (const name of ['libvirt', 'libvirt/emulator', 'libvirt/vcpu0']) makeGroup(join(scope, name));
      const limits = `<memtune><hard_limit unit='MiB'>200</hard_limit></memtune><cputune><quota>20000</quota></cputune>`;
      const made = await ScopeCgroups.make(guest, domainOf(limits), { pid: 41, helpers: [42] });
      const start = bus.systemd.calls.find(({ member }) => member === 'StartTransientUnit');
      expect(start?.body[0]).toBe(unit);
      expect(start?.body[2]).toEqual(
        expect.arrayContaining([
          ['PIDs', variant('au', [41])],
          ['Slice', variant('s', 'machine.slice')],
          ['MemoryMax', variant('t', BigInt(200 * MIB * 1024))],
        ]),
      );
      const read = (path: string): string => readFileSync(join(scope, path), 'utf8');
      // The last one that entered is what a plain file shows.
      expect(read('libvirt/emulator/cgroup.procs')).toBe('42');
      expect(read('libvirt/vcpu0/cpu.max')).toMatch(/^20000 100000/);
      expect(read('cgroup.subtree_control')).toBe('+cpuset');
      expect(ledger.entries.map(({ kind }) => kind)).toEqual(['scope', 'cgroup', 'cgroup', 'cgroup']);
      expect(made?.hasThreadGroups).toBe(true);
      made?.placeThreads({ pid: 41, vcpus: new Map([[0, 43]]), iothreads: new Map() });
      expect(read('libvirt/vcpu0/cgroup.threads')).toMatch(/^43/);
      // An I/O thread that comes later.
      makeGroup(join(scope, 'libvirt/iothread5'));
      const later = { pid: 41, vcpus: new Map([[0, 43]]), iothreads: new Map([[5, 44]]) };
      made?.growThreads(domainOf('<cputune><iothread_quota>30000</iothread_quota></cputune>'), later);
      made?.placeThreads(later);
      expect(read('libvirt/iothread5/cpu.max')).toMatch(/^30000 100000/);
      expect(read('libvirt/iothread5/cgroup.threads')).toMatch(/^44/);
      expect(ledger.entries).toHaveLength(5);
      // What systemd removes with the scope.
      rmSync(scope, { recursive: true });
      await made?.[Symbol.asyncDispose]();
      await made?.[Symbol.asyncDispose]();
      expect(bus.systemd.calls.filter(({ member }) => member === 'StopUnit')).toHaveLength(1);
      expect(ledger.entries).toEqual([]);
    });
  });

  it('whose groups cannot be made is stopped again, and the first error is told', async () => {
    await withScene({ machined: true }, async ({ bus, ledger, guest, scope }) => {
      writeFileSync(join(scope, 'libvirt'), '');
      const notes: string[] = [];
      const onNote = (note: string): void => void notes.push(note);
      const making = ScopeCgroups.make({ ...guest, onNote }, domainOf(), { pid: 41, helpers: [] });
      await expect(making).rejects.toMatchObject({
        name: 'CgroupError',
        directory: join(scope, 'libvirt'),
        errno: 'ENOTDIR',
      });
      expect(bus.systemd.calls.map(({ member }) => member)).toEqual(
        expect.arrayContaining(['CreateMachineWithNetwork', 'TerminateMachine']),
      );
      expect(bus.systemd.units.size + bus.systemd.machines.size).toBe(0);
      // What could not be removed is left to the collector.
      expect(ledger.entries).not.toEqual([]);
      expect(notes).toEqual([expect.stringMatching(/^cannot remove /)]);
    });
  });

  it('that systemd cannot be asked to stop stays in the ledger', async () => {
    await withScene({}, async ({ bus, ledger, guest, scope }) => {
      for (const name of ['libvirt', 'libvirt/emulator', 'libvirt/vcpu0']) makeGroup(join(scope, name));
      const made = await ScopeCgroups.make(guest, domainOf(), { pid: 41, helpers: [] });
      await bus[Symbol.asyncDispose]();
      await expect(made?.[Symbol.asyncDispose]()).rejects.toThrow(/cannot reach/);
      expect(ledger.entries[0]?.kind).toBe('scope');
    });
  });

  it('is found again with what is in it, changed through systemd, threads in their groups, and read', async () => {
    await withScene({}, async (scene) => {
      const { bus, ledger, guest, unit, scope } = scene;
      expect(await ScopeCgroups.takeOver(guest, domainOf())).toBeUndefined();
      bus.systemd.units.set(unit, 'machine.slice');
      for (const name of ['libvirt/emulator', 'libvirt/vcpu0']) makeGroup(join(scope, name));
      writeFileSync(join(scope, 'memory.max'), String(100 * MIB * 1024));
      const found = await ScopeCgroups.takeOver(guest, domainOf());
      const limits = `<memtune><soft_limit unit='MiB'>150</soft_limit></memtune><cputune><shares>70</shares><quota>30000</quota></cputune>`;
      await found?.retune(domainOf(limits), 'memory');
      await found?.retune(domainOf(limits), 'cpu');
      expect(propertiesSet(scene)).toEqual([
        // The hard limit is lifted: the definition has none.
        [
          unit,
          true,
          [
            ['MemoryMax', variant('t', 2n ** 64n - 1n)],
            ['MemoryHigh', variant('t', BigInt(150 * MIB * 1024))],
          ],
        ],
        [unit, true, [['CPUWeight', variant('t', 70n)]]],
      ]);
      expect(readFileSync(join(scope, 'libvirt/vcpu0/cpu.max'), 'utf8')).toMatch(/^30000 100000/);
      expect(found?.schedulerParameters()).toMatchObject({ cpu_shares: 100, vcpu_quota: 30_000 });
      expect(found?.stats()).toMatchObject({ memoryUsageKiB: 4 });
      // The ledger of whoever made it has it.
      expect(ledger.entries).toEqual([]);
      rmSync(scope, { recursive: true });
      await found?.[Symbol.asyncDispose]();
      expect(bus.systemd.units.size).toBe(0);
    });
  });
});

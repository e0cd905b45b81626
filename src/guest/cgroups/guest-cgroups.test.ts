import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, type FakeOptions } from '../../cgroup/systemd/testing/fake-systemd.ts';
import { Ledger } from '../../core/ledger.ts';
import { parseDomain } from '../../model/domain/domain.ts';
import { GUEST_REMOVERS } from '../removers.ts';
import { GuestCgroups, type GuestCgroupsInit } from './guest-cgroups.ts';
import { changedTuning } from './thread-groups.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cgroups-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const domainOf = (elements = '') =>
  parseDomain(`<domain type='qemu'><name>web</name><memory>1024</memory>${elements}<os><type>hvm</type></os></domain>`)
    .domain;

interface Scene {
  readonly bus: FakeBus;
  readonly ledger: Ledger;
  readonly cgroups: GuestCgroups;
}

async function withScene(
  options: FakeOptions & Partial<GuestCgroupsInit>,
  act: (scene: Scene) => Promise<void>,
): Promise<void> {
  await using bus = await FakeBus.listen(join(directory, 'bus'), options);
  using ledger = Ledger.open(join(directory, 'ledger'));
  const init = { layout: 'systemd', id: 3, root: '/r', ledger, busAddress: bus.address } as const;
  await using cgroups = new GuestCgroups({ ...init, ...options });
  await act({ bus, ledger, cgroups });
}

describe('a guest with cgroup_layout = "systemd"', () => {
  it('has no group before its process, then a scope around it, recorded before it is made', async () => {
    // A group that this host does not have: nothing is written to any, and the limits' controllers are missing.
    await withScene({ silent: ['StartTransientUnit'] }, async ({ bus, ledger, cgroups }) => {
      expect(await cgroups.make(domainOf())).toEqual([]);
      expect(bus.systemd.calls).toEqual([]);
      expect(cgroups.hasThreadGroups).toBe(true);
      const announced: number[] = [];
      const controller = new AbortController();
      const enter = cgroups.beforeExec(domainOf(), [], {
        announce: (pid) => void announced.push(pid),
        signal: controller.signal,
      });
      const entering = Promise.resolve(enter?.(4711));
      const refused = expect(entering).rejects.toThrow('enough');
      while (!bus.systemd.calls.some(({ member }) => member === 'StartTransientUnit')) await new Promise(setImmediate);
      expect(announced).toEqual([4711]);
      expect(ledger.entries).toMatchObject([
        { kind: 'scope', identity: { unit: expect.stringMatching(/^machine-qemu.*x2dweb\.scope$/) } },
      ]);
      controller.abort(new Error('enough'));
      await refused;
      // What may have been made by then is stopped, and done with.
      expect(bus.systemd.calls.some(({ member }) => member === 'StopUnit')).toBe(true);
      expect(ledger.entries).toEqual([]);
    });
  });

  it('never stops a scope of that name that is not its own', async () => {
    await withScene({ machined: true }, async ({ bus, ledger, cgroups }) => {
      await cgroups.make(domainOf());
      bus.systemd.refuse('CreateMachineWithNetwork', 'org.freedesktop.machine1.MachineExists');
      const enter = cgroups.beforeExec(domainOf(), [], {});
      await expect(Promise.resolve(enter?.(4711))).rejects.toThrow(/MachineExists.*still there/);
      expect(bus.systemd.calls.map(({ member }) => member)).not.toEqual(
        expect.arrayContaining([expect.stringMatching(/^(Terminate|Stop)/)]),
      );
      expect(ledger.entries).toEqual([]);
    });
  });

  it('is found again by whoever takes the guest over, and not limited without a scope', async () => {
    await withScene({}, async ({ bus, cgroups }) => {
      await cgroups.takeOver(domainOf(), process.pid);
      expect(cgroups.made).toBe(false);
      const threads = { pid: 1, vcpus: new Map(), iothreads: new Map() };
      await expect(cgroups.retune(domainOf(), 'memory', threads)).rejects.toThrow(/has no systemd scope/);
      const unit = bus.systemd.calls.find(({ member }) => member === 'GetUnit')?.body[0];
      bus.systemd.units.set(unit as string, 'machine.slice');
      await cgroups.takeOver(domainOf(), process.pid);
      expect(cgroups.made).toBe(true);
      expect(cgroups.stats()).toEqual(expect.any(Object));
    });
  });

  it('has no scope when no cgroup may be touched', async () => {
    await withScene({ controllers: [] }, async ({ bus, cgroups }) => {
      const announce = (): void => undefined;
      expect(await cgroups.make(domainOf())).toEqual([]);
      expect(cgroups.beforeExec(domainOf(), [], { announce })).toBe(announce);
      expect(bus.systemd.calls).toEqual([]);
    });
  });

  it.skipIf(existsSync('/run/systemd/system'))('is refused where systemd does not run', async () => {
    await withScene({ busAddress: undefined }, async ({ cgroups }) => {
      await expect(cgroups.make(domainOf())).rejects.toThrow(
        /cannot make a scope for guest web: .*systemd does not run this host.*cgroup_layout = "machine"/,
      );
    });
  });
});

describe('the collector', () => {
  const context = { procRoot: '/proc', sameBoot: true, signal: undefined };
  const names = { unit: 'machine-qemu\\x2d1\\x2dweb.scope', machine: 'qemu-1-web' };

  it('ends the scope of a guest that died with its owner, and minds none that is gone', async () => {
    await using bus = await FakeBus.listen(join(directory, 'bus'), { machined: true });
    const identity = { ...names, address: bus.address };
    await GUEST_REMOVERS.scope(identity, context);
    bus.systemd.units.set(names.unit, 'machine.slice');
    bus.systemd.machines.add(names.machine);
    await GUEST_REMOVERS.scope(identity, context);
    expect(bus.systemd.units.size + bus.systemd.machines.size).toBe(0);
    // One that has failed is kept without a group.
    bus.systemd.units.set(names.unit, 'machine.slice');
    bus.systemd.failed.add(names.unit);
    await GUEST_REMOVERS.scope(identity, context);
    expect(bus.systemd.units.size).toBe(0);
    // After a restart of the host there is nothing, and nobody is asked.
    bus.systemd.calls.length = 0;
    await GUEST_REMOVERS.scope(identity, { ...context, sameBoot: false });
    expect(bus.systemd.calls).toEqual([]);
    await expect(async () => await GUEST_REMOVERS.scope({ unit: 'ssh.service' }, context)).rejects.toThrow(TypeError);
  });
});

describe('a live change', () => {
  it('lifts what the definition does not limit any more', () => {
    const present = {
      memory: { hardLimitKiB: 4, softLimitKiB: 9_007_199_254_740_991 },
      cpu: { quotaUs: 500, shares: 3 },
    };
    expect(changedTuning(domainOf(), 'memory', present)).toEqual({ memory: { hardLimitKiB: 9_007_199_254_740_991 } });
    expect(changedTuning(domainOf(), 'cpu', present)).toEqual({ cpu: { quotaUs: -1 } });
    const limited = domainOf('<memtune><hard_limit>8</hard_limit></memtune><cputune><shares>7</shares></cputune>');
    expect(changedTuning(limited, 'memory', present)).toEqual({ memory: { hardLimitKiB: 8 } });
    expect(changedTuning(limited, 'cpu', { cpu: { quotaUs: -1 } })).toEqual({ cpu: { shares: 7 } });
    const devices = [{ path: '/dev/sda', readBytesSec: 7, writeIopsSec: 0 }, { path: '/dev/sdb' }];
    expect(
      changedTuning(domainOf('<blkiotune><weight>200</weight></blkiotune>'), 'blkio', { blkio: { devices } }),
    ).toEqual({ blkio: { weight: 200, devices: [{ path: '/dev/sda', readBytesSec: 0 }] } });
  });
});

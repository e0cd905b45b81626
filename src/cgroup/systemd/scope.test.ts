import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DbusConnection } from './dbus-connection.ts';
import { variant } from './dbus-value.ts';
import { createScope, type ScopeRequest, setUnitProperties, stopScope, stopUnit } from './scope.ts';
import { Systemd } from './systemd.ts';
import { SystemdError } from './systemd-error.ts';
import { FakeBus, type FakeOptions } from './testing/fake-systemd.ts';

const UNIT = 'machine-qemu\\x2d1\\x2dweb.scope';
const REQUEST: ScopeRequest = {
  machine: 'qemu-1-web',
  driver: 'qemu',
  uuid: '01234567-89ab-cdef-0123-456789abcdef',
  pid: 4711,
  slice: 'machine-testing.slice',
  properties: [['MemoryMax', variant('t', 1n << 33n)]],
};

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bus-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function withBus(options: FakeOptions, act: (systemd: Systemd, bus: FakeBus) => Promise<void>): Promise<void> {
  await using bus = await FakeBus.listen(join(directory, 'bus'), options);
  await using systemd = await Systemd.open({ address: bus.address });
  await act(systemd, bus);
}

const callsOf = (bus: FakeBus, member: string) => bus.systemd.calls.filter((call) => call.member === member);
const create = async (systemd: Systemd): Promise<unknown> => await createScope(systemd, REQUEST);

describe('a scope', () => {
  it('is made through machined, as libvirt does it, where that is', async () => {
    await withBus({ machined: true }, async (systemd, bus) => {
      const scope = await createScope(systemd, { ...REQUEST, interfaces: [3, 4] });
      expect(scope).toEqual({
        unit: UNIT,
        machine: 'qemu-1-web',
        controlGroup: `/machine-testing.slice/${UNIT}`,
      });
      const [call] = callsOf(bus, 'CreateMachineWithNetwork');
      expect(call).toMatchObject({ destination: 'org.freedesktop.machine1', signature: 'sayssusaia(sv)' });
      expect(call?.body).toEqual([
        'qemu-1-web',
        Buffer.from('0123456789abcdef0123456789abcdef', 'hex'),
        'libvirt-qemu',
        'vm',
        4711,
        '',
        [3, 4],
        [
          ['Slice', variant('s', 'machine-testing.slice')],
          ['Before', variant('as', ['virt-guest-shutdown.target'])],
          ['MemoryMax', variant('t', 1n << 33n)],
        ],
      ]);
      expect(callsOf(bus, 'StartTransientUnit')).toEqual([]);
    });
  });

  it('of a container has its class and root; an old machined is asked the old way', async () => {
    const errors = { CreateMachineWithNetwork: ['org.freedesktop.DBus.Error.UnknownMethod', 'no'] } as const;
    await withBus({ machined: true, errors }, async (systemd, bus) => {
      await createScope(systemd, { ...REQUEST, machine: 'lxc-2-box', driver: 'lxc', rootDirectory: '/srv/box' });
      expect(callsOf(bus, 'CreateMachine')[0]?.body.slice(0, 6)).toEqual([
        'lxc-2-box',
        expect.anything(),
        'libvirt-lxc',
        'container',
        4711,
        '/srv/box',
      ]);
    });
  });

  it.each([
    ['in order', {}],
    ['with the job done before its name is told', { isJobFirst: true }],
    ['from a peer of the other byte order', { littleEndian: false }],
  ])('is made by systemd itself without machined, %s', async (_, options) => {
    await withBus(options, async (systemd, bus) => {
      expect(await create(systemd)).toEqual({ unit: UNIT, controlGroup: `/machine-testing.slice/${UNIT}` });
      const [call] = callsOf(bus, 'StartTransientUnit');
      expect(call).toMatchObject({ destination: 'org.freedesktop.systemd1', signature: 'ssa(sv)a(sa(sv))' });
      expect(call?.body).toEqual([
        UNIT,
        'fail',
        [
          ['Description', variant('s', 'Virtual Machine qemu-1-web')],
          ['PIDs', variant('au', [4711])],
          ['Delegate', variant('b', true)],
          ['CollectMode', variant('s', 'inactive-or-failed')],
          ['TasksMax', variant('t', 16_384n)],
          ['Slice', variant('s', 'machine-testing.slice')],
          ['Before', variant('as', ['virt-guest-shutdown.target'])],
          ['MemoryMax', variant('t', 1n << 33n)],
        ],
        [],
      ]);
      // Nobody is told of jobs before.
      const members = bus.systemd.calls.map(({ member }) => member);
      expect(members.indexOf('Subscribe')).toBeLessThan(members.indexOf('StartTransientUnit'));
    });
  });

  it('is made by systemd where machined is announced but masked', async () => {
    const errors = { CreateMachineWithNetwork: ['org.freedesktop.systemd1.UnitMasked', 'masked'] } as const;
    await withBus({ machined: true, errors }, async (systemd, bus) => {
      expect(await create(systemd)).toMatchObject({ unit: UNIT });
      expect(callsOf(bus, 'StartTransientUnit')).toHaveLength(1);
    });
  });

  it('is refused with unit, error, and what to do', async () => {
    const denied = { StartTransientUnit: ['org.freedesktop.DBus.Error.AccessDenied', 'Permission denied.'] } as const;
    await withBus({ errors: denied }, async (systemd) => {
      await expect(create(systemd)).rejects.toThrow(
        `cannot create scope ${UNIT}: Permission denied (org.freedesktop.DBus.Error.AccessDenied); run as root, or allow`,
      );
    });
    await withBus({ jobResult: 'timeout' }, async (systemd) => {
      await expect(create(systemd)).rejects.toMatchObject({ errorName: 'timeout', unit: UNIT });
    });
    await withBus({}, async (systemd) => {
      await create(systemd);
      await expect(create(systemd)).rejects.toMatchObject({ errorName: 'org.freedesktop.systemd1.UnitExists' });
    });
  });

  it('that is being made when the bus goes away, or the caller gives up, is an error at once', async () => {
    await withBus({ hangsUpAt: ['StartTransientUnit'] }, async (systemd) => {
      await expect(create(systemd)).rejects.toMatchObject({ errorName: 'org.freedesktop.DBus.Error.Disconnected' });
      await expect(create(systemd)).rejects.toBeInstanceOf(SystemdError);
    });
    await withBus({ silent: ['StartTransientUnit'] }, async (systemd, bus) => {
      const controller = new AbortController();
      const making = createScope(systemd, REQUEST, controller.signal);
      const settled = expect(making).rejects.toThrow('enough');
      while (callsOf(bus, 'StartTransientUnit').length === 0) await new Promise(setImmediate);
      controller.abort(new Error('enough'));
      await settled;
    });
  });

  it.each([true, false])('is stopped, twice, with machined %s', async (machined) => {
    await withBus({ machined }, async (systemd, bus) => {
      const scope = await createScope(systemd, REQUEST);
      await stopScope(systemd, scope);
      expect(bus.systemd.units.size + bus.systemd.machines.size).toBe(0);
      await stopScope(systemd, scope);
      expect(callsOf(bus, 'TerminateMachine')).toHaveLength(machined ? 2 : 0);
    });
  });

  it('that is still listed after its end as failed is forgotten', async () => {
    await withBus({}, async (systemd, bus) => {
      await create(systemd);
      await stopUnit(systemd, UNIT);
      expect(callsOf(bus, 'ResetFailedUnit')[0]?.body).toEqual([UNIT]);
    });
  });

  it('is limited by properties, until the next boot', async () => {
    await withBus({}, async (systemd, bus) => {
      await setUnitProperties(systemd, UNIT, [['CPUWeight', variant('t', 50n)]]);
      const [call] = callsOf(bus, 'SetUnitProperties');
      expect(call?.body).toEqual([UNIT, true, [['CPUWeight', variant('t', 50n)]]]);
    });
  });
});

describe('a bus', () => {
  it('that is not there, or refuses the login, is named with what to do', async () => {
    const address = `unix:path=${directory}/none`;
    await expect(Systemd.open({ address })).rejects.toThrow(/^cannot reach .*ENOENT.*; .*(systemctl|cgroup_layout)/);
    await using bus = await FakeBus.listen(join(directory, 'bus'), { rejectsLogin: true });
    await expect(Systemd.open({ address: bus.address })).rejects.toMatchObject({
      errorName: 'org.freedesktop.DBus.Error.AuthFailed',
    });
  });

  it('may be in the abstract namespace, and is left when its user is done', async () => {
    await using bus = await FakeBus.listen(`\0nestling-test-${process.pid}`);
    const systemd = await Systemd.open({ address: bus.address });
    expect(bus.connections).toBe(1);
    await systemd[Symbol.asyncDispose]();
    await systemd[Symbol.asyncDispose]();
    while (bus.connections > 0) await new Promise(setImmediate);
    await expect(create(systemd)).rejects.toBeInstanceOf(SystemdError);
  });

  it('of a single peer has no names: nothing is said to a bus', async () => {
    await using bus = await FakeBus.listen(join(directory, 'private'));
    await using connection = await DbusConnection.open({ path: bus.path, isBus: false });
    const call = { destination: 'a.b', path: '/', interface: 'a.b', member: 'Subscribe' };
    expect(await connection.call(call)).toEqual([]);
    expect(bus.systemd.calls).toEqual([expect.objectContaining({ member: 'Subscribe', destination: undefined })]);
  });
});

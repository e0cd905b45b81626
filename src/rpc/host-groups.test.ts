/** Devices, interfaces and filters of the host on the wire: both ends of the protocol, with a driver in memory. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Broadcast } from '../core/broadcast.ts';
import { ErrorCode } from '../core/errors.ts';
import type { InterfaceOperations } from '../driver/interface-operations.ts';
import type { NodeDeviceEvent, NodeDeviceOperations } from '../driver/node-device-operations.ts';
import { REMOTE_PROCEDURES as P } from '../protocol/index.ts';
import type { RemoteCalls } from './client/remote-call.ts';
import { RemoteInterfaces } from './client/remote-interfaces.ts';
import { RemoteNodeDevices } from './client/remote-node-devices.ts';
import type { RpcClient } from './client/rpc-client.ts';
import { type ServedDriver, serveFake } from './testing/served-driver.ts';

let served: ServedDriver;
let client: RpcClient;
let calls: unknown[];
let events: Broadcast<NodeDeviceEvent>;
beforeEach(async () => {
  served = await serveFake();
  calls = [];
  events = new Broadcast<NodeDeviceEvent>();
  Object.assign(served.driver, { nodeDevices: fakeDevices(), interfaces: fakeInterfaces() });
  client = await served.open();
});
afterEach(async () => await served[Symbol.asyncDispose]());

function fakeDevices(): Partial<NodeDeviceOperations> {
  return {
    list: async (filter) => {
      calls.push(filter);
      return [{ name: 'computer' }, { name: 'pci_0000_00_02_0' }];
    },
    parent: async (name) => (name === 'computer' ? undefined : 'computer'),
    capabilities: async () => ['pci', 'vpd'],
    detach: async (name, options) => {
      calls.push([name, options?.driver]);
    },
    events: ({ signal } = {}) => events.subscribe({ signal }),
  };
}

function fakeInterfaces(): Partial<InterfaceOperations> {
  const all = [
    { name: 'eth0', mac: '02:00:00:00:00:01', active: true },
    { name: 'lo', mac: '00:00:00:00:00:00', active: false },
  ];
  return {
    list: async ({ active } = {}) => all.filter((iface) => active === undefined || active === iface.active),
    isActive: async (name) => name === 'eth0',
  };
}

function remote(): RemoteCalls {
  return {
    client,
    call: async (procedure, args, options) => await client.call(procedure, args, options),
    domain: () => Promise.reject(new Error('no domains here')),
    remember: ({ name }) => ({ name, uuid: '', id: -1 }),
  };
}

describe('devices of the host', () => {
  it('are listed by the filters that were asked for', async () => {
    const devices = new RemoteNodeDevices(remote(), () => {});
    await devices.list();
    await devices.list({ capabilities: ['pci', 'vpd', 'nonsense'], active: true, persistent: false });
    expect(await devices.list({ capabilities: ['nonsense'] })).toEqual([]);
    expect(calls).toEqual([
      { capabilities: undefined, active: undefined, persistent: undefined },
      { capabilities: ['pci', 'vpd'], active: true, persistent: false },
    ]);
    expect([await devices.parent('computer'), await devices.parent('pci_0000_00_02_0')]).toEqual([
      undefined,
      'computer',
    ]);
    expect(await devices.capabilities('pci_0000_00_02_0')).toEqual(['pci', 'vpd']);
    await expect(client.call(P.connectListAllNodeDevices, { needResults: 1, flags: 1 << 25 })).rejects.toMatchObject({
      code: ErrorCode.INVALID_ARG,
    });
  });

  it('are given away by a driver that may be named', async () => {
    const devices = new RemoteNodeDevices(remote(), () => {});
    await devices.detach('pci_0000_00_02_0');
    await devices.detach('pci_0000_00_02_0', { driver: 'vfio' });
    await client.call(P.nodeDeviceDettach, { name: 'old' });
    expect(calls).toEqual([
      ['pci_0000_00_02_0', undefined],
      ['pci_0000_00_02_0', 'vfio'],
      ['old', undefined],
    ]);
  });

  it('tell of their coming, changing and going to whom it concerns', async () => {
    let registered: Promise<unknown> = Promise.resolve();
    const devices = new RemoteNodeDevices(remote(), (registration) => {
      registered = registration;
    });
    const heard = devices.events()[Symbol.asyncIterator]();
    await registered;
    const other = await served.open();
    const { callbackID } = await other.call(P.connectNodeDeviceEventRegisterAny, { eventID: 0, dev: { name: 'b' } });
    const ofOne: number[] = [];
    other.on(P.nodeDeviceEventLifecycle, (message) => {
      ofOne.push(message.event);
    });
    const sent: NodeDeviceEvent[] = [
      { kind: 'lifecycle', device: 'a', type: 'created' },
      { kind: 'update', device: 'a' },
      { kind: 'lifecycle', device: 'b', type: 'deleted' },
    ];
    for (const event of sent) events.send(event);
    for (const event of sent) expect((await heard.next()).value).toEqual(event);
    await other.call(P.connectNodeDeviceEventDeregisterAny, { callbackID });
    expect(ofOne).toEqual([1]);
    const again = other.call(P.connectNodeDeviceEventDeregisterAny, { callbackID });
    await expect(again).rejects.toMatchObject({ code: ErrorCode.INTERNAL_ERROR });
    const unknown = client.call(P.connectNodeDeviceEventRegisterAny, { eventID: 7, dev: undefined });
    await expect(unknown).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
  });
});

describe('interfaces of the host', () => {
  it('are listed and told apart by state', async () => {
    const interfaces = new RemoteInterfaces(remote());
    const names = async (active?: boolean): Promise<string[]> =>
      (await interfaces.list({ active })).map(({ name }) => name);
    expect([await names(), await names(true), await names(false)]).toEqual([['eth0', 'lo'], ['eth0'], ['lo']]);
    expect([await interfaces.isActive('eth0'), await interfaces.isActive('lo')]).toEqual([true, false]);
    expect(await client.call(P.connectListDefinedInterfaces, { maxnames: 5 })).toEqual({ names: ['lo'] });
    expect(await client.call(P.connectListInterfaces, { maxnames: 0 })).toEqual({ names: [] });
  });

  it('cannot be changed', async () => {
    await expect(client.call(P.interfaceChangeBegin, { flags: 0 })).rejects.toMatchObject({
      code: ErrorCode.NO_SUPPORT,
    });
  });
});

describe('network filters', () => {
  it('are none', async () => {
    expect(await client.call(P.connectListAllNwfilters, { needResults: 1, flags: 0 })).toEqual({ filters: [], ret: 0 });
    expect(await client.call(P.connectListAllNwfilterBindings, { needResults: 1, flags: 0 })).toEqual({
      bindings: [],
      ret: 0,
    });
    await expect(client.call(P.nwfilterLookupByName, { name: 'x' })).rejects.toMatchObject({
      code: ErrorCode.NO_NWFILTER,
      message: "Network filter not found: no nwfilter with matching name 'x'",
    });
    await expect(client.call(P.nwfilterBindingLookupByPortDev, { name: 'x' })).rejects.toMatchObject({
      code: ErrorCode.NO_NWFILTER_BINDING,
    });
    await expect(client.call(P.nwfilterDefineXml, { xml: '<filter/>' })).rejects.toMatchObject({
      code: ErrorCode.NO_SUPPORT,
    });
  });
});

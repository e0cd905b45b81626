import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, planContext } from '../../../../tests/support/plan-context.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { normalizeControllers } from '../definition/controller-list.ts';
import { assignScsiHostdevAddresses, validateDriveAddresses } from './drive.ts';
import { assignMemorySlots } from './memory-slots.ts';
import { normalizeAddresses } from './normalize.ts';
import { assignSpaprVioAddresses } from './spapr-vio.ts';
import { assignUsbPorts } from './usb.ts';
import { assignVirtioMmio } from './virtio-mmio.ts';
import { assignVirtioSerialPorts } from './virtio-serial.ts';

function contextOf(devices: string, body = '') {
  const context = planContext(domainXml(`${body}<devices>${devices}</devices>`), { caps: { types: ['virtio-mmio'] } });
  normalizeControllers(context.domain);
  devicesOf(context.domain);
  return context;
}

describe('USB ports', () => {
  const MOUSE = "<input type='mouse' bus='usb'/>";
  const portsOf = (devices: string) => {
    const context = contextOf(devices);
    assignUsbPorts(context);
    const { inputs, hubs } = devicesOf(context.domain);
    const port = ({ address }: { address?: unknown }) => (address as { bus: number; port: string } | undefined)?.port;
    return { inputs: inputs.map(port), hubs: hubs.map(port), faults: faultsOf(context), context };
  };

  it('fills the controller first', () => {
    const { inputs, hubs } = portsOf(`<controller type='usb' model='piix3-uhci'/>${MOUSE}${MOUSE}`);
    expect([inputs, hubs]).toEqual([['1', '2'], []]);
  });

  it('adds hubs when ports are too few, and nests behind them', () => {
    const { inputs, hubs } = portsOf(`<controller type='usb' model='piix3-uhci'/>${MOUSE.repeat(10)}`);
    expect(hubs).toEqual(['1', '2']);
    expect(inputs.slice(0, 2)).toEqual(['1.1', '1.2']);
    expect(inputs.at(-1)).toBe('2.2');
  });

  it.each([
    [2, 0],
    [3, 1],
    [8, 1],
    // One hub would do for nine.
    [9, 2],
    [16, 3],
  ])('for %i devices on two ports adds %i hubs', (devices, count) => {
    expect(portsOf(`<controller type='usb' model='piix3-uhci'/>${MOUSE.repeat(devices)}`).hubs).toHaveLength(count);
  });

  it('respects given ports, nested ones too', () => {
    const hub = "<hub type='usb'><address type='usb' bus='0' port='1'/></hub>";
    const nested = "<input type='mouse' bus='usb'><address type='usb' bus='0' port='1.3'/></input>";
    const { inputs, faults } = portsOf(`<controller type='usb' model='ich9-ehci1'/>${hub}${nested}${MOUSE}`);
    expect(inputs).toEqual(['1.3', '2']);
    expect(faults).toEqual([]);
  });

  it('uses the bus that a device names', () => {
    const devices = `<controller type='usb' model='qemu-xhci' ports='2'/><controller type='usb' model='ehci'/>
      <input type='mouse' bus='usb'><address type='usb' bus='1'/></input>`;
    const { context } = portsOf(devices);
    expect(devicesOf(context.domain).inputs[0]?.address).toEqual({ type: 'usb', bus: 1, port: '1' });
  });

  const at = (port: string, bus = 0) =>
    `<input type='mouse' bus='usb'><address type='usb' bus='${bus}' port='${port}'/></input>`;
  it.each([
    [`<controller type='usb' model='piix3-uhci'/>${at('3')}`, 'there are 2 ports'],
    [`<controller type='usb' model='piix3-uhci'/>${at('0')}`, 'there are 2 ports'],
    [`<controller type='usb' model='piix3-uhci'/>${at('1')}${at('1')}`, 'is taken'],
    [`<controller type='usb' model='piix3-uhci'/>${at('1.1')}`, 'behind a hub that does not exist'],
    [`<controller type='usb' model='piix3-uhci'/>${at('1', 1)}`, 'no USB controller with index 1'],
    [`<controller type='usb' model='none'/>${MOUSE}`, 'USB is disabled'],
  ])('refuses %s', (devices, message) => {
    expect(portsOf(devices).faults.join()).toContain(message);
  });
});

describe('virtio-serial ports', () => {
  const channel = (address = '') => `<channel type='null'><target type='virtio' name='x'/>${address}</channel>`;
  const CONSOLE = "<console type='pty'><target type='virtio'/></console>";
  const assign = (devices: string) => {
    const context = contextOf(devices);
    assignVirtioSerialPorts(context);
    const { channels, consoles } = devicesOf(context.domain);
    return {
      context,
      channels: channels.map(({ address }) => address),
      consoles: consoles.map(({ address }) => address),
    };
  };

  it('fills controllers in order and adds one when they are full; consoles without an address stay so', () => {
    const { channels, consoles, context } = assign(
      `<controller type='virtio-serial' ports='2'/>${CONSOLE}${channel()}${channel()}`,
    );
    expect(channels).toEqual([
      { type: 'virtio-serial', bus: 0, controller: 0, port: 1 },
      { type: 'virtio-serial', bus: 0, controller: 1, port: 1 },
    ]);
    expect(consoles).toEqual([undefined]);
    expect(devicesOf(context.domain).controllers).toHaveLength(2);
  });

  it.each([
    [channel("<address type='virtio-serial' controller='0' port='2'/>"), 'does not exist'],
    [channel("<address type='virtio-serial' port='1'/>").repeat(2), 'is taken'],
  ])('refuses %s', (devices, message) => {
    const { context } = assign(`<controller type='virtio-serial' ports='2'/>${devices}`);
    expect(faultsOf(context).join()).toContain(message);
  });
});

describe('drive addresses', () => {
  const HOSTDEV = `<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/>
    <address bus='0' target='0' unit='0'/></source></hostdev>`;
  const disk = (unit: number) => `<disk type='file'><target dev='sd${unit}' bus='scsi'/>
    <address type='drive' controller='0' bus='0' target='0' unit='${unit}'/></disk>`;

  it('gives SCSI host devices the units that disks leave, seven to a controller', () => {
    const disks = [0, 1, 2, 3, 4, 5].map(disk).join('');
    const context = contextOf(`<controller type='scsi' model='virtio-scsi'/>${disks}${HOSTDEV}${HOSTDEV}`);
    assignScsiHostdevAddresses(context);
    expect(devicesOf(context.domain).hostdevs.map(({ address }) => address)).toMatchObject([
      { controller: 0, unit: 6 },
      { controller: 1, unit: 0 },
    ]);
  });

  it('finds drives that share an address', () => {
    const context = contextOf(disk(1) + disk(1));
    validateDriveAddresses(context);
    expect(faultsOf(context)).toEqual([expect.stringContaining('0:0:0:1')]);
  });
});

describe('memory slots', () => {
  const dimm = (address = '') =>
    `<memory model='dimm'><target><size unit='MiB'>64</size><node>0</node></target>${address}</memory>`;
  const MAX = "<maxMemory slots='2'>4096</maxMemory>";

  it('takes the first free one, after the given ones', () => {
    const context = contextOf(dimm() + dimm("<address type='dimm' slot='0'/>"), MAX);
    assignMemorySlots(context);
    expect(devicesOf(context.domain).memories.map(({ address }) => address)).toMatchObject([{ slot: 1 }, { slot: 0 }]);
  });

  it.each([
    [dimm().repeat(3), 'no memory slot is free'],
    [dimm("<address type='dimm' slot='7'/>"), 'there is no memory slot 7'],
    [dimm("<address type='dimm' slot='1'/>").repeat(2), 'memory slot 1 is taken'],
  ])('refuses %s', (devices, message) => {
    const context = contextOf(devices, MAX);
    assignMemorySlots(context);
    expect(faultsOf(context).join()).toContain(message);
  });
});

describe('other kinds', () => {
  it('gives virtual I/O registers to POWER’s SCSI', () => {
    const context = contextOf("<controller type='scsi' model='ibmvscsi'/>".repeat(2));
    assignSpaprVioAddresses(context);
    expect(devicesOf(context.domain).controllers.map(({ address }) => address)).toEqual([
      { type: 'spapr-vio', reg: 0x2000 },
      { type: 'spapr-vio', reg: 0x3000 },
    ]);
  });

  const NIC = "<interface type='user'><model type='virtio'/></interface>";
  it('puts a microvm’s devices on virtio-mmio', () => {
    const context = contextOf(NIC, "<os><type arch='x86_64' machine='microvm'>hvm</type></os>");
    assignVirtioMmio(context);
    expect(devicesOf(context.domain).interfaces[0]?.address).toEqual({ type: 'virtio-mmio' });
  });

  it('keeps the ARM board on PCI until a device says otherwise', () => {
    const arm = "<os><type arch='aarch64' machine='virt'>hvm</type></os>";
    const pci = contextOf(NIC, arm);
    assignVirtioMmio(pci);
    expect(devicesOf(pci.domain).interfaces[0]?.address).toBeUndefined();
    const mmio = contextOf(
      `${NIC}<rng model='virtio'><backend model='random'/><address type='virtio-mmio'/></rng>`,
      arm,
    );
    assignVirtioMmio(mmio);
    expect(devicesOf(mmio.domain).interfaces[0]?.address).toEqual({ type: 'virtio-mmio' });
  });

  it('fills in the zeros that a definition leaves out', () => {
    const context = contextOf("<disk type='file'><target dev='hda' bus='ide'/><address type='drive' unit='1'/></disk>");
    normalizeAddresses(context.domain);
    expect(devicesOf(context.domain).disks[0]?.address).toEqual({
      type: 'drive',
      controller: 0,
      bus: 0,
      target: 0,
      unit: 1,
    });
  });
});

import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorCode, type VirtError } from '../../core/errors.ts';
import type { Uevent } from '../../host/uevents.ts';
import { parseNodeDevice } from '../../model/node-device.ts';
import type { NodeDeviceEvent } from '../node-device-operations.ts';
import { NodeDevices, type NodeDevicesOptions } from './node-devices.ts';
import { ALL_KINDS, type FakeSysfs, makeSysfs } from './testing/fake-sysfs.ts';

const PCI_IDS = `# a comment
1af4  Other vendor
8086  Intel Corporation
\t10c9  82576 Gigabit Network Connection
\t\t8086 a03c  Gigabit ET Dual Port Server Adapter
\t2922  82801IR/IO/IH (ICH9R/DO/DH) 6 port SATA Controller [AHCI mode]
C 00  Unclassified device
`;

let fake: FakeSysfs;
let devices: NodeDevices;
beforeAll(() => {
  fake = makeSysfs(ALL_KINDS());
  writeFileSync(join(fake.dir, 'pci.ids'), PCI_IDS);
  devices = open(fake);
});
afterAll(() => {
  devices[Symbol.dispose]();
  rmSync(fake.dir, { recursive: true, force: true });
});

function open({ dir, sys, udev }: FakeSysfs, watch: NodeDevicesOptions['watch'] = {}): NodeDevices {
  return new NodeDevices({
    sys,
    udev,
    pciIds: [join(dir, 'none'), dir],
    machineId: join(dir, 'none'),
    netFeatures: (name) => (name === 'eth7' ? ['rx', 'tx'] : []),
    watch,
  });
}

describe('devices of the host', () => {
  it('have the names and parents that libvirt gives them', async () => {
    const found = await devices.list();
    expect(Object.fromEntries(found.map(({ name, parent }) => [name, parent ?? '']))).toEqual({
      computer: '',
      ap_07_0038: 'ap_card07',
      ap_card07: 'computer',
      ap_matrix: 'computer',
      block_dasda_IBM_75000000092461_70a0_8a: 'ccw_0_0_70a0',
      block_fd0: 'computer',
      block_nvme0n1_QEMU_NVMe_Ctrl_n1: 'pci_0000_00_0a_0',
      block_sda_QEMU_HARDDISK_QM00001: 'scsi_4_0_0_0',
      block_sr0_QEMU_DVD_ROM_QM00003: 'scsi_4_0_1_0',
      block_sr1: 'scsi_4_0_2_0',
      ccw_0_0_70a0: 'css_0_0_003a',
      css_0_0_003a: 'computer',
      css_0_0_003b: 'computer',
      drm_card0: 'pci_0000_00_02_0',
      drm_renderD128: 'pci_0000_00_02_0',
      mdev_4b20d080_1b54_4048_85b3_a6a62d165c01_0000_00_02_0: 'pci_0000_00_02_0',
      pci_0000_00_02_0: 'computer',
      pci_0000_00_05_0: 'computer',
      pci_0000_00_0a_0: 'computer',
      pci_0000_00_10_0: 'computer',
      pci_0000_00_10_2: 'computer',
      pci_0000_00_1c_0: 'computer',
      pci_0000_00_1d_7: 'computer',
      pci_0000_00_1f_2: 'computer',
      pci_0000_01_00_0: 'pci_0000_00_1c_0',
      scsi_4_0_0_0: 'scsi_target4_0_0',
      scsi_4_0_1_0: 'scsi_target4_0_1',
      scsi_4_0_2_0: 'scsi_host4',
      scsi_generic_sg0: 'scsi_4_0_0_0',
      scsi_host4: 'pci_0000_00_1f_2',
      scsi_host5: 'computer',
      scsi_target4_0_0: 'scsi_host4',
      scsi_target4_0_1: 'scsi_host4',
      scsi_target5_0_1: 'scsi_host5',
      usb_1_1: 'usb_usb1',
      usb_1_1_1_0: 'usb_1_1',
      usb_usb1: 'pci_0000_00_1d_7',
      vdpa_vdpa0: 'pci_0000_00_05_0',
    });
  });

  it('are found by what they can do', async () => {
    const named = async (...capabilities: string[]): Promise<string[]> =>
      (await devices.list({ capabilities })).map(({ name }) => name);
    expect(await named('system')).toEqual(['computer']);
    expect(await named('mdev_types')).toEqual(['ap_matrix', 'css_0_0_003b', 'pci_0000_00_02_0']);
    expect(await named('vpd', 'vports')).toEqual(['pci_0000_00_05_0', 'scsi_host5']);
    expect(await named('nonsense')).toEqual([]);
    expect(await devices.capabilities('scsi_host5')).toEqual(['scsi_host', 'fc_host', 'vports']);
    expect(await devices.list({ active: false })).toEqual([]);
    expect((await devices.list({ persistent: true })).map(({ name }) => name)).toEqual(['computer']);
    const host = await devices.lookupScsiHostByWwn('20000000c9831b4b', '10000000c9831b4b');
    expect(host.name).toBe('scsi_host5');
    await expectCode(devices.lookupScsiHostByWwn('1', '2'), ErrorCode.NO_NODE_DEVICE);
  });

  it('are described as libvirt describes them', async () => {
    expect(await devices.xmlDesc('pci_0000_00_05_0')).toBe(`<device>
  <name>pci_0000_00_05_0</name>
  <path>/sys/devices/pci0000:00/0000:00:05.0</path>
  <parent>computer</parent>
  <driver>
    <name>igb</name>
  </driver>
  <capability type='pci'>
    <class>0x020000</class>
    <domain>0</domain>
    <bus>0</bus>
    <slot>5</slot>
    <function>0</function>
    <product id='0x10c9'>82576 Gigabit Network Connection</product>
    <vendor id='0x8086'>Intel Corporation</vendor>
    <capability type='virt_functions' maxCount='7'>
      <address domain='0x0000' bus='0x00' slot='0x10' function='0x0'/>
      <address domain='0x0000' bus='0x00' slot='0x10' function='0x2'/>
    </capability>
    <capability type='vpd'>
      <name>A test card</name>
      <fields access='readonly'>
        <change_level>C.1</change_level>
        <manufacture_id>1028</manufacture_id>
        <part_number>X1-42</part_number>
        <serial_number>SN0815</serial_number>
        <vendor_field index='0'>vendor zero</vendor_field>
      </fields>
      <fields access='readwrite'>
        <asset_tag>asset 7</asset_tag>
        <vendor_field index='1'>free text</vendor_field>
        <system_field index='1'>system one</system_field>
      </fields>
    </capability>
    <iommuGroup number='12'>
      <address domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>
      <address domain='0x0000' bus='0x00' slot='0x1c' function='0x0'/>
    </iommuGroup>
    <pci-express>
      <link validity='cap' port='3' speed='8' width='8'/>
      <link validity='sta' speed='5' width='4'/>
    </pci-express>
  </capability>
</device>
`);
    expect(await devices.xmlDesc('block_sr0_QEMU_DVD_ROM_QM00003')).toContain(`<capability type='removable'>
      <media_available>1</media_available>
      <media_size>2726297600</media_size>
      <media_label>Debian_12</media_label>`);
    expect(await devices.xmlDesc('usb_usb1')).toContain("<vendor id='0x1d6b'>Linux Foundation</vendor>");
    expect(await devices.xmlDesc('computer')).toContain('<release_date>04/01/2014</release_date>');
    for (const { name } of await devices.list()) {
      expect(parseNodeDevice(await devices.xmlDesc(name)).name).toBe(name);
    }
    await expectCode(devices.xmlDesc('nope'), ErrorCode.NO_NODE_DEVICE);
  });

  it('are active; only the computer is for ever', async () => {
    expect(await devices.isActive('usb_usb1')).toBe(true);
    expect([await devices.isPersistent('computer'), await devices.autostart('computer')]).toEqual([true, true]);
    expect([await devices.isPersistent('usb_usb1'), await devices.autostart('usb_usb1')]).toEqual([false, false]);
    await expectCode(devices.isActive('nope'), ErrorCode.NO_NODE_DEVICE);
  });
});

describe('giving PCI devices to guests', () => {
  it('refuses what cannot be given, saying why', async () => {
    await expectCode(devices.detach('usb_usb1'), ErrorCode.INVALID_ARG);
    await expectCode(devices.detach('pci_0000_00_05_0', { driver: 'kvm' }), ErrorCode.ARGUMENT_UNSUPPORTED);
    await expectCode(devices.detach('pci_0000_00_05_0', { driver: 'xen' }), ErrorCode.INVALID_ARG);
    await expectCode(devices.reset('usb_usb1'), ErrorCode.INVALID_ARG);
    await expect(devices.reset('pci_0000_00_05_0')).rejects.toThrow('0000:00:05.0: neither it nor its bus can be');
  });

  it('asks for VFIO, takes the device from its driver, and has it looked for', async () => {
    using host = bindingHost();
    await expect(open(host).detach('pci_0000_00_05_0')).rejects.toThrow(
      'PCI device 0000:00:05.0 was not taken by vfio-pci: its driver is igb',
    );
    expect(host.written()).toEqual({ override: 'vfio-pci', unbind: '0000:00:05.0', probe: '0000:00:05.0' });
  });

  it('gives it back', async () => {
    using host = bindingHost('vfio-pci');
    const found = open(host);
    await found.detach('pci_0000_00_05_0');
    expect(host.written()).toEqual({ override: '', unbind: '', probe: '' });
    await found.reattach('pci_0000_00_05_0');
    expect(host.written()).toEqual({ override: '\n', unbind: '0000:00:05.0', probe: '0000:00:05.0' });
  });

  it('says which file could not be written', async () => {
    using host = bindingHost();
    rmSync(join(host.sys, 'devices/pci0000:00/0000:00:05.0/driver_override'));
    await expect(open(host).detach('pci_0000_00_05_0')).rejects.toThrow(
      /^cannot write 'vfio-pci' to .*driver_override of PCI device 0000:00:05.0: ENOENT$/,
    );
  });
});

describe('events', () => {
  it('tell what comes, changes and goes', async () => {
    const host = makeSysfs(ALL_KINDS());
    const told: Uevent[] = [];
    const source = { drain: () => told.splice(0), [Symbol.dispose]: () => {} };
    const changing = open(host, { openSource: async () => source, intervalMs: 5 });
    const events = changing.events()[Symbol.asyncIterator]();
    const next = async (): Promise<NodeDeviceEvent | undefined> => (await events.next()).value as NodeDeviceEvent;
    try {
      const net = join(host.sys, 'devices/virtual/net/eth7');
      const first = next();
      // The listening has begun when the first event can come.
      await changing.list();
      mkdirSync(net, { recursive: true });
      mkdirSync(join(host.sys, 'class/net'), { recursive: true });
      writeFileSync(join(net, 'uevent'), 'INTERFACE=eth7\nIFINDEX=7\n');
      writeFileSync(join(net, 'address'), '02:00:00:00:00:07\n');
      symlinkSync(net, join(host.sys, 'class/net/eth7'));
      told.push({ action: 'add', path: '/devices/virtual/net/eth7' });
      const device = 'net_eth7_02_00_00_00_00_07';
      expect(await first).toEqual({ kind: 'lifecycle', type: 'created', device });
      expect(await changing.xmlDesc(device)).toContain("<feature name='rx'/>");
      told.push({ action: 'change', path: '/devices/virtual/net/eth7' });
      expect(await next()).toEqual({ kind: 'update', device });
      rmSync(join(host.sys, 'class/net/eth7'));
      told.push({ action: 'remove', path: '/devices/virtual/net/eth7' });
      expect(await next()).toEqual({ kind: 'lifecycle', type: 'deleted', device });
    } finally {
      await events.return?.();
      changing[Symbol.dispose]();
      rmSync(host.dir, { recursive: true });
    }
  });

  it('are looked for where the kernel tells nothing', async () => {
    const host = makeSysfs(ALL_KINDS());
    const changing = open(host, { openSource: () => Promise.reject(new Error('no netlink')), intervalMs: 1 });
    const events = changing.events()[Symbol.asyncIterator]();
    try {
      const first = events.next();
      await changing.list();
      rmSync(join(host.sys, 'bus/usb/devices/1-1'));
      expect((await first).value).toEqual({ kind: 'lifecycle', type: 'deleted', device: 'usb_1_1' });
    } finally {
      await events.return?.();
      changing[Symbol.dispose]();
      rmSync(host.dir, { recursive: true });
    }
  });
});

/** A host whose files can be written, which changes no binding. */
function bindingHost(driver = 'igb'): FakeSysfs & Disposable & { written(): Record<string, string> } {
  const host = makeSysfs(ALL_KINDS().replace('DRIVER=igb\n', `DRIVER=${driver}\n`));
  const device = join(host.sys, 'devices/pci0000:00/0000:00:05.0');
  const files = {
    override: join(device, 'driver_override'),
    unbind: join(device, 'driver/unbind'),
    probe: join(host.sys, 'bus/pci/drivers_probe'),
  };
  for (const path of Object.values(files)) writeFileSync(path, '');
  mkdirSync(join(host.sys, 'bus/pci/drivers/vfio-pci'), { recursive: true });
  return {
    ...host,
    written: () => Object.fromEntries(Object.entries(files).map(([name, path]) => [name, readFileSync(path, 'utf8')])),
    [Symbol.dispose]: () => rmSync(host.dir, { recursive: true }),
  };
}

async function expectCode(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (reason: VirtError) => reason,
  );
  expect(error).toMatchObject({ code });
}

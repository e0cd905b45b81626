import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { DEFAULT_CONFIG } from '../config.ts';
import { Layout, SYSTEM_ROOTS } from '../layout.ts';
import { driverSecurity } from './driver-security.ts';
import { definedResources, ownResources, tpmResources } from './guest-resources.ts';

let sys: string;
beforeEach(() => {
  sys = mkdtempSync(join(tmpdir(), 'sys-'));
});
afterEach(() => rmSync(sys, { recursive: true }));

const domainOf = (devices: string, rest = '') =>
  parseDomain(
    `<domain type='qemu'><name>g</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>${rest}<devices>${devices}</devices></domain>`,
  ).domain;
const found = (devices: string, rest = ''): string[] =>
  definedResources(domainOf(devices, rest), { sys }).map(({ path, kind, readonly, shareable }) =>
    [kind, path, ...(readonly === true ? ['readonly'] : []), ...(shareable === true ? ['shareable'] : [])].join(' '),
  );

it('has every image of a disk, and the labels that the top one says', () => {
  const xml = `
    <disk type='file'><source file='/top'><seclabel model='dac' relabel='no'/></source><target dev='vda'/>
      <backingStore type='file'><format type='qcow2'/><source file='/middle'/>
        <backingStore type='block'><format type='raw'/><source dev='/dev/base'><seclabel model='dac' relabel='yes'><label>+1:+1</label></seclabel></source><backingStore/></backingStore>
      </backingStore></disk>
    <disk type='file' device='cdrom'><source file='/iso' startupPolicy='optional'/><target dev='sda'/><readonly/></disk>
    <disk type='file'><source file='/both'/><target dev='vdb'/><shareable/></disk>
    <disk type='network'><source protocol='nbd' name='x'><host name='h'/></source><target dev='vdc'/></disk>
    <disk type='dir'><source dir='/dir'/><target dev='vdd'/></disk>`;
  expect(found(xml)).toEqual([
    'disk /top',
    'backing file /middle readonly',
    'backing file /dev/base readonly',
    'disk /iso readonly',
    'disk /both shareable',
  ]);
  const [top, middle, base, iso] = definedResources(domainOf(xml));
  expect([top, middle, base].map((resource) => resource?.seclabels?.[0]?.label)).toEqual([
    undefined,
    undefined,
    '+1:+1',
  ]);
  expect(middle?.seclabels).toEqual(top?.seclabels);
  expect(iso?.optional).toBe(true);
});

it('has what the guest boots from, and what other devices open', () => {
  const os = `<os><type>hvm</type><kernel>/k</kernel><initrd>/i</initrd><dtb>/d</dtb><nvram>/vars</nvram>
    <acpi><table type='slic'>/slic</table></acpi></os>
    <sysinfo type='fwcfg'><entry name='opt/x' file='/blob'/></sysinfo>`;
  const devices = `
    <serial type='dev'><source path='/dev/ttyS0'/></serial><serial type='file'><source path='/out'/></serial>
    <serial type='unix'><source mode='connect' path='/sock'/></serial><serial type='unix'><source mode='bind' path='/own'/></serial>
    <console type='pipe'><source path='/pipe'/></console>
    <input type='evdev'><source dev='/dev/input/event1'/></input>
    <tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>
    <graphics type='egl-headless'><gl rendernode='/dev/dri/renderD128'/></graphics>`;
  expect(found(devices, os)).toEqual([
    'input /dev/input/event1',
    'tpm device /dev/tpm0',
    'chardev /dev/ttyS0',
    'chardev /sock',
    'chardev /pipe',
    'chardev /pipe.in',
    'chardev /pipe.out',
    'render node /dev/dri/renderD128',
    'nvram /vars',
    'kernel /k readonly',
    'initrd /i readonly',
    'dtb /d readonly',
    'acpi table /slic readonly',
    'firmware configuration /blob readonly',
  ]);
});

it("finds the nodes of the host's devices in sysfs", () => {
  const device = (path: string, files: Record<string, string>): void => {
    mkdirSync(join(sys, path), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(sys, path, name), `${text}\n`);
  };
  mkdirSync(join(sys, 'bus/pci/devices/0000:0a:1f.2'), { recursive: true });
  symlinkSync('../../../kernel/iommu_groups/7', join(sys, 'bus/pci/devices/0000:0a:1f.2/iommu_group'));
  device('bus/usb/devices/1-1', { idVendor: '0951', idProduct: '1625', busnum: '3', devnum: '12' });
  device('bus/usb/devices/1-1:1.0', {});
  mkdirSync(join(sys, 'bus/scsi/devices/0:0:0:3/scsi_generic/sg4'), { recursive: true });
  const hostdev = (type: string, source: string): string =>
    `<hostdev mode='subsystem' type='${type}'><source>${source}</source></hostdev>`;
  expect(
    found(
      [
        hostdev('pci', "<address domain='0x0000' bus='0x0a' slot='0x1f' function='0x2'/>"),
        hostdev('pci', "<address domain='0x0000' bus='0x0b' slot='0x00' function='0x0'/>"),
        hostdev('usb', "<vendor id='0x0951'/><product id='0x1625'/>"),
        hostdev('usb', "<address bus='1' device='2'/>"),
        hostdev('scsi', "<adapter name='scsi_host0'/><address bus='0' target='0' unit='3'/>"),
      ].join(''),
    ),
  ).toEqual([
    'hostdev /dev/vfio/7',
    'hostdev /dev/bus/usb/003/012',
    'hostdev /dev/bus/usb/001/002',
    'hostdev /dev/sg4',
  ]);
});

it('has what is made for the guest alone, and what stays', () => {
  const files = [
    { kind: 'directory', path: '/huge/1-g', mode: 0o700 },
    { kind: 'directory', path: '/passt', mode: 0o755, keep: true },
    { kind: 'file', path: '/run/session', mode: 0o600, content: '' },
    { kind: 'socket', path: '/run/s' },
  ] as const;
  expect(ownResources({ files }, ['/run/domain-1-g']).map(({ path, own }) => [path, own])).toEqual([
    ['/run/domain-1-g', true],
    ['/huge/1-g', true],
    ['/run/session', true],
  ]);
});

it("has an emulated TPM's state, in the driver's place or the user's", () => {
  const tpm = (source: string) => domainOf(`<tpm><backend type='emulator' version='2.0'>${source}</backend></tpm>`);
  const owner = { uid: 1, gid: 2 };
  const layout = new Layout(SYSTEM_ROOTS);
  const dir = '/var/lib/libvirt/swtpm/c7a5fdbd-edaf-9455-926a-d65c16db1809';
  expect(tpmResources(tpm(''), layout, owner)).toMatchObject([
    { path: dir, kind: 'directory', own: true, owner },
    { path: `${dir}/tpm2`, kind: 'tpm state', own: true, owner },
  ]);
  const [own] = tpmResources(tpm("<source type='dir' path='/state'/>"), layout, owner);
  expect(own).toMatchObject({ path: '/state', owner });
  expect(own?.own).toBeUndefined();
});

it("asks for the host's module in the host's daemon only", () => {
  expect(driverSecurity(DEFAULT_CONFIG, 'embedded', 0).drivers).toEqual([]);
  expect(driverSecurity(DEFAULT_CONFIG, 'daemon', 1000).drivers).toEqual([]);
  expect(driverSecurity(DEFAULT_CONFIG, 'daemon', 0).drivers).toBe('probe');
  expect(driverSecurity({ ...DEFAULT_CONFIG, securityDrivers: ['none'] }, 'daemon', 0).drivers).toEqual(['none']);
});

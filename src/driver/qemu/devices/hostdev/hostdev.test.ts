import { describe, expect, it } from 'vitest';
import { formatDomain } from '../../../../model/domain/domain.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { FAMILY as redirdev } from '../redirdev/index.ts';
import { FAMILY as smartcard } from '../smartcard/index.ts';
import { FAMILY as hostdev } from './index.ts';

const TYPES = ['vfio-pci', 'vfio-pci-nohotplug', 'vfio-ap', 'usb-redir', 'ccid-card-emulated', 'ccid-card-passthru'];
const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, {
    families: [hostdev, redirdev, smartcard],
    types: TYPES,
    properties: { 'usb-host': ['hostdevice', 'guest-reset'], 'usb-redir': ['filter'] },
    ...options,
  });
const refusals = (xml: string) => {
  const families = [
    { ...hostdev, plan: () => [] },
    { ...redirdev, plan: () => [] },
    { ...smartcard, plan: () => [] },
  ];
  return bench(xml, { families }).faults.join('\n');
};
const UUID = '6f1b7d2e-4c0a-4b57-9a52-0123456789ab';

describe('host devices', () => {
  it.each([
    [
      "type='pci'><source><address domain='0x1' bus='0x02' slot='0x03' function='0x4'/></source><boot order='1'/>",
      '{"driver":"vfio-pci","host":"0001:02:03.4","id":"hostdev0","bootindex":1}',
    ],
    [
      "type='pci' display='off'><source><address bus='2' slot='0' function='0'/></source><rom enabled='no'/>",
      '{"driver":"vfio-pci","host":"0000:02:00.0","id":"hostdev0","display":"off","romfile":""}',
    ],
    [
      "type='usb'><source guestReset='uninitialized'><address bus='1' device='12'/></source>",
      '{"driver":"usb-host","hostdevice":"/dev/bus/usb/001/012","id":"hostdev0","guest-reset":true,"guest-resets-all":false}',
    ],
    [
      "type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source>",
      '{"driver":"usb-host","vendorid":4660,"productid":48879,"id":"hostdev0"}',
    ],
    [
      `type='mdev' model='vfio-pci'><source><address uuid='${UUID}'/></source>`,
      `{"driver":"vfio-pci","id":"hostdev0","sysfsdev":"/sys/bus/mdev/devices/${UUID}","display":"off"}`,
    ],
    [
      `type='mdev' model='vfio-ap'><source><address uuid='${UUID}'/></source>`,
      `{"driver":"vfio-ap","id":"hostdev0","sysfsdev":"/sys/bus/mdev/devices/${UUID}"}`,
    ],
    [
      "type='scsi_host' model='virtio-transitional'><source protocol='vhost' wwpn='naa.0123456789abcdef'/>",
      '{"driver":"vhost-scsi-pci-transitional","wwpn":"naa.0123456789abcdef","vhostfd":"3","id":"hostdev0"}',
    ],
  ])('<hostdev %s', (xml, expected) => {
    const { args, faults } = bench(`<hostdev mode='subsystem' ${xml}</hostdev>`);
    expect(faults).toEqual([]);
    expect(args).toEqual([`-device ${expected}`]);
  });

  it('falls back on bus and number for an old QEMU', () => {
    const { args } = bench("<hostdev type='usb'><source><address bus='1' device='2'/></source></hostdev>", {
      properties: {},
    });
    expect(args[0]).toContain('"hostbus":1,"hostaddr":2');
  });

  it('keeps a device from the guest whose address is unassigned', () => {
    const source = "<source><address bus='2' slot='0' function='0'/></source>";
    expect(bench(`<hostdev type='pci'>${source}<address type='unassigned'/></hostdev>`).args).toEqual([]);
  });

  it('opens SCSI units as block nodes', () => {
    const { args } = bench(
      `<hostdev type='scsi'><source><adapter name='scsi_host7'/><address bus='0' target='1' unit='9007199254740993'/></source>
         <readonly/><shareable/><address type='drive' controller='0' bus='0' target='4' unit='8'/></hostdev>
       <hostdev type='scsi'><source protocol='iscsi' name='iqn.2000-01.org:a,b'><host name='::1'/>
         <auth username='u'><secret type='iscsi' usage='s'/></auth></source></hostdev>`,
      { lookup: { scsiGeneric: (...unit) => (unit.join() === 'scsi_host7,0,1,9007199254740993' ? 'sg3' : undefined) } },
    );
    expect(args.filter((arg) => !arg.startsWith('-object'))).toEqual([
      '-blockdev {"driver":"host_device","filename":"/dev/sg3","node-name":"libvirt-1-backend","read-only":true}',
      '-device {"driver":"scsi-generic","share-rw":true,"drive":"libvirt-1-backend","id":"hostdev0","bus":"scsi0.0","channel":0,"scsi-id":4,"lun":8}',
      '-blockdev {"driver":"iscsi","portal":"[::1]:3260","target":"iqn.2000-01.org:a,b","lun":0,"transport":"tcp","user":"u","password-secret":"libvirt-2-backend-secret0","node-name":"libvirt-2-backend","read-only":false}',
      '-device {"driver":"scsi-generic","drive":"libvirt-2-backend","id":"hostdev1"}',
    ]);
    expect(args.some((arg) => arg.includes('"data"'))).toBe(false);
  });

  it('writes PCI numbers in hexadecimal and the others in decimal', () => {
    const { domain } = bench(
      `<hostdev type='pci'><source><address bus='222' slot='31' function='1'/></source></hostdev>
       <hostdev type='usb'><source><address bus='14' device='6'/></source></hostdev>`,
    );
    const text = formatDomain(domain);
    expect(text).toContain("<address bus='0xde' slot='0x1f' function='0x1'/>");
    expect(text).toContain("<address bus='14' device='6'/>");
  });

  const PCI = "<source><address bus='2' slot='0' function='0'/></source>";
  it.each([
    ["<hostdev mode='capabilities' type='storage'><source><block>/b</block></source></hostdev>", "mode 'capabilities'"],
    [`<hostdev type='pci'>${PCI}</hostdev><hostdev type='pci'>${PCI}</hostdev>`, 'has this host device already'],
    [`<hostdev type='pci' rawio='yes'>${PCI}</hostdev>`, "'rawio' is only"],
    [`<hostdev type='pci'><driver name='kvm'/>${PCI}</hostdev>`, "of kind 'kvm'"],
    [`<hostdev type='pci' display='on'>${PCI}</hostdev>`, 'needs a <graphics>'],
    ["<hostdev type='usb'><source><vendor id='1'/></source></hostdev>", 'needs a vendor and product'],
    ["<hostdev type='mdev' model='vfio-pci'><source><address bus='1'/></source></hostdev>", 'address uuid='],
    [`<hostdev type='mdev'><source><address uuid='${UUID}'/></source></hostdev>`, 'needs model='],
    [
      `<hostdev type='mdev' model='vfio-pci'><source><address uuid='${UUID}'/></source><address type='drive'/></hostdev>`,
      'takes no drive address',
    ],
    ["<hostdev type='scsi_host'><source protocol='vhost' wwpn='naa.1'/></hostdev>", 'is not a WWPN'],
    [
      "<hostdev type='scsi_host'><source protocol='vhost' wwpn='naa.0123456789abcdef'/><boot order='1'/></hostdev>",
      'cannot boot from vhost-scsi',
    ],
  ])('refuses %s', (xml, message) => {
    expect(refusals(xml)).toContain(message);
  });
});

describe('redirected devices', () => {
  it('share one filter, whose wildcards are -1', () => {
    const { args, domain } = bench(
      `<redirdev bus='usb' type='spicevmc'><boot order='2'/></redirdev>
       <redirfilter><usbdev class='0x08' vendor='0x15e1' product='0x2007' version='1.1' allow='yes'/>
       <usbdev class='-1' allow='no'/></redirfilter>`,
    );
    expect(args).toEqual([
      '-chardev spicevmc,id=charredir0,name=usbredir',
      '-device {"driver":"usb-redir","chardev":"charredir0","id":"redir0","filter":"0x08:0x15E1:0x2007:0x0110:1|-1:-1:-1:-1:0","bootindex":2}',
    ]);
    const text = formatDomain(domain);
    expect(text).toContain("<usbdev class='0x08' vendor='0x15E1' product='0x2007' version='1.10' allow='yes'/>");
    expect(text).toContain("<usbdev allow='no'/>");
  });
});

describe('smart cards', () => {
  const CERTIFICATES = '<certificate>a</certificate><certificate>b</certificate><certificate>c</certificate>';
  it.each([
    ["mode='host'>", '{"driver":"ccid-card-emulated","backend":"nss-emulated","id":"smartcard0"}'],
    [
      `mode='host-certificates'>${CERTIFICATES}`,
      '{"driver":"ccid-card-emulated","backend":"certificates","cert1":"a","cert2":"b","cert3":"c","db":"/etc/pki/nssdb","id":"smartcard0"}',
    ],
    [
      "mode='passthrough' type='spicevmc'>",
      '{"driver":"ccid-card-passthru","chardev":"charsmartcard0","id":"smartcard0"}',
    ],
  ])('<smartcard %s', (xml, expected) => {
    const { args, faults } = bench(`<graphics type='spice'/><smartcard ${xml}</smartcard>`);
    expect(faults).toEqual([]);
    expect(args.at(-1)).toBe(`-device ${expected}`);
  });

  it.each([
    ["mode='passthrough'>", 'needs a source type'],
    ["mode='host-certificates'><certificate>a</certificate>", 'three certificates, not 1'],
    [`mode='host-certificates'>${CERTIFICATES}<database>relative</database>`, 'not an absolute path'],
  ])('refuses <smartcard %s', (xml, message) => {
    expect(refusals(`<smartcard ${xml}</smartcard>`)).toContain(message);
  });
});

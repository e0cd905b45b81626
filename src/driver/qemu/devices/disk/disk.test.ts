import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { domainToXml, parseDomain } from '../../../../model/domain/domain.ts';
import { formatXml } from '../../../../xml/format.ts';
import type { Props } from '../../plan/props.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { DISK } from './index.ts';
import { diskNameToIndex, sortDisks } from './target.ts';

const PROPERTIES = {
  'scsi-hd': ['device_id'],
  'usb-storage': ['werror'],
  'virtio-blk-pci': ['iothread-vq-mapping'],
} as BenchOptions['properties'] & object;

const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, { families: [DISK], types: ['vhost-user-blk-pci'], properties: PROPERTIES, ...options });

/** A file-backed disk. */
const disk = (inside: string, { driver = "<driver type='raw'/>", attributes = '' } = {}) =>
  `<disk type='file' ${attributes}>${driver}<source file='/i'/>${inside}</disk>`;

const propsOf = (parts: ReturnType<typeof bench>['parts'], kind: string): Props[] =>
  parts.flatMap((part) => (part.kind === kind && 'props' in part ? [part.props] : []));
const device = (parts: ReturnType<typeof bench>['parts']) => propsOf(parts, 'device')[0] ?? {};
const nodes = (parts: ReturnType<typeof bench>['parts']) => propsOf(parts, 'blockdev');

describe('disk names', () => {
  it.each([
    ['vda', 0],
    ['sdz', 25],
    ['sdaa', 26],
    ['hdc2', 2],
    ['nvme0', -1],
    ['vd', -1],
  ])('%s is number %i', (name, index) => expect(diskNameToIndex(name)).toBe(index));

  it('keeps a bus together, sorted, where its first disk stands', () => {
    const { domain } = parseDomain(
      `<domain><devices>${['vdb:virtio', 'sda:scsi', 'vda:virtio', 'sdb:scsi']
        .map((name) => name.split(':'))
        .map(([dev, bus]) => `<disk><source file='/i'/><target dev='${dev}' bus='${bus}'/></disk>`)
        .join('')}</devices></domain>`,
    );
    expect(sortDisks(domain.devices?.disks ?? []).map(({ target }) => target?.dev)).toEqual([
      'vda',
      'vdb',
      'sda',
      'sdb',
    ]);
  });
});

describe('defaults', () => {
  it('fills in kind, format, bus and the address of the name', () => {
    const { domain, faults } = bench("<disk><source file='/i'/><target dev='sdh'/></disk>");
    expect(faults).toEqual([]);
    expect(domain.devices?.disks[0]).toMatchObject({
      type: 'file',
      device: 'disk',
      driver: { name: 'qemu', type: 'raw' },
      target: { dev: 'sdh', bus: 'scsi' },
      // Seven units a controller, as on a narrow bus.
      address: { type: 'drive', controller: 1, bus: 0, target: 0, unit: 0 },
    });
  });

  it.each([
    ['hdd', 'ide', [0, 1, 1]],
    ['sdg', 'sata', [1, 0, 0]],
    ['sdp', 'scsi', [2, 0, 1]],
    ['fdb', 'fdc', [0, 0, 1]],
  ] as const)('puts %s on %s at %j', (dev, bus, [controller, channel, unit]) => {
    const { domain } = bench(disk(`<target dev='${dev}' bus='${bus}'/>`));
    expect(domain.devices?.disks[0]?.address).toEqual({ type: 'drive', controller, bus: channel, target: 0, unit });
  });

  it('makes CD-ROMs read-only, and lets them be empty', () => {
    const { domain, parts, faults } = bench(
      "<disk device='cdrom'><source file=''/><target dev='sda' bus='sata'/></disk>",
    );
    expect(faults).toEqual([]);
    expect(domain.devices?.disks[0]).toMatchObject({ readonly: true });
    expect(domain.devices?.disks[0]?.source).toBeUndefined();
    expect(device(parts)).toEqual({ driver: 'ide-cd', bus: 'sata0.0', id: 'sata0-0-0' });
    expect(nodes(parts)).toEqual([]);
  });
});

describe('the schema', () => {
  it('writes back what it read', () => {
    const xml = `<domain type='qemu'>
  <devices>
    <disk type='network' device='disk' model='virtio' snapshot='external'>
      <driver name='qemu' type='qcow2' cache='none' error_policy='enospace' io='native' ioeventfd='on' event_idx='off' copy_on_read='on' discard='unmap' detect_zeroes='unmap' queues='2' queue_size='256' discard_no_unref='on' iommu='on'>
        <iothreads>
          <iothread id='1'>
            <queue id='0'/>
          </iothread>
        </iothreads>
        <metadata_cache>
          <max_size unit='bytes'>1024</max_size>
        </metadata_cache>
      </driver>
      <source protocol='https' name='a/b' query='c=d'>
        <host name='h' port='8443'/>
        <ssl verify='no'/>
        <cookies>
          <cookie name='n'>v</cookie>
        </cookies>
        <readahead size='65536'/>
        <timeout seconds='6'/>
        <slices>
          <slice type='storage' offset='1' size='2'/>
        </slices>
        <auth username='u'>
          <secret type='iscsi' usage='x'/>
        </auth>
        <encryption format='luks' engine='qemu'>
          <secret type='passphrase' usage='y'/>
        </encryption>
      </source>
      <backingStore type='block'>
        <format type='raw'/>
        <source dev='/dev/sdb'/>
        <backingStore/>
      </backingStore>
      <geometry cyls='1' heads='2' secs='3' trans='lba'/>
      <blockio logical_block_size='512' physical_block_size='4096'/>
      <target dev='vda' bus='virtio'/>
      <iotune>
        <total_bytes_sec>1000</total_bytes_sec>
        <group_name>g</group_name>
      </iotune>
      <shareable/>
      <serial>s</serial>
      <boot order='1'/>
    </disk>
  </devices>
</domain>`;
    const parsed = parseDomain(xml);
    expect(parsed.warnings).toEqual([]);
    expect(formatXml(domainToXml(parsed.domain)).trim()).toBe(xml);
  });
});

describe('drives', () => {
  const place = (xml: string, options?: Partial<BenchOptions>) => device(bench(xml, options).parts);

  it.each([
    ["<target dev='vdc' bus='virtio'/>", '', { driver: 'virtio-blk-pci', id: 'virtio-disk2' }],
    ["<target dev='hdb'/>", '', { driver: 'ide-hd', bus: 'ide.0', unit: 1, id: 'ide0-0-1' }],
    ["<target dev='sdb' bus='sata'/>", '', { driver: 'ide-hd', bus: 'sata0.1', id: 'sata0-0-1' }],
    ["<target dev='fda' bus='fdc'/>", "device='floppy'", { driver: 'floppy', unit: 0, id: 'fdc0-0-0' }],
    ["<target dev='sda' bus='usb'/>", '', { driver: 'usb-storage', id: 'usb-disk0', removable: false }],
    [
      "<target dev='sdb' bus='scsi'/>",
      '',
      {
        driver: 'scsi-hd',
        bus: 'scsi0.0',
        channel: 0,
        'scsi-id': 0,
        lun: 1,
        device_id: 'drive-scsi0-0-0-1',
        id: 'scsi0-0-0-1',
      },
    ],
  ])('%s', (target, attributes, expected) => {
    expect(place(disk(target, { attributes }))).toEqual({ ...expected, drive: 'libvirt-1-storage' });
  });

  it('addresses drives of an LSI controller by target', () => {
    const controller = "<controller type='scsi' index='0' model='lsilogic'/>";
    expect(place(controller + disk("<target dev='sdb' bus='scsi'/>"))).toMatchObject({ 'scsi-id': 1, id: 'scsi0-0-1' });
  });

  it('passes every property on', () => {
    const xml = disk(
      `<blockio logical_block_size='512' discard_granularity='4096'/>
       <target dev='sda' bus='scsi' removable='on' rotation_rate='7200'/><serial>s</serial>
       <wwn>5000c50015ea71ac</wwn><vendor>V</vendor><product>P</product><boot order='3'/>`,
      { driver: "<driver type='raw' cache='writethrough' error_policy='report'/>" },
    );
    expect(place(xml)).toMatchObject({
      logical_block_size: 512,
      discard_granularity: 4096,
      rotation_rate: 7200,
      removable: true,
      serial: 's',
      device_id: 's',
      wwn: 0x5000c50015ea71acn,
      vendor: 'V',
      product: 'P',
      bootindex: 3,
      'write-cache': 'off',
      werror: 'report',
      rerror: 'report',
    });
  });

  it('spells enospace as QEMU does, for writes only', () => {
    const props = place(disk("<target dev='vda'/>", { driver: "<driver type='raw' error_policy='enospace'/>" }));
    expect(props).toMatchObject({ werror: 'enospc' });
    expect(props['rerror']).toBeUndefined();
  });

  it('gives virtio disks their queues and threads', () => {
    const driver = `<driver type='raw' queues='2' queue_size='256' ioeventfd='on' event_idx='off' packed='on'>
      <iothreads><iothread id='1'><queue id='0'/></iothread><iothread id='2'><queue id='1'/></iothread></iothreads></driver>`;
    const { parts, faults } = bench(disk("<target dev='vda'/>", { driver }), { xml: '<iothreads>2</iothreads>' });
    expect(faults).toEqual([]);
    expect(device(parts)).toMatchObject({
      packed: true,
      ioeventfd: true,
      event_idx: false,
      'num-queues': 2,
      'queue-size': 256,
      'iothread-vq-mapping': [
        { iothread: 'iothread1', vqs: [0] },
        { iothread: 'iothread2', vqs: [1] },
      ],
    });
  });

  it('never caches a writable shared disk', () => {
    const { parts } = bench(disk("<target dev='vda'/><shareable/>"));
    expect(device(parts)).toMatchObject({ 'share-rw': true, 'write-cache': 'on' });
    expect(nodes(parts)[0]).toMatchObject({ cache: { direct: true, 'no-flush': false } });
  });

  it('passes a LUN through', () => {
    const xml =
      "<disk type='block' device='lun' rawio='yes'><source dev='/dev/sdx'/><target dev='sda' bus='scsi'/></disk>";
    const { parts, faults } = bench(xml);
    expect(faults).toEqual([]);
    expect(device(parts)).toMatchObject({ driver: 'scsi-block' });
    expect(device(parts)['device_id']).toBeUndefined();
  });

  it('reaches an outside server over its socket', () => {
    const shared = "<memoryBacking><access mode='shared'/></memoryBacking>";
    const xml = `<disk type='vhostuser'><driver type='raw'/><source type='unix' path='/s'><reconnect enabled='yes' timeout='2'/></source>
      <target dev='vda' bus='virtio'/></disk>`;
    expect(bench(xml, { xml: shared }).faults).toEqual([]);
    expect(bench(xml).faults).toHaveLength(1);
    expect(bench(xml, { xml: shared }).args).toEqual([
      '-chardev socket,id=chr-vu-virtio-disk0,path=/s,reconnect-ms=2000',
      '-device {"driver":"vhost-user-blk-pci","chardev":"chr-vu-virtio-disk0","id":"virtio-disk0"}',
    ]);
    expect(bench(xml, { xml: shared, without: ['chardev-reconnect-ms'] }).args[0]).toContain('reconnect=2');
  });

  it('leaves an SD card to the old option', () => {
    const { args } = bench(disk("<target dev='sda' bus='sd'/>", { driver: "<driver type='qcow2' cache='none'/>" }), {
      arch: 'aarch64',
      machine: 'raspi3b',
    });
    expect(args).toEqual(['-drive file=/i,format=qcow2,if=sd,index=0,cache=none']);
  });

  it('sets traffic limits once QEMU runs', () => {
    const { context } = bench(
      disk("<target dev='vda'/><iotune><read_iops_sec>10</read_iops_sec><group_name>g</group_name></iotune>"),
    );
    expect(context.deferred).toHaveLength(1);
    expect(context.deferred[0]).toMatchObject({
      command: 'block_set_io_throttle',
      arguments: { id: '/machine/peripheral/virtio-disk0/virtio-backend', iops_rd: 10, bps: 0, group: 'g' },
    });
  });

  it('stacks copy-on-read and throttle filters on the image', () => {
    const groups = `<throttlegroups><throttlegroup><total_iops_sec>1</total_iops_sec><group_name>a</group_name></throttlegroup>
      <throttlegroup><total_iops_sec>2</total_iops_sec><group_name>b</group_name></throttlegroup></throttlegroups>`;
    const filters = "<throttlefilters><throttlefilter group='a'/><throttlefilter group='b'/></throttlefilters>";
    const { parts, faults } = bench(
      disk(`<target dev='vda'/>${filters}`, { driver: "<driver type='raw' copy_on_read='on'/>" }),
      { xml: groups },
    );
    expect(faults).toEqual([]);
    expect(nodes(parts).map((props) => [props['driver'], props['node-name'], props['file']])).toEqual([
      ['file', 'libvirt-1-storage', undefined],
      ['copy-on-read', 'libvirt-CoR-vda', 'libvirt-1-storage'],
      ['throttle', 'libvirt-2-filter', 'libvirt-CoR-vda'],
      ['throttle', 'libvirt-3-filter', 'libvirt-2-filter'],
    ]);
    expect(device(parts)['drive']).toBe('libvirt-3-filter');
  });

  it('puts an overlay on a transient image before the guest runs', () => {
    const { parts, context } = bench(disk("<target dev='vda'/><transient/>", { driver: "<driver type='qcow2'/>" }));
    expect(nodes(parts)).toHaveLength(2);
    expect(context.helpers[0]).toMatchObject({
      command: 'qemu-img',
      args: ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', '/i', '/i.TRANSIENT-demo'],
      oneShot: true,
    });
    expect(context.deferred.map(({ command }) => command)).toEqual([
      'blockdev-add',
      'blockdev-add',
      'blockdev-snapshot',
    ]);
    expect(context.deferred.at(-1)?.arguments).toEqual({ node: 'libvirt-1-format', overlay: 'libvirt-tmp-vda' });
  });

  it('plugs a transient disk in over an image that others use, and never opens that for writing', () => {
    const xml = disk("<target dev='vda'/><transient shareBacking='yes'/>", { driver: "<driver type='qcow2'/>" });
    const { parts, context } = bench(xml);
    expect(parts).toEqual([]);
    expect(context.deferred.map(({ command }) => command)).toEqual([...Array(4).fill('blockdev-add'), 'device_add']);
    expect(context.deferred[1]?.arguments).toMatchObject({ 'node-name': 'libvirt-1-format', 'read-only': true });
    expect(context.deferred[3]?.arguments).toMatchObject({ driver: 'qcow2', backing: 'libvirt-1-format' });
    expect(context.deferred[4]?.arguments).toMatchObject({ drive: 'libvirt-tmp-vda' });
  });
});

describe('refusals', () => {
  it.each([
    ['no target', disk('')],
    ['a partition', disk("<target dev='vda1'/>")],
    ['a target twice', disk("<target dev='vda'/>") + disk("<target dev='vda'/>")],
    ['a disk without a source', "<disk><target dev='vda'/></disk>"],
    ['a CD-ROM on virtio', disk("<target dev='vda'/>", { attributes: "device='cdrom'" })],
    ['a floppy elsewhere', disk("<target dev='sda' bus='usb'/>", { attributes: "device='floppy'" })],
    ['a LUN of a file', disk("<target dev='sda' bus='scsi'/>", { attributes: "device='lun'" })],
    ['a tray of a disk', disk("<target dev='vda' tray='open'/>")],
    ['removable virtio', disk("<target dev='vda' removable='on'/>")],
    ['a long product', disk("<target dev='sda' bus='scsi'/><product>12345678901234567</product>")],
    ['a bad WWN', disk("<target dev='sda' bus='scsi'/><wwn>12</wwn>")],
    ['a PCI address on SATA', disk("<target dev='sda' bus='sata'/><address type='pci' slot='3'/>")],
    ['a PCI address on USB', disk("<target dev='sda' bus='usb'/><address type='pci' slot='3'/>")],
    ['a second IDE controller', disk("<target dev='hda'/><address type='drive' controller='1'/>")],
    ['queues on SATA', disk("<target dev='sda' bus='sata'/>", { driver: "<driver type='raw' queues='2'/>" })],
    ['native I/O over the page cache', disk("<target dev='vda'/>", { driver: "<driver type='raw' io='native'/>" })],
    ['an unknown I/O thread', disk("<target dev='vda'/>", { driver: "<driver type='raw' iothread='3'/>" })],
    ['a shared qcow2 image', disk("<target dev='vda'/><shareable/>", { driver: "<driver type='qcow2'/>" })],
    ['copy_on_read into nothing', disk("<target dev='vda'/><readonly/>", { driver: "<driver copy_on_read='on'/>" })],
    [
      'totals beside reads',
      disk(
        "<target dev='vda'/><iotune><total_bytes_sec>1</total_bytes_sec><read_bytes_sec>1</read_bytes_sec></iotune>",
      ),
    ],
    [
      'an unknown throttle group',
      disk("<target dev='vda'/><throttlefilters><throttlefilter group='x'/></throttlefilters>"),
    ],
    ['a foreign driver', disk("<target dev='vda'/>", { driver: "<driver name='tap'/>" })],
    ['rawio of a disk', disk("<target dev='vda'/>", { attributes: "rawio='yes'" })],
    ["Xen's bus", disk("<target dev='xvda'/>")],
  ])('%s', (_name, xml) => expect(bench(xml).faults).toHaveLength(1));
});

describe('user text', () => {
  const texts = (value: unknown): unknown[] =>
    typeof value === 'object' && value !== null ? Object.values(value).flatMap((item) => texts(item)) : [value];

  it('reaches QEMU as it is, whatever it looks like', () => {
    const nasty = fc.constantFrom(
      '/a,id=evil',
      '/a b',
      '/100%s',
      '/ü☃',
      'json:{"driver":"null-co"}',
      'nbd://x/y',
      '-readonly',
      '/"quote\'s',
      '/back\\slash',
      'fat:rw:/etc',
    );
    fc.assert(
      fc.property(nasty, nasty, (file, serial) => {
        const { domain } = parseDomain('<domain/>');
        expect(domain).toBeDefined();
        const { parts, args } = benchWithText(file, serial);
        expect(texts(nodes(parts)[0])).toContain(file);
        expect(device(parts)['serial']).toBe(serial);
        // One option each: nothing that was written starts another.
        expect(args).toHaveLength(2);
        expect(JSON.parse(args[0]?.slice('-blockdev '.length) ?? '')).toMatchObject({ driver: 'file', filename: file });
      }),
      { numRuns: 60 },
    );
  });

  function benchWithText(file: string, serial: string) {
    const escape = (text: string) =>
      text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll("'", '&apos;').replaceAll('"', '&quot;');
    return bench(`<disk><source file='${escape(file)}'/><target dev='vda'/><serial>${escape(serial)}</serial></disk>`);
  }
});

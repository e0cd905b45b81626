import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { QemuCapabilities } from '../../capabilities/capabilities.ts';
import type { Lookup } from '../../context.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { FAMILY as hostdev } from '../hostdev/index.ts';
import { FAMILY as networkInterface } from './index.ts';
import { formatPortForward } from './passt.ts';

const properties: QemuCapabilities['properties'] = {
  'virtio-net-pci': ['rx_queue_size', 'tx_queue_size', 'host_mtu', 'failover', 'rss', 'hash'],
};
const types = ['rtl8139', 'e1000', 'virtio-net-pci', 'vfio-pci'];
const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, { families: [networkInterface, hostdev], types, properties, ...options });
const MAC = "<mac address='52:54:00:00:00:01'/>";
const VIRTIO = "<model type='virtio'/>";
const SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";

describe('interface back ends', () => {
  it.each([
    ["type='user'>", '{"type":"user","id":"hostnet0"}'],
    [
      "type='user'><ip address='10.9.0.0' prefix='24'/><ip family='ipv6' address='fd00::' prefix='64'/>",
      '{"type":"user","net":"10.9.0.0/24","ipv6-prefix":"fd00::","ipv6-prefixlen":64,"id":"hostnet0"}',
    ],
    ["type='client'><source address='h' port='5'/>", '{"type":"socket","connect":"h:5","id":"hostnet0"}'],
    ["type='server'><source port='5'/>", '{"type":"socket","listen":":5","id":"hostnet0"}'],
    ["type='mcast'><source address='230.0.0.1' port='5'/>", '{"type":"socket","mcast":"230.0.0.1:5","id":"hostnet0"}'],
    [
      "type='udp'><source address='a' port='5'><local address='b' port='6'/></source>",
      '{"type":"socket","udp":"a:5","localaddr":"b:6","id":"hostnet0"}',
    ],
    ["type='bridge'><source bridge='br0'/>", '{"type":"tap","fd":"3","id":"hostnet0"}'],
    ["type='ethernet'><tune><sndbuf>1600</sndbuf></tune>", '{"type":"tap","fd":"3","sndbuf":1600,"id":"hostnet0"}'],
    ["type='direct'><source dev='eth0'/>", '{"type":"tap","fd":"3","id":"hostnet0"}'],
  ])('<interface %s', (xml, expected) => {
    const { args, faults } = bench(`<interface ${xml}${MAC}</interface>`);
    expect(faults).toEqual([]);
    expect(args).toEqual([
      `-netdev ${expected}`,
      '-device {"driver":"rtl8139","netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01"}',
    ]);
  });

  it('has a tap and a vhost descriptor for each pair of queues', () => {
    const { args, context } = bench(
      `<interface type='bridge'>${MAC}<source bridge='b'/>${VIRTIO}<driver queues='2'/></interface>`,
      { type: 'kvm' },
    );
    expect(args).toEqual([
      '-netdev {"type":"tap","fds":"3:4","vhost":true,"vhostfds":"5:6","id":"hostnet0"}',
      '-device {"driver":"virtio-net-pci","mq":true,"vectors":6,"netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01"}',
    ]);
    expect(context.fds.map(({ kind }) => kind)).toEqual(['tap', 'tap', 'vhost-net', 'vhost-net']);
  });

  it.each<['kvm' | 'qemu', string, Lookup['vhostNet'], boolean]>([
    ['kvm', '', undefined, true],
    ['qemu', '', undefined, false],
    ['kvm', "<driver name='qemu'/>", undefined, false],
    ['kvm', '', () => false, false],
    ['qemu', '', () => true, true],
  ])('uses vhost: %s %s', (type, driver, vhostNet, expected) => {
    const lookup: Lookup = vhostNet === undefined ? {} : { vhostNet };
    const { args } = bench(`<interface type='ethernet'>${VIRTIO}${driver}</interface>`, { type, lookup });
    expect(args[0]?.includes('vhostfd')).toBe(expected);
  });

  it('asks what a virtual network really is', () => {
    const address = { domain: 1, bus: 2, slot: 3, function: 4 };
    const lookup: Lookup = {
      network: (name) => (name === 'pool' ? { type: 'hostdev', address } : { type: 'bridge', bridge: 'virbr0' }),
    };
    const { args } = bench(
      `<interface type='network'><source network='nat'/></interface>
       <interface type='network'><source network='pool'/><teaming type='transient' persistent='ua-x'/></interface>`,
      { lookup },
    );
    expect(args[0]).toBe('-netdev {"type":"tap","fd":"3","id":"hostnet0"}');
    expect(args[2]).toBe(
      '-device {"driver":"vfio-pci","host":"0001:02:03.4","id":"hostdev0","failover_pair_id":"ua-x"}',
    );
    expect(() => bench("<interface type='network'><source network='gone'/></interface>")).toThrow(/no virtual network/);
  });

  it('opens vDPA devices for QEMU', () => {
    const { args, context } = bench("<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>");
    expect(args.slice(0, 2)).toEqual([
      '-add-fd set=0,fd=3,opaque=net0-vdpa',
      '-netdev {"type":"vhost-vdpa","vhostdev":"/dev/fdset/0","id":"hostnet0"}',
    ]);
    expect(context.fds).toEqual([{ kind: 'file', path: '/dev/vhost-vdpa-0', flags: 'r+' }]);
  });

  it('connects vhost-user processes, and starts passt where it is one', () => {
    const { args, context, faults } = bench(
      `<interface type='vhostuser'><source type='unix' path='/v,w' mode='client'><reconnect enabled='yes' timeout='2'/></source></interface>
       <interface type='vhostuser'><backend type='passt'/></interface>
       <interface type='user'><backend type='passt' logFile='/l'/><source dev='eth0'/><portForward proto='tcp'><range start='22' to='2022'/></portForward></interface>`,
      { xml: SHARED },
    );
    expect(faults).toEqual([]);
    const socket = (alias: string) => `/var/run/libvirt/qemu/passt/1-demo-${alias}.socket`;
    expect(args.filter((arg) => !arg.startsWith('-device'))).toEqual([
      '-chardev socket,id=charnet0,path=/v,,w,reconnect-ms=2000',
      '-netdev {"type":"vhost-user","chardev":"charnet0","id":"hostnet0"}',
      `-chardev socket,id=charnet1,path=${socket('net1')},reconnect-ms=5000`,
      '-netdev {"type":"vhost-user","chardev":"charnet1","id":"hostnet1"}',
      `-netdev {"type":"stream","addr":{"type":"unix","path":"${socket('net2')}"},"server":false,"reconnect-ms":5000,"id":"hostnet2"}`,
    ]);
    expect(context.helpers).toMatchObject([
      { name: 'net1-passt', command: '/usr/bin/passt', readySocket: socket('net1') },
      { name: 'net2-passt', readySocket: socket('net2') },
    ]);
    expect(context.helpers[1]?.args.slice(4)).toEqual([
      '--interface',
      'eth0',
      '--log-file',
      '/l',
      '--tcp-ports',
      '22:2022',
    ]);
  });

  it.each([
    [[], '"reconnect-ms":5000,'],
    [['netdev-stream-reconnect-ms'], '"reconnect":5,'],
    [['netdev-stream-reconnect-ms', 'netdev-stream-reconnect'], ''],
  ] as const)('asks passt connections back as QEMU can, without %j', (without, expected) => {
    const { args } = bench("<interface type='user'><backend type='passt'/></interface>", { without });
    expect(args[0]).toContain(`"server":false,${expected}"id"`);
  });

  it("forwards ports on QEMU's own network where that is switched on", () => {
    const xml = `<interface type='user'>${MAC}<portForward proto='tcp' address='127.0.0.1'>
      <range start='80' end='82' to='8080'/><range start='81' exclude='yes'/></portForward></interface>`;
    expect(bench(xml).faults.join()).toContain("<backend type='passt'/>");
    const { args, faults } = bench(xml, { config: { slirpPortForward: true } });
    expect(faults).toEqual([]);
    expect(args[0]).toContain('"hostfwd":[{"str":"tcp:127.0.0.1:80-:8080"},{"str":"tcp:127.0.0.1:82-:8082"}]');
  });
});

describe('interface cards', () => {
  it('carries every virtio option', () => {
    const { args, faults } = bench(`<interface type='bridge'>${MAC}<source bridge='b'/>
      <model type='virtio-non-transitional'/><mtu size='1400'/><teaming type='persistent'/>
      <driver txmode='iothread' ioeventfd='on' event_idx='off' rx_queue_size='512' tx_queue_size='256' rss='on'
        rss_hash_report='off' iommu='on' ats='on' packed='on' page_per_vq='off'>
        <host csum='off' gso='off' tso4='on' tso6='on' ecn='on' ufo='on' mrg_rxbuf='off'/>
        <guest csum='off' tso4='on' tso6='on' ecn='on' ufo='on'/></driver>
      <rom bar='on' file='/r,x'/><alias name='ua-n'/><boot order='3'/></interface>`);
    expect(faults).toEqual([]);
    expect(JSON.parse(args[1]?.slice('-device '.length) ?? '')).toEqual({
      driver: 'virtio-net-pci-non-transitional',
      iommu_platform: true,
      ats: true,
      packed: true,
      'page-per-vq': false,
      tx: 'bh',
      ioeventfd: true,
      event_idx: false,
      csum: false,
      gso: false,
      host_tso4: true,
      host_tso6: true,
      host_ecn: true,
      host_ufo: true,
      mrg_rxbuf: false,
      guest_csum: false,
      guest_tso4: true,
      guest_tso6: true,
      guest_ecn: true,
      guest_ufo: true,
      rx_queue_size: 512,
      tx_queue_size: 256,
      rss: true,
      hash: false,
      host_mtu: 1400,
      failover: true,
      netdev: 'hostua-n',
      id: 'ua-n',
      mac: '52:54:00:00:00:01',
      bootindex: 3,
      rombar: 1,
      romfile: '/r,x',
    });
  });

  it('takes a link down once QEMU is up', () => {
    const { context } = bench("<interface type='user'><link state='down'/></interface>");
    expect(context.deferred).toEqual([{ command: 'set_link', arguments: { name: 'net0', up: false } }]);
  });

  it('counts interfaces and host devices apart', () => {
    const { domain } = bench(`<interface type='user'/><interface type='user'><alias name='ua-a'/></interface>
      <interface type='hostdev'><source><address type='pci' bus='3' slot='1' function='0'/></source></interface>
      <interface type='user'/>
      <hostdev mode='subsystem' type='pci'><source><address bus='4' slot='1' function='0'/></source></hostdev>`);
    expect(domain.devices?.interfaces.map(({ alias }) => alias?.name)).toEqual(['net0', 'ua-a', 'hostdev0', 'net1']);
    expect(domain.devices?.hostdevs.map(({ alias }) => alias?.name)).toEqual(['hostdev1']);
  });

  it('makes up addresses from the random bytes that it is given', () => {
    const { domain } = bench("<interface type='user'/>", { randomBytes: () => Uint8Array.of(1, 0xab, 0xff) });
    expect(domain.devices?.interfaces[0]?.mac?.address).toBe('52:54:00:01:ab:ff');
  });

  it.each([
    ["<interface type='network'><target dev='vnet3'/></interface>", undefined],
    ["<interface type='direct'><target dev='macvtap3'/></interface>", undefined],
    ["<interface type='ethernet'><target dev='vnet3' managed='no'/></interface>", 'vnet3'],
    ["<interface type='bridge'><target dev='mytap'/></interface>", 'mytap'],
  ])('keeps the device name of %s: %s', (xml, kept) => {
    const { domain } = bench(xml, { families: [{ ...networkInterface, plan: () => [] }] });
    expect(domain.devices?.interfaces[0]?.target?.dev).toBe(kept);
  });

  it.each([
    ["type='bridge'>", 'needs <source bridge=…>'],
    ["type='null'>", "no interfaces of type 'null'"],
    ["type='user'><mac address='01:00:00:00:00:00'/>", 'multicast'],
    ["type='user'><model type='a,b'/>", 'letters, digits'],
    ["type='user'><model type='virtio'/><driver queues='4'/>", 'more than one queue'],
    ["type='user'><model type='e1000'/><driver iommu='on'/>", 'only for virtio cards'],
    ["type='user'><backend tap='/dev/x'/>", 'a tap device path'],
    ["type='user'><backend logFile='/l'/>", "'logFile' goes with"],
    ["type='user'><mtu size='1400'/>", 'an MTU'],
    ["type='user'><script path='/s'/>", 'a script'],
    ["type='user'><ip address='10.0.0.0' prefix='30'/>", 'outside 4 to 27'],
    ["type='user'><ip address='10.0.0.0'/><ip address='10.1.0.0'/>", 'takes one IPv4 address'],
    ["type='ethernet'><ip address='10.0.0.0'/>", 'on user-mode networks only'],
    ["type='ethernet'><model type='virtio'/><driver rx_queue_size='500'/>", 'not a power of two'],
    ["type='vhostuser'><source type='unix' path='/s' mode='server'/>", 'memory that is shared'],
    ["type='vhostuser'><source type='unix' path='/s' mode='server'/><model type='e1000'/>", "<model type='virtio'/>"],
    ["type='hostdev'><source><address type='pci' bus='0' slot='0x20' function='0'/></source>", 'above 0x1f'],
    ["type='user'><teaming type='transient' persistent='x'/>", "of type 'hostdev', not 'user'"],
  ])('refuses <interface %s', (xml, message) => {
    const { faults } = bench(`<interface ${xml}</interface>`, { families: [{ ...networkInterface, plan: () => [] }] });
    expect(faults.join('\n')).toContain(message);
  });
});

describe('formatPortForward', () => {
  it.each([
    [{ proto: 'tcp', ranges: [] }, 'all'],
    [{ proto: 'tcp', address: '1.2.3.4', dev: 'eth0', ranges: [] }, '1.2.3.4%eth0/all'],
    [
      {
        proto: 'udp',
        ranges: [
          { start: 1, end: 3, to: 11 },
          { start: 2, exclude: true },
        ],
      },
      '1-3:11-13,~2',
    ],
  ] as const)('%j is %s', (forward, expected) => {
    expect(formatPortForward({ ...forward, ranges: [...forward.ranges] })).toBe(expected);
  });

  it('keeps the length of a range', () => {
    const port = fc.integer({ min: 1, max: 20_000 });
    fc.assert(
      fc.property(port, port, port, (start, length, to) => {
        const text = formatPortForward({ proto: 'tcp', ranges: [{ start, end: start + length, to }] });
        const numbers = text.split(/[:-]/).map(Number);
        expect((numbers[3] ?? 0) - (numbers[2] ?? 0)).toBe(length);
      }),
      { numRuns: 50 },
    );
  });
});

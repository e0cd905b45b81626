/** The pure parts of starting a network: names and addresses that are chosen, ports, routes of the host, dnsmasq's words. */
import { describe, expect, it } from 'vitest';
import { formatSubnet, type Subnet } from '../../model/network/ip-subnet.ts';
import { type BridgedNetwork, type Network, parseNetwork } from '../../model/network/network.ts';
import { planBridge } from '../../network/bridge/bridge-plan.ts';
import type { PciAddress } from '../guest-sources.ts';
import { inlineHosts, needsDnsmasq, planDnsmasq } from './dnsmasq-config.ts';
import { isFree, parseIpv4Routes, parseIpv6Routes, requireFreeSubnets } from './host-routes.ts';
import { completeNetwork, defaultNetwork, defaultSubnets } from './network-completion.ts';
import { describePort, type PortRecord, planPort } from './network-ports.ts';

const NONE = { bridges: new Map<string, string>(), devices: (): string[] => [] };
const OWNER = { name: 'g', uuid: '09b11c53-8b5c-4eeb-8f00-d84eaa0aaa3a' };

function subnet(text: string): Subnet {
  const found = defaultSubnets().find((candidate) => formatSubnet(candidate) === text);
  if (found === undefined) throw new Error(text);
  return found;
}

describe('completing', () => {
  it('takes the first bridge that neither networks nor the host have', () => {
    const bridges = new Map([['virbr0', 'other']]);
    const made = completeNetwork(parseNetwork('<network><name>n</name></network>'), {
      bridges,
      devices: () => ['virbr1'],
    });
    expect(made).toMatchObject({
      bridge: { name: 'virbr2', stp: true, delay: 0 },
      mac: { address: expect.stringMatching(/^52:54:00:/) },
    });
    expect(made.uuid).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('refuses the bridge of another network and names that are none', () => {
    const named = (name: string): Network => parseNetwork(`<network><name>n</name><bridge name='${name}'/></network>`);
    expect(() => completeNetwork(named('b0'), { ...NONE, bridges: new Map([['b0', 'other']]) })).toThrow(
      /bridge name 'b0' already in use/,
    );
    expect(() => completeNetwork(named('a/b'), NONE)).toThrow(/is no name for a device/);
    expect(() => completeNetwork(named('sixteen-letters0'), NONE)).toThrow(/is no name for a device/);
  });

  it('looks for a free subnet for the default network, libvirt’s own first', () => {
    expect(formatSubnet(defaultSubnets()[0] ?? subnet(''))).toBe('192.168.122.1/24');
    const host = parseIpv4Routes(
      'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\neth0\t00007AC0\t0\t0\t0\t0\t0\t0000FFFF\n'
        .replace('00007AC0', '007AA8C0')
        .replace('0000FFFF', '00FFFFFF'),
    );
    expect(isFree(subnet('192.168.122.1/24'), host, [])).toBe(false);
    expect(isFree(subnet('192.168.123.1/24'), host, [defaultNetwork(subnet('192.168.123.1/24'))])).toBe(false);
    expect(isFree(subnet('192.168.124.1/24'), host, [])).toBe(true);
    expect(() => requireFreeSubnets(defaultNetwork(subnet('192.168.122.1/24')), host)).toThrow(
      /already in use by interface eth0/,
    );
  });

  it('reads IPv6 routes without those that every device has', () => {
    const text = [
      'fd770000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0',
      'fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0',
      'ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0',
    ].join('\n');
    expect(parseIpv6Routes(text).map((route) => formatSubnet(route.subnet))).toEqual(['fd77::/64']);
  });
});

describe('the bridge', () => {
  it('is made with its MAC address, MTU and STP, and has IPv6 only where the network does', () => {
    const network = completeNetwork(
      parseNetwork(
        "<network><name>n</name><forward mode='route'/><bridge name='b0' delay='2' macTableManager='libvirt'/><mtu size='9000'/><mac address='52:54:00:01:02:03'/><ip address='10.0.0.1' prefix='24'/><route address='10.1.0.0' prefix='16' gateway='10.0.0.2' metric='5'/></network>",
      ),
      NONE,
    ) as Network as BridgedNetwork;
    expect(planBridge(network)).toEqual({
      name: 'b0',
      mac: '52:54:00:01:02:03',
      make: [
        'link add name b0 address 52:54:00:01:02:03 mtu 9000 type bridge forward_delay 200 stp_state 1 vlan_filtering 1',
      ],
      settings: [
        { path: 'ipv6/conf/b0/disable_ipv6', value: '1' },
        { path: 'ipv6/conf/b0/accept_ra', value: '0' },
        { path: 'ipv6/conf/b0/autoconf', value: '0' },
      ],
      bringUp: [
        'address add 10.0.0.1/24 broadcast 10.0.0.255 dev b0',
        'link set dev b0 up',
        'route add 10.1.0.0/16 via 10.0.0.2 dev b0 metric 5',
      ],
      forwarding: [{ path: 'ipv4/ip_forward', value: '1' }],
    });
  });
});

describe('dnsmasq', () => {
  it('reads hosts from its one file, as others of ours it may not open', () => {
    const network = completeNetwork(
      parseNetwork(
        "<network><name>n</name><domain name='lab'/><dns><host ip='10.0.0.9'><hostname>nine</hostname><hostname>nine.org</hostname></host></dns><ip address='10.0.0.1' prefix='24' localPtr='yes'><dhcp><host mac='52:54:00:00:00:01' ip='10.0.0.5'/></dhcp></ip></network>",
      ),
      NONE,
    ) as Network as BridgedNetwork;
    const text = inlineHosts(planDnsmasq(network, { hostsFile: '/h', addnHostsFile: '/a' }), network);
    expect(text).toContain('local=/0.0.10.in-addr.arpa/\n');
    expect(text).toContain('dhcp-option=3\nno-resolv\nra-param=*,0,0\n');
    expect(text).toContain('dhcp-host=52:54:00:00:00:01,10.0.0.5\nhost-record=nine,nine.lab,nine.org,10.0.0.9\n');
    expect(text).not.toMatch(/hostsfile|addn-hosts/);
  });

  it('is not needed without addresses, or with nothing to serve', () => {
    const of = (rest: string): Network => parseNetwork(`<network><name>n</name>${rest}</network>`);
    expect(needsDnsmasq(of(''))).toBe(false);
    expect(needsDnsmasq(of("<ip address='10.0.0.1' prefix='24'/>"))).toBe(true);
    expect(needsDnsmasq(of("<dns enable='no'/><ip address='10.0.0.1' prefix='24'/>"))).toBe(false);
    expect(needsDnsmasq(of("<dns enable='no'/><ip address='10.0.0.1' prefix='24'><tftp root='/'/></ip>"))).toBe(true);
  });
});

describe('ports', () => {
  const iface = (portgroup?: string): Parameters<typeof planPort>[1] => ({
    mac: { address: '52:54:00:00:00:01' },
    source: { portgroup },
  });
  const plan = (
    network: Network,
    ports: PortRecord[] = [],
    functionsOf?: (device: string) => PciAddress[],
  ): PortRecord => planPort(network, iface(), OWNER, { uuid: OWNER.uuid, ports, ...(functionsOf && { functionsOf }) });

  it('take the device that fewest use, and in passthrough one that nobody does', () => {
    const pool = (mode: string): Network =>
      parseNetwork(
        `<network><name>p</name><forward mode='${mode}'><interface dev='a'/><interface dev='b'/></forward></network>`,
      );
    const shared = [plan(pool('bridge')), plan(pool('bridge'), [plan(pool('bridge'))])];
    expect(shared.map(({ attachment }) => attachment)).toEqual([
      { type: 'direct', dev: 'a', mode: 'bridge' },
      { type: 'direct', dev: 'b', mode: 'bridge' },
    ]);
    const taken = [plan(pool('passthrough'))];
    taken.push(plan(pool('passthrough'), taken));
    expect(() => plan(pool('passthrough'), taken)).toThrow(
      /requires exclusive access to interfaces, but none are available/,
    );
  });

  it('take virtual functions one by one', () => {
    const network = parseNetwork(
      "<network><name>h</name><forward mode='hostdev' managed='yes'><pf dev='eth0'/></forward></network>",
    );
    const functions = [{ domain: 0, bus: 4, slot: 0, function: 1 }];
    const first = plan(network, [], () => functions);
    expect(describePort(first)).toContain("<plug type='hostdev-pci' managed='yes'>");
    expect(() => plan(network, [first], () => functions)).toThrow(/none are available/);
  });

  it('get from the portgroup what they do not say themselves', () => {
    const network = parseNetwork(
      "<network><name>n</name><bridge name='b0'/><port isolated='yes'/><portgroup name='slow' default='yes'><bandwidth><inbound average='10'/></bandwidth></portgroup></network>",
    );
    const port = plan(network);
    expect(port).toMatchObject({
      attachment: { type: 'bridge', bridge: 'b0' },
      definition: {
        bandwidth: { inbound: { average: 10 } },
        port: { isolated: true },
        plug: { type: 'network', bridge: 'b0' },
      },
    });
    expect(
      planPort(network, iface('none'), OWNER, { uuid: OWNER.uuid, ports: [] }).definition.bandwidth,
    ).toBeUndefined();
  });
});

import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import type { NetworkAttachment } from '../../guest-sources.ts';
import { planContainerNetwork, planLinkRemoval } from './container-network.ts';

function plan(devices: string, attachment?: NetworkAttachment) {
  let next = 0;
  const { domain } = parseDomain(`<domain type='lxc'><name>x</name><devices>${devices}</devices></domain>`);
  return planContainerNetwork(domain, {
    pid: 77,
    attachmentOf: () => attachment,
    freeName: (prefix) => `${prefix}${next++}`,
  });
}

describe('planContainerNetwork', () => {
  it('connects a pair to a bridge, and sets up its end inside', () => {
    const { host, inside, hostEnds } = plan(
      `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><port isolated='yes'/>
         <ip address='10.0.0.2' family='ipv4' prefix='24'/><ip address='fd00::2' family='ipv6' prefix='64'/>
         <route family='ipv4' address='0.0.0.0' gateway='10.0.0.1'/>
         <route family='ipv6' address='fd01::' prefix='32' gateway='fd00::1' metric='5'/>
         <guest dev='lan'/><mtu size='1400'/></interface>`,
    );
    expect(hostEnds).toEqual(['vnet0']);
    expect(host).toEqual([
      'link add name vnet0 type veth peer name lan netns 77',
      'link set dev vnet0 mtu 1400',
      'link set dev vnet0 master br0',
      'link set dev vnet0 type bridge_slave isolated on',
      'link set dev vnet0 up',
    ]);
    expect(inside).toEqual([
      'link set dev lo up',
      'link set dev lan address 52:54:00:00:00:01',
      'link set dev lan mtu 1400',
      'addr add 10.0.0.2/24 dev lan broadcast +',
      'addr add fd00::2/64 dev lan nodad',
      'link set dev lan up',
      'route add 0.0.0.0/0 via 10.0.0.1 dev lan',
      'route add fd01::/32 via fd00::1 dev lan metric 5',
    ]);
  });

  it('numbers interfaces without names, keeps given host ends, leaves cut links down', () => {
    const { host, inside, hostEnds } = plan(
      `<interface type='ethernet'><target dev='box0'/></interface>
       <interface type='ethernet'><target dev='vnet9'/><link state='down'/><route address='10.1.0.0' netmask='255.255.0.0' gateway='10.0.0.1'/></interface>`,
    );
    expect(hostEnds).toEqual(['box0', 'vnet0']);
    expect(host[0]).toBe('link add name box0 type veth peer name eth0 netns 77');
    expect(inside).toEqual(['link set dev lo up', 'link set dev eth0 up']);
  });

  it('routes by netmask, and to single addresses', () => {
    const { inside } = plan(
      `<interface type='ethernet'><route address='10.1.0.0' netmask='255.255.0.0' gateway='10.0.0.1'/><route address='10.2.0.1' gateway='10.0.0.1'/></interface>`,
    );
    expect(inside.slice(-2)).toEqual([
      'route add 10.1.0.0/16 via 10.0.0.1 dev eth0',
      'route add 10.2.0.1/32 via 10.0.0.1 dev eth0',
    ]);
  });

  it('makes macvlans of direct ones, by the definition or by the network', () => {
    const lines = ['link add link eno1 name eth0 netns 77 type macvlan mode bridge'];
    expect(plan("<interface type='direct'><source dev='eno1' mode='bridge'/></interface>").host).toEqual(lines);
    const network = "<interface type='network'><source network='lan'/></interface>";
    expect(plan(network, { type: 'direct', dev: 'eno1', mode: 'bridge' }).host).toEqual(lines);
    expect(plan(network, { type: 'bridge', bridge: 'virbr0' }).host).toContain('link set dev vnet0 master virbr0');
  });

  it('gives devices of the host away', () => {
    const { host, inside } = plan(
      "<hostdev mode='capabilities' type='net'><source><interface>eno2</interface></source><ip address='10.0.0.3' prefix='8'/></hostdev>",
    );
    expect(host).toEqual(['link set dev eno2 netns 77']);
    expect(inside).toEqual(['link set dev lo up', 'addr add 10.0.0.3/8 dev eno2 broadcast +', 'link set dev eno2 up']);
  });

  it('takes single ones away again', () => {
    const options = { isHosts: false, home: 5 };
    expect(planLinkRemoval({ name: 'eth0', hostEnd: 'vnet3' }, options)).toEqual({
      host: ['link delete dev vnet3'],
      inside: [],
    });
    expect(planLinkRemoval({ name: 'eth1' }, options)).toEqual({ host: [], inside: ['link delete dev eth1'] });
    expect(planLinkRemoval({ name: 'eno2' }, { isHosts: true, home: 5 }).inside).toEqual([
      'link set dev eno2 down',
      'link set dev eno2 netns 5',
    ]);
  });

  it.each([
    ["<interface type='network'><source network='lan'/></interface>", /no virtual network 'lan'/],
    ["<interface type='user'/>", /how users without root/],
    ["<interface type='bridge'/>", /names no bridge/],
    [
      "<interface type='direct'><source dev='eno1'/><bandwidth><inbound average='9'/></bandwidth></interface>",
      /macvlan cannot be limited/,
    ],
    ["<interface type='ethernet'><guest dev='a b'/></interface>", /'a b' is no name of an interface/],
    ["<interface type='ethernet'><target dev='much-too-long-name'/></interface>", /is no name of an interface/],
  ])('%s is refused', (devices, message) => {
    expect(() => plan(devices)).toThrow(message);
  });
});

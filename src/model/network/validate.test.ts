import { describe, expect, it } from 'vitest';
import { parseNetwork } from './network.ts';

const IP = "<ip address='10.0.0.1' netmask='255.255.255.0'/>";
const served = (dhcp: string): string => `<ip address='10.0.0.1' netmask='255.255.255.0'><dhcp>${dhcp}</dhcp></ip>`;

function problemOf(inner: string, name = 'n'): string {
  try {
    parseNetwork(`<network><name>${name}</name>${inner}</network>`);
    return 'sound';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe('network definitions', () => {
  it.each([
    [served("<range start='10.0.0.9' end='10.0.0.2'/>"), /is reversed/],
    [served("<range start='10.0.0.9' end='10.0.1.2'/>"), /not entirely within network 10\.0\.0\.0\/24/],
    [served("<range start='10.0.0.0' end='10.0.0.9'/>"), /is the network address/],
    [served("<range start='10.0.0.9' end='10.0.0.255'/>"), /is the broadcast address/],
    [
      served("<range start='10.0.0.9' end='10.0.0.20'/><range start='10.0.0.20' end='10.0.0.30'/>"),
      /overlaps range 10\.0\.0\.9/,
    ],
    [served("<host ip='10.0.0.9'/>"), /must have mac or name/],
    [served("<host mac='52:54:00:00:00:01'/>"), /missing IP address/],
    [served("<host mac='53:54:00:00:00:01' ip='10.0.0.9'/>"), /multicast/],
    [served("<host mac='52:54:00:00:00:01' name='9lives' ip='10.0.0.9'/>"), /begin with a letter/],
    [
      served("<host mac='52:54:00:00:00:01' ip='10.0.0.9'/>") +
        served("<host mac='52:54:00:00:00:01' ip='10.0.0.9'/>").replace('0.1', '0.2'),
      /multiple IPv4 dhcp/,
    ],
    ["<ip address='fd00::1' prefix='64'/>", /no family specified for non-IPv4/],
    ["<ip family='ipv4' address='fd00::1' prefix='64'/>", /family 'ipv4' specified for address/],
    ["<ip address='10.0.0.1' prefix='24' netmask='255.255.255.0'/>", /both a prefix and a netmask/],
    ["<ip address='10.0.0.1' netmask='255.0.255.0'/>", /invalid netmask or prefix/],
    [
      "<ip family='ipv6' address='fd00::1' prefix='80'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>",
      /needs prefix 64/,
    ],
    ["<ip netmask='255.255.255.0'/>", /without address/],
    [`${IP}<route address='10.1.0.1' prefix='24' gateway='10.0.0.2'/>`, /no network address/],
    [`${IP}<route address='10.1.0.0' prefix='24' gateway='10.2.0.2'/>`, /unreachable static route gateway/],
    ["<forward mode='nat'/>", /no IP address provided/],
    [`<forward mode='route'><nat/></forward>${IP}`, /<nat> can only be used/],
    [`<forward dev='a'><interface dev='b'/></forward>${IP}`, /must match the first interface/],
    [`<forward><interface dev='a'/><interface dev='b'/></forward>${IP}`, /several forwarding interfaces/],
    [`<forward mode='open' dev='a'/>${IP}`, /not allowed for network 'n' with forward mode='open'/],
    ["<forward mode='private'/>", /needs <interface dev/],
    ["<forward mode='bridge'><interface dev='a'/></forward><bridge name='b'/>", /but not both/],
    [`<forward mode='bridge'/><bridge name='b'/>${IP}`, /unsupported <ip>/],
    ["<forward mode='vepa'><interface dev='a'/></forward><bridge name='b'/>", /not allowed in vepa mode/],
    ["<vlan><tag id='3'/></vlan>", /whose type does not support it/],
    ["<virtualport type='openvswitch'/>", /no switch that knows it/],
    ["<portgroup name='a'/><portgroup name='a'/>", /same name 'a'/],
    ["<portgroup name='a' default='yes'/><portgroup name='b' default='yes'/>", /several default <portgroup>: a, b/],
    ["<dns><srv service='s' protocol='sctp'/></dns>", /only be tcp or udp/],
    ["<dns><srv service='s' protocol='tcp' port='3'/></dns>", /port specified without target/],
    ["<dns><txt name='a b' value='c'/></dns>", /prohibited space character/],
    ['<dns><forwarder/></dns>', /at least one of addr and domain/],
    [
      "<d:options xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><d:option value='a&#10;b'/></d:options>",
      /line breaks/,
    ],
    [
      "<p:portForward xmlns:p='urn:nestling:network:1.0' port='80' guest='a'/><p:portForward xmlns:p='urn:nestling:network:1.0' port='80' guest='b'/>",
      /forwarded twice/,
    ],
  ])('%s is refused', (inner, message) => expect(problemOf(inner)).toMatch(message));

  it('are named, and not as paths', () => {
    expect(problemOf('', 'a/b')).toMatch(/cannot contain '\/'/);
    expect(problemOf('', '  ')).toMatch(/the name is empty|lacks element/);
  });

  it.each([
    IP,
    "<ip address='10.0.0.1'/>",
    "<forward mode='open'/><ip address='10.0.0.1' prefix='24'/>",
    "<forward mode='bridge'/><bridge name='ovs'/><vlan><tag id='3'/></vlan><virtualport type='openvswitch'/>",
    "<forward mode='passthrough'><interface dev='a'/></forward><vlan><tag id='3'/></vlan>",
    "<ip family='ipv6' address='fd00::1' prefix='64'><dhcp><host id='0:1' ip='fd00::5'/></dhcp></ip>",
  ])('%s is sound', (inner) => expect(problemOf(inner)).toBe('sound'));
});

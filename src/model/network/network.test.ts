import { describe, expect, it } from 'vitest';
import { formatNetwork, forwardDevice, forwardMode, parseNetwork } from './network.ts';

const FULL = `<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0' xmlns:nestling='urn:nestling:network:1.0' ipv6='yes' trustGuestRxFilters='no'>
  <name>full</name>
  <uuid>16549389-9aa0-4dc6-a0f1-8eb8b668ae8e</uuid>
  <title>T</title>
  <metadata>
    <a:b xmlns:a="urn:a">x</a:b>
  </metadata>
  <forward dev='eth0' mode='nat'>
    <nat ipv6='yes'>
      <address start='1.2.3.4' end='1.2.3.5'/>
      <port start='1000' end='2000'/>
    </nat>
    <interface dev='eth0'/>
  </forward>
  <bridge name='virbrx' zone='z' stp='on' delay='3' macTableManager='libvirt'/>
  <mtu size='1400'/>
  <mac address='52:54:00:e5:1d:42'/>
  <domain name='ex.com' localOnly='yes'/>
  <dns forwardPlainNames='no'>
    <forwarder domain='x' addr='1.2.3.4'/>
    <txt name='n' value='v w'/>
    <srv service='s' protocol='tcp' domain='d' target='t' port='3'/>
    <host ip='192.168.50.9'>
      <hostname>a</hostname>
    </host>
  </dns>
  <bandwidth>
    <inbound average='100'/>
    <outbound average='100' peak='200' burst='300'/>
  </bandwidth>
  <port isolated='yes'/>
  <ip address='192.168.50.1' prefix='24' localPtr='yes'>
    <tftp root='/t'/>
    <dhcp>
      <range start='192.168.50.50' end='192.168.50.100'>
        <lease expiry='10' unit='minutes'/>
      </range>
      <host mac='52:54:00:AA:00:01' name='n7' ip='192.168.50.7'>
        <lease expiry='3' unit='hours'/>
      </host>
      <bootp file='f' server='10.0.0.1'/>
    </dhcp>
  </ip>
  <ip family='ipv6' address='2001:db8::1' prefix='64'>
  </ip>
  <route address='192.168.60.0' prefix='24' gateway='192.168.50.2' metric='2'/>
  <portgroup name='g' default='yes' trustGuestRxFilters='yes'>
    <virtualport type='openvswitch'/>
    <bandwidth>
      <inbound average='100'/>
    </bandwidth>
  </portgroup>
  <dnsmasq:options>
    <dnsmasq:option value='foo=bar'/>
  </dnsmasq:options>
  <nestling:portForward proto='tcp' address='127.0.0.1' port='2222' guest='debian' to='22'/>
</network>
`;

describe('a network definition', () => {
  it('is written in the order of libvirt, whatever the order and the prefixes it was read with', () => {
    expect(formatNetwork(parseNetwork(FULL))).toBe(FULL);
    const other = FULL.replaceAll('dnsmasq:', 'd:')
      .replace('xmlns:dnsmasq', 'xmlns:d')
      .replace('xmlns:nestling', 'xmlns:p');
    expect(formatNetwork(parseNetwork(other.replace('<nestling:', '<p:')))).toBe(FULL);
  });

  it('says defaults that libvirt says', () => {
    const text =
      "<network connections='3'><name>n</name><forward dev='eth1'/><ip family='ipv6' address='2001:db8:0::1' prefix='64'/></network>";
    const network = parseNetwork(text);
    expect(forwardMode(network)).toBe('nat');
    expect(forwardDevice(network)).toBe('eth1');
    expect(formatNetwork(network)).toBe(`<network>
  <name>n</name>
  <forward dev='eth1' mode='nat'>
    <nat>
      <port start='1024' end='65535'/>
    </nat>
    <interface dev='eth1'/>
  </forward>
  <bridge stp='on' delay='0'/>
  <ip family='ipv6' address='2001:db8::1' prefix='64'>
  </ip>
</network>
`);
  });

  it('gathers faults with their places', () => {
    expect(() => parseNetwork("<network><forward mode='nut'/><ip address='1.2.3'/></network>")).toThrow(
      /did you mean 'nat'[^]*not an IPv4 or IPv6 address|lacks element <name>/,
    );
  });
});

import { describe, expect, it } from 'vitest';
import { formatNetwork, parseNetwork } from '../../model/network/network.ts';
import type { NetworkUpdate } from '../network-operations.ts';
import { updateNetwork } from './network-update.ts';

const NETWORK = parseNetwork(
  `<network><name>n</name><forward mode='bridge'><interface dev='eth0'/></forward><portgroup name='a' default='yes'/></network>`,
);
const SERVED = parseNetwork(
  `<network><name>n</name><dns><txt name='t' value='v'/><host ip='10.0.0.9'><hostname>nine</hostname></host></dns>
  <ip address='10.0.0.1' netmask='255.255.255.0'><dhcp><range start='10.0.0.10' end='10.0.0.20'/><host mac='52:54:00:00:00:01' name='one' ip='10.0.0.5'/></dhcp></ip>
  <ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::10' end='fd00::20'/></dhcp></ip></network>`,
);

function change(
  network: typeof NETWORK,
  command: NetworkUpdate['command'],
  section: NetworkUpdate['section'],
  xml: string,
  parentIndex = -1,
): string {
  return formatNetwork(updateNetwork(network, { command, section, xml, parentIndex }));
}

describe('updateNetwork', () => {
  it('adds in front and at the end, and leaves the network before as it was', () => {
    const before = formatNetwork(SERVED);
    const last = change(SERVED, 'add-last', 'ip-dhcp-host', "<host mac='52:54:00:00:00:02' ip='10.0.0.6'/>");
    expect(last).toMatch(/00:01'[^]*00:02'/);
    const first = change(SERVED, 'add-first', 'ip-dhcp-host', "<host mac='52:54:00:00:00:02' ip='10.0.0.6'/>");
    expect(first).toMatch(/00:02'[^]*00:01'/);
    expect(formatNetwork(SERVED)).toBe(before);
  });

  it('finds the <ip> of an entry by the family of its address, or by its number', () => {
    const found = change(SERVED, 'add-last', 'ip-dhcp-host', "<host name='six' ip='fd00::6'/>");
    expect(found).toMatch(/fd00::10[^]*<host name='six' ip='fd00::6'\/>/);
    expect(() => change(SERVED, 'add-last', 'ip-dhcp-host', "<host name='six' ip='fd00::6'/>", 0)).toThrow(
      /not within network/,
    );
    expect(() => change(SERVED, 'add-last', 'ip-dhcp-range', "<range start='10.0.0.30' end='10.0.0.31'/>", 7)).toThrow(
      /no <ip> element found at index 7/,
    );
  });

  it('changes and deletes what matches', () => {
    expect(
      change(SERVED, 'modify', 'ip-dhcp-host', "<host mac='52:54:00:00:00:01' name='uno' ip='10.0.0.7'/>"),
    ).toMatch(/<host mac='52:54:00:00:00:01' name='uno' ip='10.0.0.7'\/>/);
    expect(change(SERVED, 'delete', 'ip-dhcp-host', "<host name='one'/>")).not.toContain('00:01');
    expect(change(SERVED, 'delete', 'dns-host', '<host><hostname>nine</hostname></host>')).not.toContain('nine');
    expect(change(NETWORK, 'add-last', 'forward-interface', "<interface dev='eth1'/>")).toMatch(
      /dev='eth0'[^]*eth0[^]*eth1/,
    );
    expect(change(NETWORK, 'modify', 'portgroup', "<portgroup name='a'/>")).not.toContain('default');
  });

  it.each([
    [
      'add-last',
      'ip-dhcp-host',
      "<host mac='52:54:00:00:00:01' ip='10.0.0.6'/>",
      /there is an existing dhcp host entry/,
    ],
    ['delete', 'ip-dhcp-host', "<host mac='52:54:00:00:00:09'/>", /couldn't locate a matching dhcp host/],
    ['delete', 'ip-dhcp-host', '<host/>', /couldn't locate a matching dhcp host/],
    ['modify', 'ip-dhcp-range', "<range start='10.0.0.10' end='10.0.0.20'/>", /cannot be modified/],
    ['add-last', 'ip-dhcp-range', "<range start='10.0.0.15' end='10.0.0.30'/>", /overlaps/],
    ['add-last', 'dns-txt', "<txt name='t' value='w'/>", /already at least one DNS TXT record/],
    ['add-last', 'domain', "<domain name='x'/>", /can't update 'domain' section/],
    ['add-last', 'dns-srv', "<txt name='t'/>", /the element is <txt>, not <srv>/],
  ] as const)('refuses to %s %s %s', (command, section, xml, message) => {
    expect(() => change(SERVED, command, section, xml)).toThrow(message);
  });
});

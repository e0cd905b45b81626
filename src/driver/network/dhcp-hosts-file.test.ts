import { describe, expect, it } from 'vitest';
import { formatNetwork, parseNetwork } from '../../model/network/network.ts';
import { parseHostsFile, readHostsFile } from './dhcp-hosts-file.ts';

const XML = `<network xmlns:nestling='urn:nestling:network:1.0'><name>n</name><ip address='10.0.3.1' netmask='255.255.255.0'>
  <dhcp><range start='10.0.3.2' end='10.0.3.254'/></dhcp></ip><nestling:dhcpHostsFile path='/none/dnsmasq-hosts.conf'/></network>`;
const NETWORK = parseNetwork(XML);
const read = (text: string): ReturnType<typeof parseHostsFile> => parseHostsFile(text, '/hosts', NETWORK);

describe('a file of DHCP hosts', () => {
  it('has names and addresses, as lxc-net, and what else dnsmasq takes', () => {
    const hosts = read(
      '# hosts\nweb,10.0.3.100\n\n 52:54:00:00:00:01 , db, 10.0.3.101, 1h # the data base\nid:*,set:red,10.0.3.102,infinite\r\nbad,ignore\n',
    );
    expect(hosts).toMatchObject([
      { line: 'web,10.0.3.100', name: 'web', addresses: ['10.0.3.100'] },
      { line: '52:54:00:00:00:01,db,10.0.3.101,1h', name: 'db', mac: '52:54:00:00:00:01' },
      { line: 'id:*,set:red,10.0.3.102,infinite', name: undefined },
      { line: 'bad,ignore', addresses: [] },
    ]);
  });

  it.each([
    ['web,10.0.3.100\nweb,10.0.3.101', /^\/hosts:2: 'web' is in line 1 already/],
    ['web,10.0.3.100\ndb,10.0.3.100', /^\/hosts:2: '10\.0\.3\.100' is in line 1 already/],
    ['web,192.168.1.1', /^\/hosts:1: address 192\.168\.1\.1 is in none of the network's subnets/],
    ['web', /no IP address/],
    ['web,10.0.3.300', /'10\.0\.3\.300' is neither/],
    ['a b,10.0.3.4', /'a b' is neither/],
    ['a,b,10.0.3.4', /two names, 'a' and 'b'/],
  ])('names the line that is none: %j', (text, message) => {
    expect(() => read(text)).toThrow(message);
  });

  it('is written into the definition, and must be there', () => {
    expect(parseNetwork(formatNetwork(NETWORK)).dhcpHostsFile).toEqual({ path: '/none/dnsmasq-hosts.conf' });
    expect(() => readHostsFile(NETWORK)).toThrow(
      /cannot read the DHCP hosts of network 'n': .*touch \/none\/dnsmasq-hosts\.conf/,
    );
    expect(() => parseNetwork(XML.replace('/none/', ''))).toThrow(/not absolute/);
    expect(() => parseNetwork(XML.replace(/<dhcp>[^]*<\/dhcp>/, ''))).toThrow(/no <dhcp>/);
  });
});

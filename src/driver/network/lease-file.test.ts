import { describe, expect, it } from 'vitest';
import { parseNetwork } from '../../model/network/network.ts';
import { leasesOf, parseLeaseFile } from './lease-file.ts';

const TEXT = `1795256083 52:54:00:00:00:01 10.0.0.13 guesty 01:52:54:00:00:00:01
0 06-52:54:00:00:00:02 10.0.0.14 * *
10 52:54:00:00:00:03 10.0.0.15 late *
1795256083 52:54:00:00:00:04 192.168.9.9 elsewhere *
duid 00:01:00:01:2f:3a:00:00:52:54:00:aa:bb:cc
1795256090 T12345 fd00::17 six 00:01:00:01:2f:3a:11:22:52:54:00:00:00:05
179525 half a line`;

describe('the lease file', () => {
  it('is read line by line, whatever is not a lease left out', () => {
    expect(parseLeaseFile(TEXT).map(({ address, mac, iaid, hostname }) => [address, mac, iaid, hostname])).toEqual([
      ['10.0.0.13', '52:54:00:00:00:01', undefined, 'guesty'],
      ['10.0.0.14', '52:54:00:00:00:02', undefined, undefined],
      ['10.0.0.15', '52:54:00:00:00:03', undefined, 'late'],
      ['192.168.9.9', '52:54:00:00:00:04', undefined, 'elsewhere'],
      ['fd00::17', '52:54:00:00:00:05', '12345', 'six'],
    ]);
  });

  it('tells leases of the network that have not ended', () => {
    const network = parseNetwork(
      "<network><name>n</name><ip address='10.0.0.1' prefix='16'/><ip family='ipv6' address='fd00::1' prefix='64'/></network>",
    );
    const leases = leasesOf(network, TEXT, { iface: 'virbr0', nowSeconds: 1_000n });
    expect(leases.map(({ address, prefix, expires }) => [address, prefix, expires])).toEqual([
      ['10.0.0.13', 16, 1795256083n],
      ['10.0.0.14', 16, 0n],
      ['fd00::17', 64, 1795256090n],
    ]);
    const one = leasesOf(network, TEXT, { iface: 'virbr0', nowSeconds: 0n, mac: '52:54:00:00:00:03' });
    expect(one).toMatchObject([{ address: '10.0.0.15', iface: 'virbr0', hostname: 'late' }]);
  });
});

/** Scalars of network definitions that other definitions have no use for. */
import { formatIp, parseIp } from '../../core/ip-address.ts';
import { mac, type ValueCodec, ValueError } from '../schema/values.ts';

/** An IPv4 or IPv6 address, kept in its shortest usual form. */
export const ipAddress: ValueCodec<string> = {
  describe: 'IPv4 or IPv6 address',
  parse: (text) => {
    const address = parseIp(text);
    if (address === undefined) throw new ValueError('is not an IPv4 or IPv6 address');
    return formatIp(address);
  },
  format: String,
};

/** A unicast MAC address, kept as it was written: DHCP hosts are compared and written so. */
export const hostMac: ValueCodec<string> = {
  describe: 'unicast MAC address',
  parse: (text) => {
    const first = Number.parseInt(mac.parse(text).slice(0, 2), 16);
    if (first % 2 === 1) throw new ValueError('is a multicast address: a DHCP host needs the MAC address of one card');
    return text;
  },
  format: String,
};

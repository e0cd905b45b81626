import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatIp, inSubnet, lastAddress, maskPrefix, networkAddress, parseIp, prefixMask } from './ip-address.ts';

const ip = (text: string): NonNullable<ReturnType<typeof parseIp>> => {
  const found = parseIp(text);
  if (found === undefined) throw new Error(`${inspect(text)} is no address`);
  return found;
};

describe('IP addresses', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['2001:0db8:0:0::0001', '2001:db8::1'],
    ['::', '::'],
    ['1::', '1::'],
    ['::ffff:10.1.2.3', '::ffff:10.1.2.3'],
    ['fe80:0:0:1:0:0:0:1', 'fe80:0:0:1::1'],
    ['1:0:2:0:3:0:4:0', '1:0:2:0:3:0:4:0'],
  ])('%s is written as %s', (text, written) => expect(formatIp(ip(text))).toBe(written));

  it.each(['', '10.0.0', '10.0.0.1/24', 'fe80::1%eth0', '1::2::3', 'host'])('%j is none', (text) =>
    expect(parseIp(text)).toBeUndefined(),
  );

  it('are the same after they were written and read', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        expect(ip(formatIp(ip(text)))).toEqual(ip(text));
      }),
    );
  });

  it('have subnets', () => {
    expect(formatIp(networkAddress(ip('192.168.1.77'), 26))).toBe('192.168.1.64');
    expect(formatIp(lastAddress(ip('192.168.1.77'), 26))).toBe('192.168.1.127');
    expect(inSubnet(ip('fd00::5'), ip('fd00::1'), 64)).toBe(true);
    expect(inSubnet(ip('fd00::5'), ip('10.0.0.1'), 24)).toBe(false);
    expect(maskPrefix(ip('255.255.255.0'))).toBe(24);
    expect(maskPrefix(ip('255.0.255.0'))).toBeUndefined();
    for (const prefix of [0, 1, 63, 64, 128]) expect(maskPrefix(prefixMask('ipv6', prefix))).toBe(prefix);
  });
});

/** How forwards are written on a command line. */
import { describe, expect, it } from 'vitest';
import { parseGuestEnd, parseHostEnd } from './network-forward.ts';

describe('ends of a forward', () => {
  it.each([
    ['2222', { proto: 'tcp', port: 2222 }],
    ['udp:53', { proto: 'udp', port: 53 }],
    ['tcp:192.0.2.1:80', { proto: 'tcp', address: '192.0.2.1', port: 80 }],
    ['[2001:db8::1]:80', { proto: 'tcp', address: '2001:db8::1', port: 80 }],
  ])('%s is a port of the host', (text, expected) => expect(parseHostEnd(text)).toEqual(expected));

  it.each(['', '0', '65536', 'sctp:80', 'host:80', '2001:db8::1:80', '80:'])('%j is none', (text) => {
    expect(() => parseHostEnd(text)).toThrow('a port of the host is [tcp|udp:][ADDRESS:]PORT');
  });

  it.each([
    ['web', { guest: 'web' }],
    ['web:22', { guest: 'web', to: 22 }],
    ['a:b:22', { guest: 'a:b', to: 22 }],
    ['192.168.122.7:22', { guest: '192.168.122.7', to: 22 }],
    ['fd00::7', { guest: 'fd00::7' }],
    ['[fd00::7]:22', { guest: 'fd00::7', to: 22 }],
  ])('%s is a guest', (text, expected) => expect(parseGuestEnd(text)).toEqual(expected));

  it.each(['', 'web:0', '[web]:22'])('%j is none', (text) => {
    expect(() => parseGuestEnd(text)).toThrow('a guest is NAME[:PORT] or ADDRESS[:PORT]');
  });
});

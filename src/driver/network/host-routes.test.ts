import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseNetwork } from '../../model/network/network.ts';
import { requireRouterAdvertisements, toldByRouters } from './host-routes.ts';

const ZERO = '0'.repeat(32);
const route = (flags: string, device: string): string =>
  `${ZERO} 00 ${ZERO} 00 ${ZERO} 00000400 00000001 00000000 ${flags} ${device}\n`;
const ROUTES =
  route('00450003', 'eth0') + route('00000001', 'eth1') + route('80200001', 'lo') + route('00440001', 'eth0');
const network = (
  rest: string,
  ip = "<ip family='ipv6' address='fd00::1' prefix='64'/>",
): ReturnType<typeof parseNetwork> => parseNetwork(`<network><name>n</name>${rest}${ip}</network>`);

describe('routes that routers have told', () => {
  let proc: string;
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'routes-'));
    mkdirSync(join(proc, 'net'));
    mkdirSync(join(proc, 'sys/net/ipv6/conf/eth0'), { recursive: true });
    writeFileSync(join(proc, 'net/ipv6_route'), ROUTES);
  });
  afterEach(() => rmSync(proc, { recursive: true }));
  const accept = (value: string): void => writeFileSync(join(proc, 'sys/net/ipv6/conf/eth0/accept_ra'), `${value}\n`);

  it('are found by their flags', () => {
    expect(toldByRouters(ROUTES)).toEqual(['eth0']);
  });

  it('keep a network from forwarding IPv6 that would make the kernel forget them', () => {
    accept('1');
    expect(() => requireRouterAdvertisements(network("<forward mode='route'/>"), proc)).toThrow(
      /interface eth0 .*sysctl -w net\.ipv6\.conf\.eth0\.accept_ra=2/,
    );
    accept('2');
    expect(() => requireRouterAdvertisements(network("<forward mode='route'/>"), proc)).not.toThrow();
  });

  it('are no matter of networks that forward no IPv6', () => {
    accept('1');
    expect(() => requireRouterAdvertisements(network(''), proc)).not.toThrow();
    const ipv4 = "<ip address='10.9.0.1' prefix='24'/>";
    expect(() => requireRouterAdvertisements(network("<forward mode='nat'/>", ipv4), proc)).not.toThrow();
  });
});

import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { planUserNetwork } from './user-network.ts';

const plan = (devices: string) =>
  planUserNetwork(parseDomain(`<domain type='lxc'><name>box</name><devices>${devices}</devices></domain>`).domain);

describe("<interface type='user'>", () => {
  it('is slirp4netns with what the definition says', () => {
    expect(
      plan(
        `<interface type='user'><mac address='52:54:00:11:22:33'/><ip family='ipv4' address='172.17.2.9' prefix='20'/>
         <ip family='ipv6' address='2001:db8:ac10:fd01::feed' prefix='64'/><guest dev='up'/><mtu size='1500'/>
         <portForward proto='tcp' address='127.0.0.1'><range start='2022' to='22'/></portForward>
         <portForward proto='udp'><range start='5000' end='5001'/></portForward></interface>`,
      ),
    ).toMatchObject({
      name: 'up',
      options: [
        '--configure',
        '--mtu=1500',
        '--disable-host-loopback',
        '--cidr=172.17.0.0/20',
        '--enable-ipv6',
        '--macaddress=52:54:00:11:22:33',
      ],
      forwards: [
        { proto: 'tcp', address: '127.0.0.1', port: 2022, guestPort: 22 },
        { proto: 'udp', address: undefined, port: 5000, guestPort: 5000 },
        { proto: 'udp', port: 5001, guestPort: 5001 },
      ],
    });
  });

  it('is not there without one', () => {
    expect(plan('')).toBeUndefined();
    expect(plan("<interface type='user'/>")).toMatchObject({ name: 'eth0', forwards: [] });
  });

  it.each([
    ["<interface type='user'/><interface type='user'/>", /has one/],
    ["<interface type='user'><link state='down'/></interface>", /always up/],
    ["<interface type='user'><bandwidth><inbound average='1'/></bandwidth></interface>", /cannot be limited/],
    ["<interface type='user'><ip address='10.0.0.1' prefix='30'/></interface>", /prefixes up to 25/],
    [
      "<interface type='user'><portForward proto='tcp' dev='eth0'><range start='1'/></portForward></interface>",
      /binds to addresses only/,
    ],
  ])('%s is refused', (devices, message) => {
    expect(() => plan(devices)).toThrow(message);
  });
});

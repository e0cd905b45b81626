/** What an interface of the host consists of: ports of a bridge, members of a bond, the interface below a VLAN. Pure. */
import { netLinkOf } from '../../host/net-link.ts';
import { BOND_MODES, type HostInterface } from '../../model/host-interface.ts';

/** What the kernel tells of one interface. */
export interface InterfaceFacts {
  attribute(name: string): string | undefined;
  entries(folder: string): string[];
  /** Text of `/proc/net/vlan/NAME`. */
  vlan(): string | undefined;
}

type Facts = (name: string) => InterfaceFacts;

export function describeInterface(name: string, factsOf: Facts): HostInterface {
  const size = Number(factsOf(name).attribute('mtu') ?? 0);
  return { ...describe(name, factsOf, new Set()), mtu: size > 0 ? { size } : undefined };
}

/** As a member of another: without its MTU. `above`: those that it is a part of; no interface is part of itself. */
function describe(name: string, factsOf: Facts, above: ReadonlySet<string>): HostInterface {
  const facts = factsOf(name);
  const type = typeOf(facts);
  const below = new Set([...above, name]);
  const members = (names: readonly string[]): HostInterface[] =>
    names.filter((member) => !below.has(member)).map((member) => describe(member, factsOf, below));
  switch (type) {
    case 'bridge':
      return { type, name, bridge: { ...bridgeOf(facts), interface: members(facts.entries('brif')) } };
    case 'bond': {
      const slaves = facts.entries('.').filter((entry) => entry.startsWith('slave_'));
      return { type, name, bond: { ...bondOf(facts), interface: members(slaves.map((entry) => entry.slice(6))) } };
    }
    case 'vlan':
      return { type, name, vlan: vlanOf(facts) };
    default:
      return ethernetOf(name, facts);
  }
}

function typeOf(facts: InterfaceFacts): 'ethernet' | 'bridge' | 'bond' | 'vlan' {
  const type = /^DEVTYPE=(.*)$/m.exec(facts.attribute('uevent') ?? '')?.[1];
  return type === 'bridge' || type === 'bond' || type === 'vlan' ? type : 'ethernet';
}

function ethernetOf(name: string, facts: InterfaceFacts): HostInterface {
  const address = facts.attribute('address');
  return {
    type: 'ethernet',
    name,
    link: netLinkOf((attribute) => facts.attribute(attribute)),
    mac: address === undefined || address === '' ? undefined : { address },
  };
}

function bridgeOf(facts: InterfaceFacts): { stp: 'on' | 'off' | undefined; delay: string | undefined } {
  const stp = facts.attribute('bridge/stp_state');
  return {
    stp: stp === '1' ? 'on' : stp === '0' ? 'off' : undefined,
    delay: facts.attribute('bridge/forward_delay'),
  };
}

const VALIDATIONS = [undefined, 'active', 'backup', 'all'] as const;

function bondOf(facts: InterfaceFacts): Omit<NonNullable<HostInterface['bond']>, 'interface'> {
  const number = (name: string): number => Number(facts.attribute(`bonding/${name}`) ?? 0);
  // `active-backup 1`: the kernel's word and number.
  const second = (name: string): number => Number(facts.attribute(`bonding/${name}`)?.split(' ')[1] ?? 0);
  const mode = BOND_MODES[second('mode')];
  const interval = number('arp_interval');
  const freq = number('miimon');
  if (interval > 0)
    return {
      mode,
      arpmon: {
        interval,
        target: facts.attribute('bonding/arp_ip_target'),
        validate: VALIDATIONS[second('arp_validate')],
      },
    };
  if (freq === 0) return { mode };
  const carrier = number('use_carrier') === 0 ? 'ioctl' : 'netif';
  return { mode, miimon: { freq, downdelay: number('downdelay'), updelay: number('updelay'), carrier } };
}

function vlanOf(facts: InterfaceFacts): HostInterface['vlan'] {
  const text = facts.vlan() ?? '';
  const tag = /VID: (\d+)/.exec(text)?.[1];
  const below = /^Device: (\S+)/m.exec(text)?.[1];
  return tag === undefined ? undefined : { tag, interface: below === undefined ? [] : [{ name: below }] };
}

/** What is planned for a network, as data and as texts, and what is read of others' rules. With real packets: tests/integration/network-firewall.test.ts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BridgedNetwork, parseNetwork } from '../../model/network/network.ts';
import type { FirewallFacts } from './facts.ts';
import { formatFirewallPlan } from './format.ts';
import { iptablesChains, iptablesRemoval, missingChains } from './iptables-text.ts';
import { networkRules, type ResolvedForward } from './network-rules.ts';
import { type FirewallBackend, planFirewall } from './plan.ts';
import { chainName, requireInterfaceName, tableName } from './rule-names.ts';
import { listedBaseChains, savedFilterChains } from './saved-rules.ts';

const FACTS: Pick<FirewallFacts, 'iptables' | 'commands' | 'foreign'> = {
  iptables: 'nft',
  commands: { legacy: 'iptables-legacy', nft: 'iptables-nft' },
  foreign: [],
};
const IP = "<ip address='192.168.122.1' netmask='255.255.255.0'/>";
const IP6 = "<ip family='ipv6' address='fd00:1::1' prefix='64'/>";
const FORWARD: ResolvedForward = { proto: 'tcp', port: 2222, guestAddress: '192.168.122.10', guestPort: 22 };

function network(forward: string, ips = IP): BridgedNetwork {
  const xml = `<network><name>n</name>${forward}<bridge name='virbr0'/><mac address='52:54:00:00:00:01'/>${ips}</network>`;
  // Bridge and MAC address are given.
  return parseNetwork(xml) as BridgedNetwork;
}

function text(forward: string, backend: FirewallBackend, ips = IP, forwards: readonly ResolvedForward[] = []): string {
  return formatFirewallPlan(planFirewall(network(forward, ips), { backend, facts: FACTS, forwards }));
}

describe('planFirewall', () => {
  it('masquerades in a table of its own, made anew in one transaction', () => {
    expect(text("<forward mode='nat'/>", 'nft')).toBe(`nft -f - <<'END'
add table ip nestling_virbr0
delete table ip nestling_virbr0
table ip nestling_virbr0 {
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname "virbr0" oifname "virbr0" accept
    oifname "virbr0" ip daddr 192.168.122.0/24 ct state established,related accept
    iifname "virbr0" ip saddr 192.168.122.0/24 accept
    oifname "virbr0" meta l4proto tcp reject with tcp reset
    oifname "virbr0" reject
    iifname "virbr0" meta l4proto tcp reject with tcp reset
    iifname "virbr0" reject
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 192.168.122.0/24 ip daddr 224.0.0.0/24 return
    ip saddr 192.168.122.0/24 ip daddr 255.255.255.255/32 return
    ip saddr 192.168.122.0/24 ip daddr 192.168.122.0/24 return
    ip saddr 192.168.122.0/24 meta l4proto tcp masquerade to :1024-65535
    ip saddr 192.168.122.0/24 meta l4proto udp masquerade to :1024-65535
    ip saddr 192.168.122.0/24 masquerade
  }
}
END
`);
  });

  it('fills in checksums of DHCP by other means, where nft has none', () => {
    const dhcp = IP.replace('/>', "><dhcp><range start='192.168.122.2' end='192.168.122.9'/></dhcp></ip>");
    expect(text('', 'nft', dhcp)).toContain('tc qdisc add dev virbr0 clsact 2>/dev/null   # if the kernel can\n');
    expect(text('', 'iptables', dhcp)).not.toContain('tc ');
  });

  it('has chains of its own with one jump each where it is iptables', () => {
    const plan = text("<forward mode='nat'/>", 'iptables');
    expect(plan).toContain("iptables-nft-restore --noflush <<'END'\n");
    const jumps = plan.split('\n').filter((line) => line.startsWith('-I '));
    expect(jumps).toEqual([
      '-I POSTROUTING 1 -j NESTLING_SRC_virbr0',
      '-I INPUT 1 -j NESTLING_INP_virbr0',
      '-I OUTPUT 1 -j NESTLING_OUT_virbr0',
      '-I FORWARD 1 -j NESTLING_FWR_virbr0',
      '-I FORWARD 2 -j NESTLING_FWA_virbr0',
      '-I POSTROUTING 1 -j NESTLING_SUM_virbr0',
    ]);
    expect(plan).toContain('-A NESTLING_SUM_virbr0 -o virbr0 -p udp --dport 68 -j CHECKSUM --checksum-fill');
  });

  it.each([
    [
      "<nat><address start='192.0.2.7' end='192.0.2.9'/><port start='500' end='1000'/></nat>",
      'nft',
      'udp snat to 192.0.2.7-192.0.2.9:500-1000',
    ],
    ["<nat><address start='192.0.2.7' end='192.0.2.7'/></nat>", 'nft', 'snat to 192.0.2.7:1024-65535'],
    ["<nat><port start='500' end='500'/></nat>", 'nft', 'masquerade to :500\n'],
    [
      "<nat><address start='192.0.2.7' end='192.0.2.9'/></nat>",
      'iptables',
      '-p tcp -j SNAT --to-source 192.0.2.7-192.0.2.9:1024-65535',
    ],
    [
      "<nat><address start='192.0.2.7' end='192.0.2.9'/></nat>",
      'iptables',
      '24 -j SNAT --to-source 192.0.2.7-192.0.2.9\n',
    ],
    ["<interface dev='eth0'/>", 'nft', 'iifname "eth0" oifname "virbr0" ip daddr 192.168.122.0/24 ct state'],
    ["<interface dev='eth0'/>", 'nft', 'oifname "eth0" ip saddr 192.168.122.0/24 masquerade'],
    ["<interface dev='eth0'/>", 'iptables', '-A NESTLING_SRC_virbr0 -o eth0 -s 192.168.122.0/24 -j MASQUERADE'],
  ] as const)('carries out %s with %s', (inside, backend, line) => {
    expect(text(`<forward mode='nat'>${inside}</forward>`, backend)).toContain(line);
  });

  it.each([
    ['', IP, [false, false]],
    ["<forward mode='nat'/>", IP, [true, false]],
    ["<forward mode='nat'/>", IP + IP6, [true, true]],
    ["<forward mode='route'/>", IP6, [true, true]],
    ["<forward mode='open'/>", IP, [false, false]],
  ])('says which families are to be forwarded: %s', (forward, ips, [ipv4, ipv6]) => {
    expect(planFirewall(network(forward, ips), { backend: 'nft', facts: FACTS }).forwarding).toEqual({ ipv4, ipv6 });
  });

  it('routes what is not masqueraded: IPv6 of a NAT network that does not say otherwise', () => {
    const source = (forward: string): unknown => networkRules(network(forward, IP6), 'ip6')?.masquerade;
    expect(source("<forward mode='nat'/>")).toBeUndefined();
    expect(source("<forward mode='nat'><nat ipv6='yes'/></forward>")).toHaveLength(5);
  });

  it('counts subnets behind guests as the network', () => {
    const route = "<route address='10.9.0.0' prefix='16' gateway='192.168.122.5'/>";
    expect(text("<forward mode='route'/>", 'nft', IP + route)).toContain(
      'iifname "virbr0" ip saddr 10.9.0.0/16 accept',
    );
  });

  it('makes nothing for an open network, unless it has forwards', () => {
    expect(text("<forward mode='open'/>", 'nft')).toBe('');
    const plan = planFirewall(network("<forward mode='open'/>"), { backend: 'nft', facts: FACTS, forwards: [FORWARD] });
    expect(plan.steps).toHaveLength(1);
    expect(formatFirewallPlan(plan)).not.toContain('reject');
  });

  it('sends on what comes to a port, wherever from, and guards what that opens', () => {
    const plan = text("<forward mode='nat'/>", 'nft', IP, [FORWARD]);
    expect(plan.match(/fib daddr type local tcp dport 2222 dnat to 192\.168\.122\.10:22/g)).toHaveLength(2);
    expect(plan).toContain('iifname "virbr0" ip daddr 127.0.0.0/8 drop');
    expect(plan).toContain('echo 1 >/proc/sys/net/ipv4/conf/virbr0/route_localnet');
    const bound = { ...FORWARD, address: '192.0.2.1' };
    expect(text("<forward mode='nat'/>", 'nft', IP, [bound])).not.toContain('route_localnet');
    const ip6 = { ...FORWARD, guestAddress: 'fd00:1::10' };
    const rules = text("<forward mode='nat'/>", 'iptables', IP + IP6, [ip6]);
    expect(rules).toContain(
      '! -d ::1/128 -p tcp --dport 2222 -m addrtype --dst-type LOCAL -j DNAT --to-destination [fd00:1::10]:22',
    );
  });

  it("lets guests through where others' rules refuse, and says so", () => {
    const forward = {
      name: 'ip filter FORWARD',
      family: 'ip',
      table: 'filter',
      hook: 'forward',
      refuses: true,
    } as const;
    const own = { name: 'inet mine f', family: 'inet', table: 'mine', hook: 'forward', refuses: true } as const;
    const facts = {
      ...FACTS,
      foreign: [
        { ...forward, iptables: 'legacy' as const },
        { ...own, iptables: undefined },
      ],
    };
    const plan = planFirewall(network("<forward mode='nat'/>"), { backend: 'nft', facts });
    expect(plan.steps.slice(1)).toMatchObject([{ kind: 'iptables', command: 'iptables-legacy', family: 'ip' }]);
    expect(Object.keys(plan.steps[1]?.kind === 'iptables' ? plan.steps[1].rules : {})).toEqual(['accept']);
    expect(plan.notes).toEqual([
      expect.stringContaining('rules made with iptables-legacy refuse packets too'),
      expect.stringContaining('nft insert rule inet mine f iifname virbr0 accept'),
    ]);
  });

  it('refuses modes that have no bridge of their own, and iptables where there is none', () => {
    const forward = { mode: 'bridge' as const, pfs: [], interfaces: [], addresses: [] };
    expect(() => networkRules({ ...network(''), forward }, 'ip')).toThrow("forward mode 'bridge'");
    const facts = { iptables: undefined, commands: {}, foreign: [] };
    expect(() => planFirewall(network(''), { backend: 'iptables', facts })).toThrow('Debian package iptables');
  });
});

describe('iptables texts', () => {
  const rules = networkRules(network("<forward mode='nat'/>"), 'ip') ?? {};
  const made = `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [1:60]
:NESTLING_FWA_virbr0 - [0:0]
:NESTLING_FWR_virbr0 - [0:0]
:NESTLING_FWR_other - [0:0]
-A INPUT -j NESTLING_INP_virbr0
-A OUTPUT -j NESTLING_OUT_virbr0
-A FORWARD -j NESTLING_FWR_virbr0
-A FORWARD -j DOCKER
-A FORWARD -j NESTLING_FWR_other
-A FORWARD -j NESTLING_FWA_virbr0
-A NESTLING_FWR_virbr0 -i virbr0 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
-A POSTROUTING -j NESTLING_SRC_virbr0
COMMIT
`;

  it('take the old jumps away and stand behind the refusals of all networks', () => {
    const lines = iptablesChains('virbr0', rules, made).split('\n');
    expect(lines.filter((line) => line.includes(' FORWARD '))).toEqual([
      '-D FORWARD -j NESTLING_FWR_virbr0',
      '-D FORWARD -j NESTLING_FWA_virbr0',
      '-I FORWARD 1 -j NESTLING_FWR_virbr0',
      '-I FORWARD 4 -j NESTLING_FWA_virbr0',
    ]);
    // Rules of somebody else's are never named.
    expect(lines.join('\n')).not.toMatch(/DOCKER|NESTLING_FWR_other/);
  });

  it('are empty where there is nothing to remove, and remove nothing of others', () => {
    expect(iptablesRemoval('virbr1', made)).toBe('');
    const removal = iptablesRemoval('virbr0', made);
    expect(removal).toContain('-D FORWARD -j NESTLING_FWR_virbr0');
    expect(removal).toContain('-X NESTLING_FWR_virbr0');
    expect(removal).not.toMatch(/DOCKER|other/);
  });

  it('tell which chains are not reached any more', () => {
    expect(missingChains('virbr0', rules, made)).toEqual(['NESTLING_SUM_virbr0']);
    expect(missingChains('virbr0', rules, made.replace('-A FORWARD -j NESTLING_FWR_virbr0\n', ''))).toContain(
      'NESTLING_FWR_virbr0',
    );
  });
});

describe('names', () => {
  it('fit into what iptables takes, whatever the bridge is called, and are no syntax', () => {
    const name = fc.string({ minLength: 1, maxLength: 15, unit: 'grapheme-ascii' });
    fc.assert(
      fc.property(name, (bridge) => {
        try {
          requireInterfaceName(bridge);
        } catch {
          return;
        }
        expect(chainName('reject', bridge)).toMatch(/^[\w.-]{1,28}$/);
        expect(tableName(bridge)).toMatch(/^[a-z][\w.-]+$/);
      }),
      { numRuns: 200 },
    );
  });

  it.each(['a b', 'a"b', 'br0;', '', 'eth*', 'sixteen-letters-', '-i'])('of interfaces are refused: %j', (name) => {
    expect(() => requireInterfaceName(name)).toThrow('cannot make firewall rules');
  });
});

describe("others' rules", () => {
  it('refuse by their policy, or by what a jump leads to; ours do not count', () => {
    const refusing = (saved: string): string[] =>
      savedFilterChains(saved, 'ip').flatMap(({ hook, refuses }) => (refuses ? [hook] : []));
    const chains = ':INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n';
    expect(refusing(`*filter\n${chains}COMMIT\n`)).toEqual([]);
    expect(refusing(`*filter\n${chains.replace('FORWARD ACCEPT', 'FORWARD DROP')}COMMIT\n`)).toEqual(['forward']);
    expect(refusing(`*filter\n${chains}-A INPUT -i x -j A\n-A A -g B\n-A B -j REJECT\nCOMMIT\n`)).toEqual(['input']);
    expect(refusing(`*filter\n${chains}-A FORWARD -j NESTLING_FWR_x\n-A NESTLING_FWR_x -j REJECT\nCOMMIT\n`)).toEqual(
      [],
    );
    expect(refusing(`*nat\n:INPUT DROP [0:0]\nCOMMIT\n`)).toEqual([]);
  });

  it('are found in what nft lists', () => {
    const listed = `table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
	chain DOCKER {
	}
}
table ip nestling_virbr0 {
	chain forward {
		type filter hook forward priority filter; policy accept;
	}
}
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
	}
}
`;
    expect(listedBaseChains(listed)).toMatchObject([
      { name: 'ip filter FORWARD', hook: 'forward', refuses: true },
      { name: 'inet firewalld filter_INPUT', hook: 'input', refuses: false },
    ]);
  });
});

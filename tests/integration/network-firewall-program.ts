/**
 * Run by `network-firewall.test.ts` in a network namespace that stands for a host: two networks with guests, and the outside. Carries out what its first argument
 * says and prints, as JSON, who reached whom and by which address it was seen.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { Ledger } from '../../src/core/ledger.ts';
import { collectGarbage } from '../../src/core/ledger-gc.ts';
import { type BridgedNetwork, parseNetwork } from '../../src/model/network/network.ts';
import { type NetworkFirewall, openFirewall } from '../../src/network/firewall/network-firewall.ts';
import type { FirewallBackend } from '../../src/network/firewall/plan.ts';
import { openPortForwards } from '../../src/network/forwards/port-forwards.ts';
import { NETWORK_RULE_REMOVERS } from '../../src/network/ledger-removers.ts';
import { ask, bePeer, Peer, type Probe, serve } from './network-peers.ts';

const [what = '', dir = '', backend = 'nft'] = process.argv.slice(2);
const notes: string[] = [];

/** Two networks: `one` has two guests, `two` has one. */
const NETS = { one: 100, two: 101 } as const;
const PLACES = {
  g1: { bridge: 'vbr100', net: 100, host: 10 },
  g2: { bridge: 'vbr100', net: 100, host: 11 },
  h1: { bridge: 'vbr101', net: 101, host: 10 },
} as const;

/** Where probes go to. */
const ADDRESSES: Readonly<Record<string, readonly [string, string]>> = {
  outside: ['192.0.2.2', '2001:db8::2'],
  host: ['192.0.2.1', '2001:db8::1'],
  gateway: ['192.168.100.1', 'fd00:100::1'],
  loopback: ['127.0.0.1', '::1'],
  g1: ['192.168.100.10', 'fd00:100::10'],
  g2: ['192.168.100.11', 'fd00:100::11'],
  h1: ['192.168.101.10', 'fd00:101::10'],
};

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function ip(...args: string[]): void {
  run('ip', ...args);
}

/** Commands of `ip`, one a line, in one process. */
function ipBatch(peer: Peer | undefined, lines: readonly string[]): void {
  const args =
    peer === undefined ? ['ip', '-batch', '-'] : ['nsenter', '-n', '-t', String(peer.pid), 'ip', '-batch', '-'];
  const [command = '', ...rest] = args;
  const { status, stderr } = spawnSync(command, rest, { input: `${lines.join('\n')}\n`, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

class Lab implements Disposable {
  readonly peers = new Map<string, Peer>();

  static async build(): Promise<Lab> {
    const lab = new Lab();
    ip('link', 'set', 'lo', 'up');
    for (const name of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']) {
      writeFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, '1');
    }
    ipBatch(
      undefined,
      Object.values(NETS).flatMap((number) => [
        `link add vbr${number} type bridge stp_state 0 forward_delay 0`,
        `addr add 192.168.${number}.1/24 dev vbr${number}`,
        `addr add fd00:${number}::1/64 dev vbr${number} nodad`,
        `link set vbr${number} up`,
      ]),
    );
    const names = [...Object.keys(PLACES), 'outside'];
    const peers = await Promise.all(names.map(() => Peer.start()));
    names.forEach((name, index) => {
      const peer = peers[index];
      if (peer !== undefined) lab.#plug(name, peer);
    });
    return lab;
  }

  #plug(name: string, peer: Peer): void {
    this.peers.set(name, peer);
    ipBatch(undefined, [`link add v-${name} type veth peer name eth0 netns ${peer.pid}`, `link set v-${name} up`]);
    const place = PLACES[name as keyof typeof PLACES] as (typeof PLACES)[keyof typeof PLACES] | undefined;
    if (place === undefined) {
      ipBatch(undefined, [`addr add 192.0.2.1/24 dev v-${name}`, `addr add 2001:db8::1/64 dev v-${name} nodad`]);
      ipBatch(peer, [
        'addr add 192.0.2.2/24 dev eth0',
        'addr add 2001:db8::2/64 dev eth0 nodad',
        'link set eth0 up',
        // It knows the way to the guests, so that only rules keep it out.
        ...Object.values(NETS).flatMap((net) => [
          `route add 192.168.${net}.0/24 via 192.0.2.1`,
          `route add fd00:${net}::/64 via 2001:db8::1`,
        ]),
      ]);
      return;
    }
    const { bridge, net, host } = place;
    ipBatch(undefined, [`link set v-${name} master ${bridge}`]);
    ipBatch(peer, [
      `addr add 192.168.${net}.${host}/24 dev eth0`,
      `addr add fd00:${net}::${host}/64 dev eth0 nodad`,
      'link set eth0 up',
      `route add default via 192.168.${net}.1`,
      `route add default via fd00:${net}::1`,
    ]);
  }

  /** `g1 tcp4 outside`: who is asked how by whom. A port may follow the name. */
  async probe(line: string): Promise<string> {
    const [from = '', how = '', to = ''] = line.split(' ');
    const [target = '', port] = to.split(':');
    const protocol = how.slice(0, -1) as Probe['protocol'];
    const address = ADDRESSES[target]?.[how.endsWith('4') ? 0 : 1] ?? '';
    const probe = { protocol, address, ...(port !== undefined && { port: Number(port) }) };
    return await (from === 'host' ? ask(probe) : (this.peers.get(from)?.ask(probe) ?? 'nobody'));
  }

  async probes(lines: readonly string[]): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    // One by one for each asker, all askers at once.
    const askers = new Map<string, string[]>();
    for (const line of lines)
      askers.set(line.split(' ')[0] ?? '', [...(askers.get(line.split(' ')[0] ?? '') ?? []), line]);
    await Promise.all(
      [...askers.values()].map(async (list) => {
        for (const line of list) found[line] = await this.probe(line);
      }),
    );
    return found;
  }

  [Symbol.dispose](): void {
    for (const peer of this.peers.values()) peer[Symbol.dispose]();
  }
}

function network(name: keyof typeof NETS, forward: string): BridgedNetwork {
  const number = NETS[name];
  const ips = `<ip address='192.168.${number}.1' prefix='24'/><ip family='ipv6' address='fd00:${number}::1' prefix='64'/>`;
  const xml = `<network><name>${name}</name>${forward}<bridge name='vbr${number}'/><mac address='52:54:00:00:00:0${number % 10}'/>${ips}</network>`;
  // Both are given.
  return parseNetwork(xml) as BridgedNetwork;
}

async function open(ledger: Ledger, of: BridgedNetwork): Promise<NetworkFirewall> {
  return await openFirewall(of, { ledger, backend: backend as FirewallBackend, onNote: (note) => notes.push(note) });
}

/** All rules and policies that there are, of every program, without counters, and without what is empty: built-in chains stay when somebody looked at them. */
function allRules(): string {
  const commands = ['iptables-legacy', 'ip6tables-legacy', 'iptables-nft', 'ip6tables-nft'];
  const saved = commands.flatMap((command) =>
    run(`${command}-save`)
      .split('\n')
      .filter((line) => !/^([#*]|COMMIT|$|:\S+ ACCEPT)/.test(line))
      .map((line) => `${command} ${line.replace(/ \[\d+:\d+\]/, '')}`),
  );
  const tables = run('nft', 'list', 'tables').split('\n');
  return [...saved, ...tables.filter((line) => !/^table ip6? (filter|nat|mangle|raw)$/.test(line))].join('\n');
}

const MODES: Readonly<Record<string, string>> = {
  nat: "<forward mode='nat'><nat ipv6='yes'/></forward>",
  'nat, IPv6 routed': "<forward mode='nat'/>",
  'nat, by an interface':
    "<forward mode='nat' dev='v-outside'><nat ipv6='yes'><port start='5000' end='6000'/></nat></forward>",
  'nat, by another interface': "<forward mode='nat' dev='lo'><nat ipv6='yes'/></forward>",
  route: "<forward mode='route'/>",
  isolated: '',
  open: "<forward mode='open'/>",
};

async function modes(): Promise<unknown> {
  using lab = await Lab.build();
  using ledger = Ledger.open(dir);
  const seen: Record<string, unknown> = {};
  const all = ['g1 outside', 'outside g1', 'g1 g2', 'g1 host', 'host g1', 'g1 h1', 'h1 g1'].flatMap((way) =>
    ['tcp4', 'tcp6'].map((how) => way.replace(' ', ` ${how} `)),
  );
  const lines = [
    ...all,
    'g1 udp4 outside',
    'g1 udp6 outside',
    'outside udp4 g1',
    'outside udp6 g1',
    'g1 ping4 outside',
    'h1 ping4 host',
    'g2 ping6 outside',
    'g2 ping4 g1',
  ];
  await serve();
  await using _two = await open(ledger, network('two', MODES['nat'] ?? ''));
  const before = allRules();
  for (const [mode, forward] of Object.entries(MODES)) {
    await using _one = await open(ledger, network('one', forward));
    seen[mode] = await lab.probes(
      mode === 'nat' ? lines : lines.filter((line) => !line.includes('udp') || line.includes('outside')),
    );
  }
  return { seen, left: allRules() === before, notes };
}

/** Everything is refused by rules of somebody else's, made with each of these commands; our networks work all the same. */
async function amongOthers(): Promise<unknown> {
  using lab = await Lab.build();
  using ledger = Ledger.open(dir);
  for (const command of (process.argv[5] ?? '').split(',')) {
    for (const chain of ['INPUT', 'FORWARD']) run(command, '-P', chain, 'DROP');
    run(command, '-A', 'FORWARD', '-i', 'somebody0', '-j', 'ACCEPT');
    run(command, '-A', 'INPUT', '-i', 'lo', '-j', 'ACCEPT');
    run(command, '-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'ESTABLISHED', '-j', 'ACCEPT');
  }
  const before = allRules();
  const lines = [
    'g1 tcp4 outside',
    'g1 udp6 outside',
    'outside tcp4 g1',
    'g1 udp4 gateway:67',
    'g1 udp4 gateway:53',
    'g1 tcp4 gateway:22',
  ];
  await serve();
  const without = await lab.probes(lines.slice(0, 1));
  const firewall = await open(ledger, network('one', MODES['nat'] ?? ''));
  const seen = await lab.probes(lines);
  await firewall[Symbol.asyncDispose]();
  return { without, seen, left: allRules() === before, notes };
}

async function forwards(): Promise<unknown> {
  using lab = await Lab.build();
  using ledger = Ledger.open(dir);
  const before = allRules();
  const seen: Record<string, unknown> = {};
  // Where bridges hand packets to the firewall, a guest does not reach itself through the host.
  for (const name of ['iptables', 'ip6tables']) {
    const path = `/proc/sys/net/bridge/bridge-nf-call-${name}`;
    if (existsSync(path)) writeFileSync(path, '0');
  }
  for (const mode of (process.argv[5] ?? '').split(',')) {
    const given = network('one', MODES[mode] ?? '');
    const addresses = new Map<string, string[]>();
    await using firewall = await open(ledger, given);
    await using table = await openPortForwards(given, {
      firewall,
      resolve: async (guest) => addresses.get(guest) ?? [],
      onNote: (note) => notes.push(note),
    });
    await table.add({ proto: 'tcp', port: 2222, guest: 'guest one', to: 22 });
    await table.add({ proto: 'udp', port: 5353, guest: 'guest one', to: 53 });
    await table.add({ proto: 'tcp', address: '192.0.2.1', port: 8080, guest: '192.168.100.11', to: 7777 });
    const early = await lab.probes(['outside tcp4 host:2222']);
    addresses.set('guest one', ['192.168.100.10', 'fd00:100::10']);
    await table.update();
    const lines = ['tcp4', 'tcp6', 'udp4', 'udp6'].flatMap((how) => {
      const port = how.startsWith('tcp') ? 2222 : 5353;
      return ['outside', 'host', 'g1', 'g2', 'h1'].map((from) => `${from} ${how} host:${port}`);
    });
    const more = [
      'host tcp4 loopback:2222',
      'host tcp6 loopback:2222',
      'host udp4 loopback:5353',
      'g2 tcp4 gateway:2222',
      'outside tcp4 host:8080',
      'host tcp4 loopback:8080',
    ];
    const all = await lab.probes([...lines, ...more]);
    await table.remove({ proto: 'tcp', port: 2222 });
    const removed = await lab.probes(['outside tcp4 host:2222', 'host tcp4 loopback:2222', 'outside udp4 host:5353']);
    seen[mode] = { early, all, removed };
  }
  return { seen, left: allRules() === before, notes };
}

/** A guest that sends packets to the host's loopback address to the bridge. */
async function guard(): Promise<unknown> {
  using lab = await Lab.build();
  using ledger = Ledger.open(dir);
  await serve();
  const guest = lab.peers.get('g2');
  if (guest === undefined) throw new Error('no guest');
  guest.run('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet');
  ipBatch(guest, [
    'addr del 127.0.0.1/8 dev lo',
    'link set lo down',
    'route add 127.0.0.0/8 via 192.168.100.1 src 192.168.100.11',
  ]);
  const given = network('one', MODES['nat'] ?? '');
  await using firewall = await open(ledger, given);
  writeFileSync('/proc/sys/net/ipv4/conf/vbr100/route_localnet', '1');
  const unguarded = await lab.probe('g2 tcp4 loopback');
  await firewall.setForwards([{ proto: 'tcp', port: 2222, guestAddress: '192.168.100.10', guestPort: 22 }]);
  const guarded = await lab.probe('g2 tcp4 loopback');
  const other = await lab.probe('host tcp4 loopback:2222');
  return { unguarded, guarded, other, notes };
}

/** Somebody flushes all rules; then the owner dies without a word. */
async function ends(): Promise<unknown> {
  ip('link', 'add', 'vbr100', 'type', 'bridge');
  const before = allRules();
  const flushed = await (async () => {
    using ledger = Ledger.open(dir);
    await using firewall = await open(ledger, network('one', MODES['nat'] ?? ''));
    const rules = allRules();
    const untouched = await firewall.refresh();
    run('nft', 'flush', 'ruleset');
    for (const table of ['filter', 'nat', 'mangle'])
      for (const flag of ['-F', '-X']) run('iptables-legacy', '-t', table, flag);
    const missed = await firewall.refresh();
    await firewall.update(network('one', MODES['route'] ?? ''));
    await firewall.update(network('one', MODES['nat'] ?? ''));
    return { untouched, missed, same: sorted(allRules()) === sorted(rules) };
  })();
  const child = spawnSync(process.execPath, [process.argv[1] ?? '', 'crash', dir, backend], { encoding: 'utf8' });
  const left = allRules();
  const { removed, failed } = await collectGarbage({ dir, removers: NETWORK_RULE_REMOVERS });
  return {
    flushed,
    signal: child.signal,
    left: left !== before,
    removed: removed.map(({ line }) => line),
    failed: failed.map(({ line }) => line),
    after: allRules() === before,
    notes,
  };
}

function sorted(rules: string): string {
  return rules.split('\n').sort().join('\n');
}

async function crash(): Promise<void> {
  const ledger = Ledger.open(dir);
  await open(ledger, network('one', MODES['nat'] ?? ''));
  process.kill(process.pid, 'SIGKILL');
}

const actions = new Map<string, () => Promise<unknown>>(
  Object.entries({ modes, amongOthers, forwards, guard, ends, crash, peer: bePeer }),
);
const result = await actions.get(what)?.();
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit();

/** What virtual networks need: a firewall that the kernel has, forwarding, dnsmasq, bridges that are not filtered. */
import { readdirSync } from 'node:fs';
import { type MacOwner, MacRegistry } from '../../model/domain/mac-registry.ts';
import {
  type FirewallFacts,
  type FirewallTrials,
  readFirewallFacts,
  tryFirewalls,
} from '../../network/firewall/facts.ts';
import { foreignNotes } from '../../network/firewall/plan.ts';
import { type DoctorHost, type Finding, isThere, lookUp, pass, readText, warn } from '../finding.ts';

const NETWORKS = 'NAT and port forwards of virtual networks do not work; user-mode networking does';

/** The two families of rules do not see each other: rules made with one tool are undone by packets that the other's drop. */
export async function checkFirewall(host: DoctorHost): Promise<Finding[]> {
  const { proc, uid, signal } = host;
  const facts = await readFirewallFacts({ proc, find: (program) => lookUp(host, program), signal });
  if (facts.iptables === undefined && facts.nft === undefined) {
    return [trouble('neither iptables nor nft is installed', NETWORKS, 'apt-get install nftables iptables')];
  }
  // Others than root are refused everything, whatever the kernel has.
  const trials = uid === 0 ? await tryFirewalls(facts, signal) : undefined;
  const fact = describe(facts, trials);
  const refused = trials === undefined ? [] : refusedPrograms(fact, facts, trials);
  const findings = [...refused, ...strangers(fact, facts)];
  return findings.length > 0 ? findings : [pass('firewall', 'firewall', fact)];
}

function trouble(fact: string, why: string, fix: string): Finding {
  return warn('firewall', 'firewall', fact, why, fix);
}

function describe({ iptables, nft }: FirewallFacts, trials: FirewallTrials | undefined): string {
  const works = (result: boolean | undefined): string =>
    result === undefined ? 'is there' : result ? 'works' : 'does not work';
  return [
    iptables === undefined ? undefined : `iptables is ${iptables === 'nft' ? 'nf_tables' : 'legacy'}`,
    nft === undefined ? undefined : `nft ${works(trials?.nft)}`,
  ]
    .filter(Boolean)
    .join(', ');
}

/** iptables of the wrong family for this kernel; nft does for our networks, but not for those of others. */
function refusedPrograms(fact: string, { iptables, nft }: FirewallFacts, trials: FirewallTrials): Finding[] {
  const works = { legacy: trials.legacy, nft: trials.iptablesNft };
  if (iptables !== undefined && works[iptables] !== true) {
    const other = iptables === 'legacy' ? 'nft' : 'legacy';
    const fix =
      works[other] === true
        ? `update-alternatives --set iptables ${alternative(other)}   # nestling ci prepare --firewall does it`
        : 'start the container with --cap-add NET_ADMIN, or load ip_tables and nf_tables on the host';
    const words = trials.words[iptables === 'nft' ? 'iptablesNft' : 'legacy'] ?? '';
    return [
      trouble(
        `${fact}, and it cannot list the nat table${words === '' ? '' : ` (${words})`}`,
        `the kernel does not have what this iptables wants; ${trials.nft === true ? "libvirt's networks and Docker do not work; ours do, with nft" : NETWORKS}`,
        fix,
      ),
    ];
  }
  if (nft === undefined || trials.nft !== false || iptables !== undefined) return [];
  return [trouble(`${fact} (${trials.words.nft ?? ''})`, NETWORKS, 'apt-get install iptables')];
}

/** Rules in the family that nobody looks at, and in places that nobody but their owner may add to. */
function strangers(fact: string, { iptables, foreign }: FirewallFacts): Finding[] {
  const refusing = foreign.filter(({ refuses, hook }) => refuses && hook !== 'output');
  const hidden = [...new Set(refusing.flatMap((chain) => chain.iptables ?? []))].filter(
    (family) => family !== iptables,
  );
  const findings = hidden.map((family) => {
    const names = [...new Set(refusing.filter((chain) => chain.iptables === family).map(({ name }) => name))].join(
      ', ',
    );
    return trouble(
      `${fact}, but rules made with iptables-${family} refuse packets too (${names})`,
      "a packet must pass both, and iptables shows one: guests on libvirt's networks and on bridges of your own lose theirs without a message; our networks let their guests through in both",
      `iptables-${family}-save   # shows them; then: update-alternatives --set iptables ${alternative(family)}, or flush them`,
    );
  });
  return [
    ...findings,
    ...foreignNotes('virbr0', foreign).map((note) => {
      const [what = '', fix = ''] = note.split(/: (?=nft |firewall-cmd )/);
      return trouble(`${fact}; ${what}`, 'nothing but its owner can let guests on virtual networks through there', fix);
    }),
  ];
}

function alternative(family: string): string {
  return `/usr/sbin/iptables-${family}`;
}

export function checkForwarding({ proc }: DoctorHost): Finding[] {
  const isOn = readText(`${proc}/sys/net/ipv4/ip_forward`) === '1';
  const findings = [
    isOn
      ? pass('ip-forward', 'IP forwarding', 'on')
      : warn(
          'ip-forward',
          'IP forwarding',
          'net.ipv4.ip_forward is 0',
          'guests on NAT or routed networks reach this host and no further',
          'sysctl -w net.ipv4.ip_forward=1',
        ),
  ];
  if (readText(`${proc}/sys/net/bridge/bridge-nf-call-iptables`) === '1') {
    findings.push(
      warn(
        'bridge-netfilter',
        'bridge netfilter',
        'bridged packets go through iptables',
        "Docker's rules (FORWARD drop) then drop guests' packets on bridges",
        'sysctl -w net.bridge.bridge-nf-call-iptables=0',
      ),
    );
  } else findings.push(pass('bridge-netfilter', 'bridge netfilter', 'bridged packets are not filtered'));
  return findings;
}

export function checkDnsmasq(host: DoctorHost): Finding[] {
  const path = lookUp(host, 'dnsmasq');
  if (path !== undefined) return [pass('dnsmasq', 'dnsmasq', path)];
  return [
    warn(
      'dnsmasq',
      'dnsmasq',
      'not installed',
      'virtual networks give guests no addresses without it',
      'apt-get install dnsmasq-base',
    ),
  ];
}

/** Where libvirt and this daemon keep what is defined. */
const DEFINITIONS = ['libvirt', 'nestling'].flatMap((keeper) => ['qemu', 'lxc'].map((driver) => ({ keeper, driver })));

/** Cards of defined domains of any driver; each file is merely looked through, whatever else is wrong with it. */
export function checkMacAddresses({ etc }: DoctorHost): Finding[] {
  const macs = new MacRegistry();
  const owners: MacOwner[] = DEFINITIONS.flatMap(({ keeper, driver }) => {
    const dir = `${etc}/${keeper}/${driver}`;
    const files = isThere(dir) ? readdirSync(dir).filter((file) => file.endsWith('.xml')) : [];
    return files.map((file) => {
      // One that both keep is one: it has moved from the one to the other.
      const owner = { name: file.slice(0, -'.xml'.length), uuid: `${driver}/${file}` };
      macs.note(owner, cardsIn(readText(`${dir}/${file}`) ?? ''));
      return owner;
    });
  });
  const clashes = new Map<string, string[]>();
  for (const { name, uuid } of owners) {
    for (const { mac, others } of macs.clashesOf(uuid)) clashes.set(mac, [...new Set([name, ...others])].toSorted());
  }
  if (clashes.size === 0) return [pass('mac-addresses', 'MAC addresses', `those of ${owners.length} domains differ`)];
  return [...clashes].map(([mac, names]) =>
    warn(
      'mac-addresses',
      'MAC addresses',
      names.length === 1 ? `domain ${names[0]} has ${mac} twice` : `domains ${names.join(', ')} have ${mac}`,
      'on one network they get the same IP address, and take each other’s packets',
      `virsh edit ${names.at(-1) ?? ''}   # without <mac …/> it gets another`,
    ),
  );
}

function cardsIn(xml: string): string[] {
  const cards = xml.match(/<interface\b[^]*?<\/interface>/g) ?? [];
  return cards.flatMap((card) => /<mac\s+address=['"]([\da-fA-F:]{17})['"]/.exec(card)?.[1] ?? []);
}

export function checkDefaultNetwork({ sys }: DoctorHost): Finding[] {
  const isUp = isThere(`${sys}/class/net/virbr0`);
  return [
    pass(
      'virbr0',
      'virbr0',
      isUp
        ? 'there'
        : "none: libvirt's network 'default' is not active; definitions with <source network='default'/> need it",
    ),
  ];
}

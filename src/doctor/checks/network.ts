/** What virtual networks need: a firewall that the kernel has, forwarding, dnsmasq, bridges that are not filtered. */
import { readlinkSync } from 'node:fs';
import { ask, type DoctorHost, type Finding, isThere, lookUp, pass, readText, warn } from '../finding.ts';

const NETWORKS = 'NAT and port forwards of virtual networks do not work; user-mode networking does';

/** The two families of rules do not see each other: rules made with one tool are undone by packets that the other's drop. */
export async function checkFirewall(host: DoctorHost): Promise<Finding[]> {
  const iptables = lookUp(host, 'iptables');
  const nft = lookUp(host, 'nft');
  if (iptables === undefined && nft === undefined) {
    return [
      warn(
        'firewall',
        'firewall',
        'neither iptables nor nft is installed',
        NETWORKS,
        'apt-get install nftables iptables',
      ),
    ];
  }
  const legacyTables = readText(`${host.proc}/net/ip_tables_names`)?.split('\n').filter(Boolean) ?? [];
  const backend = iptables === undefined ? undefined : await backendOf(host, iptables);
  const nftWorks =
    nft === undefined ? undefined : (await ask(host, 'unshare', '-n', nft, 'list', 'tables')).status === 0;
  const facts = [
    backend === undefined ? undefined : `iptables is ${backend}`,
    nftWorks === undefined ? undefined : nftWorks ? 'nft works' : 'nft does not work',
  ];
  const fact = facts.filter(Boolean).join(', ');
  if (backend === 'nf_tables' && legacyTables.length > 0) {
    return [
      warn(
        'firewall',
        'firewall',
        `${fact}, but legacy tables are loaded too (${legacyTables.join(', ')})`,
        'rules in the one family do not show in the other, and a packet must pass both: guests lose their network without a message',
        `iptables-legacy-save   # shows them; then: update-alternatives --set iptables ${alternative('legacy')}, or flush them`,
      ),
    ];
  }
  if (
    backend !== undefined &&
    host.uid === 0 &&
    (await ask(host, 'unshare', '-n', 'iptables', '-t', 'nat', '-L', '-n')).status !== 0
  ) {
    const other = backend === 'legacy' ? 'nft' : 'legacy';
    return [
      warn(
        'firewall',
        'firewall',
        `${fact}, and it cannot list the nat table`,
        `the kernel does not have what this iptables wants; ${NETWORKS}`,
        `update-alternatives --set iptables ${alternative(other)}   # nestling ci prepare --firewall does it`,
      ),
    ];
  }
  return [pass('firewall', 'firewall', fact)];
}

function alternative(family: string): string {
  return `/usr/sbin/iptables-${family}`;
}

async function backendOf(host: DoctorHost, path: string): Promise<string> {
  const { stdout } = await ask(host, path, '--version');
  return /\((legacy|nf_tables)\)/.exec(stdout)?.[1] ?? linkTarget(path);
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'of unknown kind';
  }
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

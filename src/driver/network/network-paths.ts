/** Where the network driver keeps its things, below the root that libvirt's own folders stand for. */
import { join } from 'node:path';
import type { SiblingRoot } from '../siblings.ts';
import type { DnsmasqFiles } from './dnsmasq-process.ts';

type Roots = Pick<SiblingRoot, 'etc' | 'lib' | 'run' | 'log'>;

/** Folder of the definitions. */
export function definitionsDir({ etc }: Roots): string {
  return join(etc, 'qemu', 'networks');
}

/** Folder of what is kept of running networks of a daemon. */
export function statusDir({ run }: Roots): string {
  return join(run, 'network');
}

export function statusFile(roots: Roots, name: string): string {
  return join(statusDir(roots), `${name}.json`);
}

export function leaseFile({ lib }: Roots, name: string): string {
  return join(lib, 'dnsmasq', `${name}.leases`);
}

export function dnsmasqFiles(roots: Roots, name: string): DnsmasqFiles {
  return {
    conf: join(roots.lib, 'dnsmasq', `${name}.conf`),
    leases: leaseFile(roots, name),
    pid: join(roots.run, 'network', `${name}.pid`),
    log: join(roots.run, 'network', `${name}.log`),
  };
}

/** The name of a network's ledger. */
export function ledgerName(name: string): string {
  return `network-${name}`;
}

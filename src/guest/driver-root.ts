/** Where a connection keeps its things, and how its guests relate to this process. Each driver has its own folders in there. */
import type { ObjectLedger, SiblingRoot } from '../driver/siblings.ts';

/**
 * `embedded`: guests are children of this process and end with it. `daemon`: guests are on their own, and whoever opens the root next
 * takes them over.
 */
export type Placement = 'embedded' | 'daemon';

/** What libvirt's `/etc/libvirt`, `/var/lib/libvirt`, `/run/libvirt` and `/var/log/libvirt` stand for. */
export interface RootFolders {
  readonly etc: string;
  readonly lib: string;
  readonly run: string;
  readonly log: string;
}

export interface DriverRoot extends AsyncDisposable {
  readonly path: string;
  readonly placement: Placement;
  readonly temporary: boolean;
  readonly folders: RootFolders;
  /** What one guest makes on the host is recorded here, before it is made. */
  ledgerOf(name: string): ObjectLedger;
  /** Names of objects that have, or had, something on the host, each in a ledger of its own. */
  ledgers(): string[];
  /** @returns one line for each thing that could not be removed; such an object's ledger stays for the next time */
  collect(name: string): Promise<string[]>;
  /** Keeps what the next daemon must know of a running guest; an embedded root keeps nothing. */
  keepStatus(name: string, text: string): Promise<void>;
  dropStatus(name: string): void;
  /** Of a driver's guests. */
  statusFiles(driver: 'qemu' | 'lxc'): string[];
  /** Removes what dead processes have left. @returns one line for each thing that could not be removed */
  collectDead(): Promise<string[]>;
}

/** The same root as the drivers of networks, storage and devices see it. */
export function siblingRootOf(root: DriverRoot): SiblingRoot {
  return {
    placement: root.placement,
    ...root.folders,
    ledgerOf: (name) => root.ledgerOf(name),
    ledgers: () => root.ledgers().filter((name) => !/^(lxc-)?\d+-/.test(name)),
    collect: (name) => root.collect(name),
  };
}

/** Whether a ledger or status is that of a driver's guest: `ID-NAME` is a virtual machine's, `lxc-ID-NAME` a container's. */
export function isGuestName(name: string, driver: 'qemu' | 'lxc'): boolean {
  return driver === 'qemu' ? /^\d+-/.test(name) : /^lxc-\d+-/.test(name);
}

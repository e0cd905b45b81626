/** A connection's root as the QEMU driver uses it: its own names in it, and what is kept of running guests. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { removeTree } from '../../../core/fs.ts';
import { LogSource } from '../../../core/log-source.ts';
import { type DriverRoot, isGuestName, type Placement, type RootFolders } from '../../../guest/driver-root.ts';
import { formatStatus, type GuestStatus, readStatuses } from '../../../guest/guest-status.ts';
import type { ObjectLedger } from '../../siblings.ts';
import { Layout, type LayoutRoots } from '../layout.ts';

const log = new LogSource('qemu.qemu_domain');

export class QemuRoot {
  readonly layout: Layout;
  readonly #root: DriverRoot;

  constructor(root: DriverRoot) {
    this.#root = root;
    this.layout = new Layout(layoutRootsIn(root.folders));
  }

  get path(): string {
    return this.#root.path;
  }

  get placement(): Placement {
    return this.#root.placement;
  }

  get temporary(): boolean {
    return this.#root.temporary;
  }

  ledgerOf(shortName: string): ObjectLedger {
    return this.#root.ledgerOf(shortName);
  }

  /** Guests that have, or had, something on the host; none in an embedded root, whose one ledger has them all. */
  ledgers(): string[] {
    return this.#root.ledgers().filter((name) => isGuestName(name, 'qemu'));
  }

  /** Removes all that a guest without a process has left. @returns one line for each thing that could not be removed */
  async collect(shortName: string): Promise<string[]> {
    const failed = await this.#root.collect(shortName);
    if (failed.length > 0 || this.placement === 'embedded') return failed;
    const { run, domain } = this.layout.roots;
    for (const own of [`${domain}/domain-${shortName}`, `${run}/channel/${shortName}`]) {
      if (existsSync(own)) await removeTree(own, { root: dirname(run) });
    }
    return [];
  }

  async keepStatus(status: GuestStatus): Promise<void> {
    log.debug('keepStatus', () => `vm=${status.domain.name} state=${status.state.state} reason=${status.state.reason}`);
    await this.#root.keepStatus(status.shortName, formatStatus(status));
  }

  dropStatus(shortName: string): void {
    this.#root.dropStatus(shortName);
  }

  /** Of the daemon before. */
  readStatuses(): ReturnType<typeof readStatuses> {
    return readStatuses(this.#root.statusFiles('qemu'));
  }
}

/** libvirt's names below its folders; sockets lie in private folders of guests, so that these are below `run`, whose path is short. */
export function layoutRootsIn({ etc, lib, run, log }: RootFolders): LayoutRoots {
  return {
    etc: `${etc}/qemu`,
    lib: `${lib}/qemu`,
    log: `${log}/qemu`,
    run: `${run}/qemu`,
    domain: `${run}/qemu`,
    swtpmLib: `${lib}/swtpm`,
    swtpmLog: `${log}/swtpm`,
  };
}

/** A connection's root as the LXC driver uses it: its names on disk (docs/state-layout.md), and what is kept of running containers. */
import { LogSource } from '../../../core/log-source.ts';
import { randomHex } from '../../../core/random.ts';
import type { DriverRoot, Placement } from '../../../guest/driver-root.ts';
import { formatStatus, type GuestStatus, readStatuses } from '../../../guest/guest-status.ts';
import type { SparePlace } from '../../../process/nursery.ts';
import type { ObjectLedger } from '../../siblings.ts';

const log = new LogSource('lxc.lxc_process');

export class LxcRoot {
  readonly #root: DriverRoot;

  constructor(root: DriverRoot) {
    this.#root = root;
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

  /** Definitions (`/etc/libvirt/lxc`). */
  get definitionsDir(): string {
    return `${this.#root.folders.etc}/lxc`;
  }

  /** Of a running container: bundle, sockets, the runtime's state. On a short path, because of the sockets. */
  containerDir(id: number): string {
    return `${this.#root.folders.run}/lxc/${id}`;
  }

  get runDir(): string {
    return this.#root.folders.run;
  }

  logFile(name: string): string {
    return `${this.#root.folders.log}/lxc/${name}.log`;
  }

  /** Names of ledgers and statuses; `ID-NAME` alone are virtual machines'. */
  shortName(id: number, name: string): string {
    return `lxc-${id}-${Array.from(name).slice(0, 20).join('').replaceAll('/', '-')}`;
  }

  ledgerOf(shortName: string): ObjectLedger {
    return this.#root.ledgerOf(shortName);
  }

  /** For a socket that is there for a moment; whoever comes after a kill removes it. @throws LedgerError */
  placeOfSpare(): SparePlace {
    const name = `spare-${randomHex(4)}`;
    const path = `${this.runDir}/${name}`;
    const own = this.#root.ledgerOf(`lxc-${name}`);
    const entry = own.ledger.record('socket', { path });
    const onGone = (): void => {
      try {
        entry.done();
        own.done();
      } catch (error) {
        // Called where nobody waits; whoever comes after us finds that it is gone.
        log.warn('placeOfSpare', () => (error instanceof Error ? error.message : String(error)));
      }
    };
    return { path, onGone };
  }

  ledgers(): string[] {
    return this.#root.ledgers().filter((name) => name.startsWith('lxc-'));
  }

  /** Removes all that a container without processes has left. @returns one line for each thing that could not be removed */
  async collect(shortName: string): Promise<string[]> {
    return await this.#root.collect(shortName);
  }

  async keepStatus(status: GuestStatus): Promise<void> {
    await this.#root.keepStatus(status.shortName, formatStatus(status));
  }

  dropStatus(shortName: string): void {
    this.#root.dropStatus(shortName);
  }

  /** Of the daemon before. */
  readStatuses(): ReturnType<typeof readStatuses> {
    return readStatuses(this.#root.statusFiles('lxc'));
  }
}

/**
 * The test driver with what tests of the protocol's two ends need beside it: consoles that the test holds the other end of, events of the
 * test's own, calls that wait for the test, and one with a bug.
 */
import { Duplex } from 'node:stream';
import { Broadcast } from '../../core/broadcast.ts';
import type { DomainEvent } from '../../driver/domain-events.ts';
import type { ConsoleStream, CreateOptions, DomainIdentity, DriverFeatures, Waiting } from '../../driver/driver.ts';
import type { MonitorEvent } from '../../driver/interaction-operations.ts';
import { TestDriver } from '../../driver/test/test-driver.ts';

/** The host end that a client opens, and what it wrote. */
export interface FakeConsole {
  readonly stream: Duplex;
  readonly written: Buffer[];
  /** Lets the guest read what was held back, and all that follows. */
  readonly read: () => void;
}

/** A definition that the driver takes. */
export function fakeXml(name: string): string {
  return `<domain type='test'>
  <name>${name}</name>
  <memory unit='KiB'>65536</memory>
  <currentMemory unit='KiB'>32768</currentMemory>
  <vcpu>2</vcpu>
  <os><type>hvm</type></os>
</domain>`;
}

export class FakeDriver extends TestDriver {
  override readonly features: DriverFeatures = { embedded: true, consoles: true };
  readonly #devices = new Map<string, ConsoleStream>();
  readonly consoles: FakeConsole[] = [];
  /** Calls in the order in which they came. */
  readonly calls: string[] = [];
  /** New consoles' guests read nothing. */
  guestsAreDeaf = false;
  /** What `version` and `create` wait for. */
  gate: Promise<void> | undefined;
  monitorSubscriptions = 0;
  readonly #monitor = new Broadcast<MonitorEvent>();

  constructor() {
    super('test:///fake');
  }

  override async version(): Promise<number> {
    this.calls.push('version');
    await this.gate;
    return await super.version();
  }

  override async capabilities(): Promise<string> {
    throw new TypeError('capabilities has a bug');
  }

  override async create(uuid: string, options?: CreateOptions): Promise<DomainIdentity> {
    await this.gate;
    return await super.create(uuid, options);
  }

  override async destroy(uuid: string): Promise<void> {
    this.calls.push(`destroy ${this.identify(uuid).name}`);
    await super.destroy(uuid);
  }

  /** The same object for the same device, as real drivers have it. */
  override console(uuid: string, device = ''): ConsoleStream {
    const key = `${this.identify(uuid).uuid} ${device}`;
    const known = this.#devices.get(key) ?? { open: () => this.#openConsole() };
    this.#devices.set(key, known);
    return known;
  }

  monitorEvents({ signal }: Waiting = {}): AsyncIterable<MonitorEvent> {
    this.monitorSubscriptions++;
    return this.#monitor.subscribe({ signal });
  }

  /** An event of the test's own. */
  emit(event: DomainEvent): void {
    this.send(event);
  }

  emitMonitor(event: MonitorEvent): void {
    this.#monitor.send(event);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    this.#monitor.end();
  }

  #openConsole(): Duplex {
    const written: Buffer[] = [];
    const held: (() => void)[] = [];
    let isDeaf = this.guestsAreDeaf;
    const stream = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, callback) => {
        written.push(chunk);
        if (isDeaf) held.push(callback);
        else callback();
      },
    });
    const read = (): void => {
      isDeaf = false;
      for (const callback of held.splice(0)) callback();
    };
    this.consoles.push({ stream, written, read });
    return stream;
  }
}

/** A driver in memory for tests of the protocol's two ends: domains with a state, consoles that the test holds the other end of. */
import { Duplex } from 'node:stream';
import { Broadcast } from '../../core/broadcast.ts';
import { ErrorCode, VirtError } from '../../core/errors.ts';
import type { DomainEvent } from '../../driver/domain-events.ts';
import { DomainState } from '../../driver/domain-state.ts';
import type {
  ConsoleStream,
  CreateOptions,
  DomainFilter,
  DomainIdentity,
  DomainInfo,
  DomainPlan,
  DomainStateAndReason,
  DomainStop,
  Driver,
  Waiting,
  XmlOptions,
} from '../../driver/driver.ts';
import type { MonitorEvent } from '../../driver/interaction-operations.ts';

interface FakeDomain {
  name: string;
  readonly uuid: string;
  id: number;
  isPersistent: boolean;
  autostart: boolean;
}

/** The host end that a client opens, and what it wrote. */
export interface FakeConsole {
  readonly stream: Duplex;
  readonly written: Buffer[];
  /** Lets the guest read what was held back, and all that follows. */
  readonly read: () => void;
}

export class FakeDriver implements Driver {
  readonly type = 'QEMU';
  readonly uri = 'qemu:///fake';
  readonly features = { embedded: true, consoles: true };
  readonly domains = new Map<string, FakeDomain>();
  readonly #devices = new Map<string, ConsoleStream>();
  readonly consoles: FakeConsole[] = [];
  /** Calls in the order in which they came. */
  readonly calls: string[] = [];
  /** New consoles' guests read nothing. */
  guestsAreDeaf = false;
  /** What `version` waits for. */
  gate: Promise<void> | undefined;
  monitorSubscriptions = 0;
  readonly #events = new Broadcast<DomainEvent>();
  readonly #monitor = new Broadcast<MonitorEvent>();
  #nextId = 1;

  async version(): Promise<number> {
    this.calls.push('version');
    await this.gate;
    return 7_002_000;
  }

  async capabilities(): Promise<string> {
    throw new TypeError('capabilities has a bug');
  }

  async domainCapabilities(): Promise<string> {
    return '<domainCapabilities/>';
  }

  async listDomains({ active }: DomainFilter): Promise<DomainIdentity[]> {
    return [...this.domains.values()].filter(({ id }) => active === undefined || active === id >= 0);
  }

  async lookupByName(name: string): Promise<DomainIdentity> {
    for (const domain of this.domains.values()) if (domain.name === name) return domain;
    throw new VirtError(`no domain with matching name '${name}'`, { code: ErrorCode.NO_DOMAIN });
  }

  async lookupByUuid(uuid: string): Promise<DomainIdentity> {
    return { ...this.#find(uuid) };
  }

  async lookupById(id: number): Promise<DomainIdentity> {
    for (const domain of this.domains.values()) if (id >= 0 && domain.id === id) return domain;
    throw new VirtError(`no domain with matching id ${id}`, { code: ErrorCode.NO_DOMAIN });
  }

  async defineDomain(xml: string): Promise<DomainIdentity> {
    return this.#add(xml, true);
  }

  async createXml(xml: string, options?: CreateOptions): Promise<DomainIdentity> {
    return await this.create(this.#add(xml, false).uuid, options);
  }

  async create(uuid: string, _options?: CreateOptions): Promise<DomainIdentity> {
    const domain = this.#find(uuid);
    await this.gate;
    domain.id = this.#nextId++;
    this.#events.send({ event: 'lifecycle', type: 'started', detail: 'booted', domain: { ...domain }, timestampMs: 0 });
    return { ...domain };
  }

  async destroy(uuid: string): Promise<void> {
    const domain = this.#find(uuid);
    this.calls.push(`destroy ${domain.name}`);
    if (domain.id < 0) throw new VirtError('domain is not running', { code: ErrorCode.OPERATION_INVALID });
    domain.id = -1;
    if (!domain.isPersistent) this.domains.delete(uuid);
    this.#events.send({
      event: 'lifecycle',
      type: 'stopped',
      detail: 'destroyed',
      domain: { ...domain },
      timestampMs: 0,
    });
  }

  async shutdown(): Promise<void> {}
  async reboot(): Promise<void> {}
  async reset(): Promise<void> {}
  async suspend(): Promise<void> {}
  async resume(): Promise<void> {}

  async undefine(uuid: string): Promise<void> {
    this.domains.delete(this.#find(uuid).uuid);
  }

  async rename(uuid: string, name: string): Promise<void> {
    this.#find(uuid).name = name;
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    this.#find(uuid).autostart = autostart;
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.#find(uuid).autostart;
  }

  async info(uuid: string): Promise<DomainInfo> {
    const { state } = await this.state(uuid);
    return { state, maxMemoryKiB: 65_536, memoryKiB: 32_768, vcpus: 2, cpuTimeNs: 5n };
  }

  async state(uuid: string): Promise<DomainStateAndReason> {
    return { state: this.#find(uuid).id < 0 ? DomainState.SHUTOFF : DomainState.RUNNING, reason: 1 };
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#find(uuid).isPersistent;
  }

  async xmlDesc(uuid: string, { secure = false }: XmlOptions = {}): Promise<string> {
    return `<domain><name>${this.#find(uuid).name}</name>${secure ? '<password>hidden</password>' : ''}</domain>`;
  }

  async waitForStop(): Promise<DomainStop> {
    throw unsupported('waitForStop');
  }

  /** The same object for the same device, as real drivers have it. */
  console(uuid: string, device = ''): ConsoleStream {
    const key = `${this.#find(uuid).uuid} ${device}`;
    const known = this.#devices.get(key) ?? { open: () => this.#openConsole() };
    this.#devices.set(key, known);
    return known;
  }

  async monitorCommand(): Promise<unknown> {
    throw unsupported('virDomainQemuMonitorCommand');
  }

  async agentCommand(): Promise<unknown> {
    throw unsupported('virDomainQemuAgentCommand');
  }

  async domainXmlToNative(): Promise<string> {
    throw unsupported('virConnectDomainXMLToNative');
  }

  async planDomain(): Promise<DomainPlan> {
    throw unsupported('planDomain');
  }

  events({ signal }: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe({ signal });
  }

  monitorEvents({ signal }: Waiting = {}): AsyncIterable<MonitorEvent> {
    this.monitorSubscriptions++;
    return this.#monitor.subscribe({ signal });
  }

  /** An event of the test's own. */
  emit(event: DomainEvent): void {
    this.#events.send(event);
  }

  emitMonitor(event: MonitorEvent): void {
    this.#monitor.send(event);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#events.end();
    this.#monitor.end();
  }

  #add(xml: string, isPersistent: boolean): FakeDomain {
    const name = /<name>([^<]+)</.exec(xml)?.[1];
    if (name === undefined) throw new VirtError('missing domain name', { code: ErrorCode.XML_ERROR });
    const number = (this.domains.size + 1).toString(16).padStart(12, '0');
    const domain = { name, uuid: `00000000-0000-0000-0000-${number}`, id: -1, isPersistent, autostart: false };
    this.domains.set(domain.uuid, domain);
    return domain;
  }

  #find(uuid: string): FakeDomain {
    const found = this.domains.get(uuid);
    if (found !== undefined) return found;
    throw new VirtError(`no domain with matching uuid '${uuid}'`, { code: ErrorCode.NO_DOMAIN });
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

function unsupported(api: string): VirtError {
  return new VirtError(api, { code: ErrorCode.NO_SUPPORT });
}

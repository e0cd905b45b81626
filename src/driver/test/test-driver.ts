/**
 * `test:///default`: domains that exist in memory only, for programs that test themselves against the API. They start, pause and end at once and
 * as they are told; nothing runs, nothing is kept. Each connection has its own, beginning with libvirt's well-known running domain.
 */
import { Broadcast } from '../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { Mutex } from '../../core/mutex.ts';
import { randomUuid } from '../../core/random.ts';
import { type Domain, formatDomain, parseDomain } from '../../model/domain/domain.ts';
import { cloneDefinition } from '../../model/schema/schema.ts';
import { parseXml } from '../../xml/parse.ts';
import type { DomainEvent, LifecycleDetail, LifecycleType } from '../domain-events.ts';
import { type DomainOperation, DomainState, isLegal, StateReason } from '../domain-state.ts';
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
  DriverFeatures,
  Waiting,
  XmlOptions,
} from '../driver.ts';
import { CAPABILITIES, DEFAULT_DOMAIN, VERSION } from './well-known.ts';

interface TestDomain {
  readonly uuid: string;
  name: string;
  /** What the next start uses; none: it goes with its run. */
  definition: Domain | undefined;
  /** Of the run under way. */
  live: Domain | undefined;
  id: number;
  status: DomainStateAndReason;
  autostart: boolean;
  stop: DomainStop | undefined;
  readonly changed: Broadcast<DomainStop>;
}

export class TestDriver implements Driver {
  readonly type = 'TEST';
  readonly uri: string;
  readonly features: DriverFeatures = { embedded: true, consoles: false };
  readonly #domains = new Map<string, TestDomain>();
  readonly #events = new Broadcast<DomainEvent>();
  readonly #turn = new Mutex();
  #nextId = 1;

  protected constructor(uri: string) {
    this.uri = uri;
  }

  /**
   * `definitions`: XML of the domains to begin with, running: one `<domain>`, or a `<node>` of several; default libvirt's own.
   * @throws XmlSyntaxError, DefinitionError
   */
  static async open({ uri = 'test:///default', definitions = DEFAULT_DOMAIN } = {}): Promise<TestDriver> {
    const driver = new TestDriver(uri);
    const { root } = parseXml(definitions);
    const elements = root.name === 'node' ? root.elements().filter(({ name }) => name === 'domain') : [root];
    for (const element of elements) {
      const { uuid } = await driver.defineDomain(formatDomain(parseDomain(element).domain));
      await driver.create(uuid);
    }
    return driver;
  }

  async version(): Promise<number> {
    return VERSION;
  }

  async capabilities(): Promise<string> {
    return CAPABILITIES;
  }

  async domainCapabilities(): Promise<string> {
    throw unsupported('domain capabilities');
  }

  async listDomains(filter: DomainFilter & Waiting): Promise<DomainIdentity[]> {
    return [...this.#domains.values()].filter((domain) => matches(domain, filter)).map(identityOf);
  }

  async lookupByName(name: string): Promise<DomainIdentity> {
    return identityOf(this.#find((domain) => domain.name === name, `name '${name}'`));
  }

  async lookupByUuid(uuid: string): Promise<DomainIdentity> {
    return this.identify(uuid);
  }

  async lookupById(id: number): Promise<DomainIdentity> {
    return identityOf(this.#find((domain) => domain.id === id && id >= 0, `id ${id}`));
  }

  async defineDomain(xml: string): Promise<DomainIdentity> {
    using _turn = await this.#turn.acquire();
    const { domain, isNew } = this.#claim(xml);
    domain.definition = readDefinition(xml, domain.uuid);
    this.#tell(domain, 'defined', isNew ? 'added' : 'updated');
    return identityOf(domain);
  }

  async createXml(xml: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    using _turn = await this.#turn.acquire();
    const { domain } = this.#claim(xml);
    this.#start(domain, readDefinition(xml, domain.uuid), options);
    return identityOf(domain);
  }

  async create(uuid: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    using _turn = await this.#turn.acquire();
    const domain = this.#of(uuid);
    if (domain.definition === undefined) throw invalid(`domain '${domain.name}' is transient and runs already`);
    this.#start(domain, cloneDefinition(domain.definition), options);
    return identityOf(domain);
  }

  async destroy(uuid: string): Promise<void> {
    this.#end(this.#in('destroy', uuid), 'destroyed', 'destroyed by the API');
  }

  async shutdown(uuid: string): Promise<void> {
    this.#end(this.#in('shutdown', uuid), 'shutdown', 'the guest powered off when it was asked to');
  }

  async reboot(uuid: string): Promise<void> {
    const { name, id } = this.#in('reboot', uuid);
    this.send({ event: 'reboot', domain: { name, uuid, id }, timestampMs: Date.now() });
  }

  async reset(uuid: string): Promise<void> {
    this.#in('reset', uuid);
  }

  async suspend(uuid: string): Promise<void> {
    const domain = this.#in('suspend', uuid);
    if (domain.status.state === DomainState.PAUSED) return;
    domain.status = { state: DomainState.PAUSED, reason: StateReason.paused.USER };
    this.#tell(domain, 'suspended', 'paused');
  }

  async resume(uuid: string): Promise<void> {
    const domain = this.#in('resume', uuid);
    domain.status = { state: DomainState.RUNNING, reason: StateReason.running.UNPAUSED };
    this.#tell(domain, 'resumed', 'unpaused');
  }

  async undefine(uuid: string): Promise<void> {
    const domain = this.#of(uuid);
    if (domain.definition === undefined) throw invalid(`domain '${domain.name}' is transient: it goes with its guest`);
    domain.definition = undefined;
    domain.autostart = false;
    this.#tell(domain, 'undefined', 'removed');
    this.#forgetIfGone(domain);
  }

  async rename(uuid: string, name: string): Promise<void> {
    const domain = this.#in('rename', uuid);
    const namesake = [...this.#domains.values()].find((other) => other.name === name);
    if (namesake !== undefined) {
      throw new VirtError(`domain with name '${name}' already exists`, {
        code: ErrorCode.OPERATION_INVALID,
        domain: ErrorDomain.TEST,
      });
    }
    domain.name = name;
    if (domain.definition !== undefined) domain.definition = { ...domain.definition, name };
    this.#tell(domain, 'defined', 'renamed');
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    const domain = this.#of(uuid);
    if (domain.definition === undefined)
      throw invalid(`domain '${domain.name}' is transient: it cannot start by itself`);
    domain.autostart = autostart;
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.#of(uuid).autostart;
  }

  async info(uuid: string): Promise<DomainInfo> {
    const domain = this.#of(uuid);
    const { memory, currentMemory, vcpu } = domain.live ?? domain.definition ?? {};
    return {
      state: domain.status.state,
      maxMemoryKiB: memory?.value ?? 0,
      memoryKiB: currentMemory ?? memory?.value ?? 0,
      vcpus: vcpu?.current ?? vcpu?.value ?? 1,
      cpuTimeNs: 0n,
    };
  }

  async state(uuid: string): Promise<DomainStateAndReason> {
    return this.#of(uuid).status;
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#of(uuid).definition !== undefined;
  }

  async xmlDesc(uuid: string, { inactive = false }: XmlOptions & Waiting = {}): Promise<string> {
    const { live, definition, id } = this.#of(uuid);
    const shown = inactive ? (definition ?? live) : (live ?? definition);
    return formatDomain({ ...shown, ...(live !== undefined && !inactive ? { id } : {}) } as Domain);
  }

  async waitForStop(uuid: string, options: Waiting = {}): Promise<DomainStop> {
    const domain = this.#of(uuid);
    if (domain.live === undefined) return domain.stop ?? { detail: 'shutdown', reason: 'it has not run' };
    for await (const stop of domain.changed.subscribe(options)) return stop;
    options.signal?.throwIfAborted();
    return { detail: 'destroyed', reason: 'the connection was closed' };
  }

  console(uuid: string): ConsoleStream {
    this.#of(uuid);
    throw unsupported('consoles');
  }

  async monitorCommand(): Promise<unknown> {
    throw unsupported('monitors');
  }

  async agentCommand(): Promise<unknown> {
    throw unsupported('guest agents');
  }

  async domainXmlToNative(): Promise<string> {
    throw unsupported('native configurations');
  }

  async planDomain(): Promise<DomainPlan> {
    throw unsupported('plans');
  }

  events(options: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe(options);
  }

  /** @throws VirtError for one that is not there */
  protected identify(uuid: string): DomainIdentity {
    return identityOf(this.#of(uuid));
  }

  protected send(event: DomainEvent): void {
    this.#events.send(event);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { changed } of this.#domains.values()) changed.end();
    this.#events.end();
  }

  #start(domain: TestDomain, live: Domain, { paused = false }: CreateOptions): void {
    requireLegal('create', domain);
    domain.live = live;
    domain.id = this.#nextId++;
    domain.status = { state: DomainState.RUNNING, reason: StateReason.running.BOOTED };
    this.#tell(domain, 'started', 'booted');
    if (!paused) return;
    domain.status = { state: DomainState.PAUSED, reason: StateReason.paused.STARTING_UP };
    this.#tell(domain, 'suspended', 'paused');
  }

  #end(domain: TestDomain, detail: 'destroyed' | 'shutdown', reason: string): void {
    const isDestroyed = detail === 'destroyed';
    this.#tell(domain, 'stopped', detail);
    domain.live = undefined;
    domain.id = -1;
    domain.status = {
      state: DomainState.SHUTOFF,
      reason: isDestroyed ? StateReason.shutoff.DESTROYED : StateReason.shutoff.SHUTDOWN,
    };
    domain.stop = { detail, reason };
    domain.changed.send(domain.stop);
    this.#forgetIfGone(domain);
  }

  #forgetIfGone(domain: TestDomain): void {
    if (domain.definition === undefined && domain.live === undefined) this.#domains.delete(domain.uuid);
  }

  /** The domain that a definition is of: a known one, or a new one. @throws VirtError where name and UUID are two domains' */
  #claim(xml: string): { domain: TestDomain; isNew: boolean } {
    const { name = '', uuid } = readDefinition(xml, undefined);
    const all = [...this.#domains.values()];
    const namesake = all.find((domain) => domain.name === name);
    const known = uuid === undefined ? namesake : this.#domains.get(uuid);
    if (known !== undefined && known.name === name) return { domain: known, isNew: false };
    if (known !== undefined || namesake !== undefined) {
      const other = known ?? namesake;
      throw new VirtError(`domain '${other?.name}' already exists with uuid ${other?.uuid}`, {
        code: ErrorCode.OPERATION_FAILED,
        domain: ErrorDomain.TEST,
      });
    }
    const domain: TestDomain = {
      uuid: uuid ?? randomUuid(),
      name,
      definition: undefined,
      live: undefined,
      id: -1,
      status: { state: DomainState.SHUTOFF, reason: StateReason.shutoff.UNKNOWN },
      autostart: false,
      stop: undefined,
      changed: new Broadcast<DomainStop>(),
    };
    this.#domains.set(domain.uuid, domain);
    return { domain, isNew: true };
  }

  /** A domain in a state in which the operation is legal. */
  #in(operation: DomainOperation, uuid: string): TestDomain {
    const domain = this.#of(uuid);
    requireLegal(operation, domain);
    return domain;
  }

  #of(uuid: string): TestDomain {
    return this.#find((domain) => domain.uuid === uuid.toLowerCase(), `uuid '${uuid}'`);
  }

  #find(isWanted: (domain: TestDomain) => boolean, what: string): TestDomain {
    const found = [...this.#domains.values()].find(isWanted);
    if (found !== undefined) return found;
    throw new VirtError(`Domain not found: no domain with matching ${what}`, {
      code: ErrorCode.NO_DOMAIN,
      domain: ErrorDomain.TEST,
    });
  }

  #tell({ name, uuid, id }: TestDomain, type: LifecycleType, detail: LifecycleDetail): void {
    this.send({ event: 'lifecycle', type, detail, domain: { name, uuid, id }, timestampMs: Date.now() });
  }
}

function identityOf({ name, uuid, id }: TestDomain): DomainIdentity {
  return { name, uuid, id };
}

function matches({ live, definition, autostart, status }: TestDomain, filter: DomainFilter): boolean {
  return (
    (filter.active === undefined || filter.active === (live !== undefined)) &&
    (filter.persistent === undefined || filter.persistent === (definition !== undefined)) &&
    (filter.autostart === undefined || filter.autostart === autostart) &&
    (filter.states === undefined || filter.states.includes(status.state)) &&
    filter.managedSave !== true
  );
}

/** @throws VirtError for a definition of another hypervisor's */
function readDefinition(xml: string, uuid: string | undefined): Domain {
  const { domain } = parseDomain(xml);
  if (domain.type !== 'test') {
    throw new VirtError(`domain type '${domain.type ?? ''}' is not the test driver's: use type='test'`, {
      code: ErrorCode.CONFIG_UNSUPPORTED,
      domain: ErrorDomain.TEST,
    });
  }
  if (domain.name === undefined)
    throw new VirtError('the definition has no <name>', { code: ErrorCode.XML_ERROR, domain: ErrorDomain.TEST });
  return uuid === undefined ? domain : { ...domain, uuid };
}

function requireLegal(operation: DomainOperation, { name, status }: TestDomain): void {
  if (isLegal(operation, status.state)) return;
  if (operation === 'create') throw invalid(`Domain '${name}' is already running`);
  throw invalid(
    status.state === DomainState.SHUTOFF ? `domain '${name}' is not running` : `cannot ${operation} '${name}' now`,
  );
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_INVALID, domain: ErrorDomain.TEST });
}

function unsupported(what: string): VirtError {
  return new VirtError(`this function is not supported by the connection driver: the test driver has no ${what}`, {
    code: ErrorCode.NO_SUPPORT,
    domain: ErrorDomain.TEST,
  });
}

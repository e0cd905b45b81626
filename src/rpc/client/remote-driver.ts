/**
 * A driver that speaks to a libvirtd or nestling daemon. It keeps nothing of the domains but their names; the server's word counts.
 * Long because it has a method for each of the contract's.
 */
import type { Duplex } from 'node:stream';
import { filterToFlags } from '../../api/flags.ts';
import type { RemoteUri } from '../../api/uri.ts';
import { raceSignal } from '../../core/abort.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { lazyGroup } from '../../core/lazy-group.ts';
import { memberOf } from '../../core/members.ts';
import type { DeviceOperations } from '../../driver/device-operations.ts';
import type { DomainEvent } from '../../driver/domain-events.ts';
import { DomainState } from '../../driver/domain-state.ts';
import type {
  ConsoleStream,
  CreateOptions,
  DomainCapabilitiesQuery,
  DomainFilter,
  DomainIdentity,
  DomainInfo,
  DomainPlan,
  DomainStateAndReason,
  DomainStop,
  Driver,
  NativeDefinition,
  PowerOptions,
  UndefineOptions,
  Waiting,
  XmlOptions,
} from '../../driver/driver.ts';
import type { ExecOperations } from '../../driver/exec-operations.ts';
import type { InspectionOperations } from '../../driver/inspection-operations.ts';
import type { InteractionOperations, MonitorEvent } from '../../driver/interaction-operations.ts';
import type { InterfaceOperations } from '../../driver/interface-operations.ts';
import type { NetworkOperations } from '../../driver/network-operations.ts';
import type { NodeDeviceOperations } from '../../driver/node-device-operations.ts';
import type { NodeOperations } from '../../driver/node-operations.ts';
import type { SavingOperations } from '../../driver/saving-operations.ts';
import type { SecretOperations } from '../../driver/secret-operations.ts';
import type { StorageOperations } from '../../driver/storage-operations.ts';
import type { TuningOperations } from '../../driver/tuning-operations.ts';
import { REMOTE_PROCEDURES as P, type Procedure, Program, QEMU_PROCEDURES as Q } from '../../protocol/index.ts';
import { identityFromWire, uuidToWire, type WireDomain } from '../convert.ts';
import {
  bitsOf,
  CreateFlag,
  DefineFlag,
  DestroyFlag,
  flagsOf,
  POWER_MODES,
  UndefineFlag,
  XmlDescFlag,
} from '../flags.ts';
import { authenticate, type CredentialSource } from './authenticate.ts';
import type { RemoteCalls } from './remote-call.ts';
import { RemoteConsole } from './remote-console.ts';
import { RemoteDomainEvents } from './remote-domain-events.ts';
import type { EnterContainer, RemoteExecInit } from './remote-exec.ts';
import { RemoteNetworks } from './remote-networks.ts';
import { RemoteNodeDevices } from './remote-node-devices.ts';
import { RemoteSecrets } from './remote-secrets.ts';
import { type CallOptions, RpcClient } from './rpc-client.ts';
import { openTransport } from './transport.ts';

export interface RemoteDriverOptions {
  readonly readOnly?: boolean | undefined;
  readonly credentials?: CredentialSource | undefined;
  /** Signs of life asked of the server: every so many seconds (0: none), and how many may stay unanswered. Default 5 and 5. */
  readonly keepAlive?: { readonly intervalS: number; readonly count: number } | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Runs programs in containers of this host; default: nobody does. */
  readonly enterContainer?: EnterContainer | undefined;
}

/** VIR_CONNECT_RO. */
const READ_ONLY = 1;
/** virDrvFeature. */
const Feature = { PROGRAM_KEEPALIVE: 10, REMOTE_EVENT_CALLBACK: 14 } as const;
const KEEP_ALIVE = { intervalS: 5, count: 5 };
type LocalCalls = Pick<RemoteExecInit, 'enterContainer' | 'callForDescriptors'>;

export class RemoteDriver implements Driver, RemoteCalls {
  readonly type: string;
  readonly uri: string;
  readonly features = { embedded: false, consoles: true };
  readonly client: RpcClient;
  readonly devices: DeviceOperations = lazyGroup<DeviceOperations>(async () => {
    const { RemoteDevices } = await import('./remote-devices.ts');
    return new RemoteDevices(this);
  });
  readonly tuning: TuningOperations = lazyGroup<TuningOperations>(async () => {
    const { RemoteTuning } = await import('./remote-tuning.ts');
    return new RemoteTuning(this);
  });
  readonly inspection: InspectionOperations = lazyGroup<InspectionOperations>(async () => {
    const { RemoteInspection } = await import('./remote-inspection.ts');
    return new RemoteInspection(this);
  });
  readonly saving: SavingOperations = lazyGroup<SavingOperations>(async () => {
    const { RemoteSaving } = await import('./remote-saving.ts');
    return new RemoteSaving(this);
  });
  readonly interaction: InteractionOperations = lazyGroup<InteractionOperations>(async () => {
    const { RemoteInteraction } = await import('./remote-interaction.ts');
    return new RemoteInteraction(this);
  });
  readonly exec: ExecOperations = lazyGroup<ExecOperations>(async () => {
    const { AgentExec } = await import('../../driver/agent-exec.ts');
    const { RemoteExec } = await import('./remote-exec.ts');
    return new RemoteExec({
      calls: this,
      agent: new AgentExec((...command) => this.agentCommand(...command)),
      hasContainers: this.type === 'LXC',
      ...this.#local,
    });
  });
  readonly node: NodeOperations = lazyGroup<NodeOperations>(async () => {
    const { RemoteNode } = await import('./remote-node.ts');
    return new RemoteNode(this);
  });
  readonly interfaces: InterfaceOperations = lazyGroup<InterfaceOperations>(async () => {
    const { RemoteInterfaces } = await import('./remote-interfaces.ts');
    return new RemoteInterfaces(this);
  });
  readonly networks: NetworkOperations;
  readonly nodeDevices: NodeDeviceOperations;
  readonly secrets: SecretOperations;
  readonly storage: StorageOperations = lazyGroup<StorageOperations>(async () => {
    const { RemoteStorage } = await import('./remote-storage.ts');
    return new RemoteStorage(this, (registration) => this.#registering(registration));
  });
  readonly #names = new Map<string, string>();
  readonly #events: RemoteDomainEvents;
  readonly #consoles = new Map<string, RemoteConsole>();
  readonly #local: LocalCalls;
  #barrier: Promise<unknown> | undefined;

  private constructor(client: RpcClient, type: string, uri: string, local: LocalCalls) {
    this.#local = local;
    this.client = client;
    this.type = type;
    this.uri = uri;
    this.#events = new RemoteDomainEvents(client, (registration) => this.#registering(registration));
    this.secrets = new RemoteSecrets(this, (registration) => this.#registering(registration));
    this.networks = new RemoteNetworks(this, (registration) => this.#registering(registration));
    this.nodeDevices = new RemoteNodeDevices(this, (registration) => this.#registering(registration));
  }

  /**
   * Connects, proves who we are, and opens the server's driver.
   * @throws VirtError NO_CONNECT, AUTH_FAILED, or what the server says
   */
  static async open(uri: RemoteUri, options: RemoteDriverOptions = {}): Promise<RemoteDriver> {
    const { signal, readOnly = false } = options;
    const transport = await openTransport(uri, { readOnly, signal });
    const client = new RpcClient(transport.stream, { name: nameOf(uri), lastWords: transport.lastWords });
    try {
      await authenticate(client, { credentials: options.credentials, encrypted: transport.encrypted, signal });
      const flags = readOnly ? READ_ONLY : 0;
      // Servers that keep links alive must be asked before they are used.
      const [keepalive] = await Promise.all([
        client
          .call(P.connectSupportsFeature, { feature: Feature.PROGRAM_KEEPALIVE }, { signal })
          .catch(() => ({ supported: 0 })),
        client.call(P.connectOpen, { name: uri.serverUri, flags }, { signal }),
      ]);
      const { intervalS, count } = options.keepAlive ?? KEEP_ALIVE;
      if (keepalive.supported !== 0 && intervalS > 0) client.keepAlive(intervalS * 1000, count);
      const { type } = await client.call(P.connectGetType, {}, { signal });
      return new RemoteDriver(client, type, uri.serverUri, localCalls(uri, options));
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async call<A, R>(procedure: Procedure<A, R>, args: A, options: CallOptions = {}): Promise<R> {
    if (this.#barrier !== undefined) await raceSignal(this.#barrier, options.signal);
    return await this.client.call(procedure, args, options);
  }

  async domain(uuid: string): Promise<WireDomain> {
    return { name: this.#names.get(uuid) ?? '', uuid: uuidToWire(uuid), id: -1 };
  }

  remember(domain: WireDomain): DomainIdentity {
    const identity = identityFromWire(domain);
    this.#names.set(identity.uuid, identity.name);
    return identity;
  }

  async version(options: Waiting = {}): Promise<number> {
    return Number((await this.call(P.connectGetVersion, {}, options)).hvVer);
  }

  async capabilities(options: Waiting = {}): Promise<string> {
    return (await this.call(P.connectGetCapabilities, {}, options)).capabilities;
  }

  async domainCapabilities(query: DomainCapabilitiesQuery & Waiting): Promise<string> {
    const { emulator, arch, machine, virttype } = query;
    const args = { emulatorbin: emulator, arch, machine, virttype, flags: 0 };
    return (await this.call(P.connectGetDomainCapabilities, args, query)).capabilities;
  }

  async listDomains(filter: DomainFilter & Waiting): Promise<DomainIdentity[]> {
    const args = { needResults: 1, flags: filterToFlags(filter) };
    return (await this.call(P.connectListAllDomains, args, filter)).domains.map((domain) => this.remember(domain));
  }

  async lookupByName(name: string, options: Waiting = {}): Promise<DomainIdentity> {
    return this.remember((await this.call(P.domainLookupByName, { name }, options)).dom);
  }

  async lookupByUuid(uuid: string, options: Waiting = {}): Promise<DomainIdentity> {
    return this.remember((await this.call(P.domainLookupByUuid, { uuid: uuidToWire(uuid) }, options)).dom);
  }

  async lookupById(id: number, options: Waiting = {}): Promise<DomainIdentity> {
    return this.remember((await this.call(P.domainLookupById, { id }, options)).dom);
  }

  async defineDomain(xml: string, options: { validate?: boolean } & Waiting = {}): Promise<DomainIdentity> {
    const flags = flagsOf([DefineFlag.VALIDATE, options.validate]);
    return this.remember((await this.call(P.domainDefineXmlFlags, { xml, flags }, options)).dom);
  }

  async createXml(xml: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    requireRemote(options);
    const args = { xmlDesc: xml, flags: createFlags(options) };
    return this.remember((await this.call(P.domainCreateXml, args, options)).dom);
  }

  async create(uuid: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    requireRemote(options);
    const args = { dom: await this.domain(uuid), flags: createFlags(options) };
    return this.remember((await this.call(P.domainCreateWithFlags, args, options)).dom);
  }

  async destroy(uuid: string, options: { graceful?: boolean } & Waiting = {}): Promise<void> {
    const flags = flagsOf([DestroyFlag.GRACEFUL, options.graceful]);
    await this.call(P.domainDestroyFlags, { dom: await this.domain(uuid), flags }, options);
  }

  async shutdown(uuid: string, options: PowerOptions = {}): Promise<void> {
    // Whoever waits for the end afterwards must not miss it.
    this.#events.register();
    const args = { dom: await this.domain(uuid), flags: bitsOf(POWER_MODES, options.modes) };
    await this.call(P.domainShutdownFlags, args, options);
  }

  async reboot(uuid: string, options: PowerOptions = {}): Promise<void> {
    const args = { dom: await this.domain(uuid), flags: bitsOf(POWER_MODES, options.modes) };
    await this.call(P.domainReboot, args, options);
  }

  async reset(uuid: string, options: Waiting = {}): Promise<void> {
    await this.call(P.domainReset, { dom: await this.domain(uuid), flags: 0 }, options);
  }

  async suspend(uuid: string, options: Waiting = {}): Promise<void> {
    await this.call(P.domainSuspend, { dom: await this.domain(uuid) }, options);
  }

  async resume(uuid: string, options: Waiting = {}): Promise<void> {
    await this.call(P.domainResume, { dom: await this.domain(uuid) }, options);
  }

  async undefine(uuid: string, options: UndefineOptions & Waiting = {}): Promise<void> {
    const flags = flagsOf(
      [UndefineFlag.MANAGED_SAVE, options.managedSave],
      [UndefineFlag.SNAPSHOTS_METADATA, options.snapshotsMetadata],
      [UndefineFlag.NVRAM, options.nvram],
      [UndefineFlag.KEEP_NVRAM, options.keepNvram],
      [UndefineFlag.CHECKPOINTS_METADATA, options.checkpointsMetadata],
      [UndefineFlag.TPM, options.tpm],
      [UndefineFlag.KEEP_TPM, options.keepTpm],
    );
    await this.call(P.domainUndefineFlags, { dom: await this.domain(uuid), flags }, options);
  }

  async rename(uuid: string, name: string, options: Waiting = {}): Promise<void> {
    await this.call(P.domainRename, { dom: await this.domain(uuid), newName: name, flags: 0 }, options);
    this.#names.set(uuid, name);
  }

  async setAutostart(uuid: string, autostart: boolean, options: Waiting = {}): Promise<void> {
    const args = { dom: await this.domain(uuid), autostart: autostart ? 1 : 0 };
    await this.call(P.domainSetAutostart, args, options);
  }

  async autostart(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.call(P.domainGetAutostart, { dom: await this.domain(uuid) }, options)).autostart !== 0;
  }

  async info(uuid: string, options: Waiting = {}): Promise<DomainInfo> {
    const info = await this.call(P.domainGetInfo, { dom: await this.domain(uuid) }, options);
    return {
      state: stateOf(info.state),
      maxMemoryKiB: Number(info.maxMem),
      memoryKiB: Number(info.memory),
      vcpus: info.nrVirtCpu,
      cpuTimeNs: info.cpuTime,
    };
  }

  async state(uuid: string, options: Waiting = {}): Promise<DomainStateAndReason> {
    const { state, reason } = await this.call(P.domainGetState, { dom: await this.domain(uuid), flags: 0 }, options);
    return { state: stateOf(state), reason };
  }

  async isPersistent(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.call(P.domainIsPersistent, { dom: await this.domain(uuid) }, options)).persistent !== 0;
  }

  async xmlDesc(uuid: string, options: XmlOptions & Waiting = {}): Promise<string> {
    const flags = flagsOf(
      [XmlDescFlag.SECURE, options.secure],
      [XmlDescFlag.INACTIVE, options.inactive],
      [XmlDescFlag.UPDATE_CPU, options.updateCpu],
      [XmlDescFlag.MIGRATABLE, options.migratable],
    );
    return (await this.call(P.domainGetXmlDesc, { dom: await this.domain(uuid), flags }, options)).xml;
  }

  async waitForStop(uuid: string, options: Waiting = {}): Promise<DomainStop> {
    return await this.#events.waitForStop(uuid, async () => await this.state(uuid, options), options);
  }

  console(uuid: string, device?: string): ConsoleStream {
    const key = `${uuid}/${device ?? ''}`;
    const found = this.#consoles.get(key);
    if (found !== undefined) return found;
    const made = new RemoteConsole(device ?? 'console', async (): Promise<Duplex> => {
      await this.#barrier;
      const args = { dom: await this.domain(uuid), devName: device, flags: 0 };
      return (await this.client.callStream(P.domainOpenConsole, args)).stream;
    });
    this.#consoles.set(key, made);
    return made;
  }

  async monitorCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options: Waiting = {},
  ): Promise<unknown> {
    const cmd = JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }) });
    const call = { dom: await this.domain(uuid), cmd, flags: 0 };
    const { result } = await this.call(Q.domainMonitorCommand, call, { ...options, program: Program.QEMU });
    return replyOf(result, command);
  }

  async agentCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options: Waiting = {},
  ): Promise<unknown> {
    const cmd = JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }) });
    const call = { dom: await this.domain(uuid), cmd, timeout: AGENT_BLOCK, flags: 0 };
    const { result } = await this.call(Q.domainAgentCommand, call, { ...options, program: Program.QEMU });
    return replyOf(result ?? '{}', command);
  }

  async domainXmlToNative(format: string, xml: string, options: Waiting = {}): Promise<string> {
    const args = { nativeFormat: format, domainXml: xml, flags: 0 };
    return (await this.call(P.connectDomainXmlToNative, args, options)).nativeConfig;
  }

  /** The protocol has no place for notes; servers like ours put them before the definition, as comments. */
  async domainXmlFromNative(format: string, config: string, options: Waiting = {}): Promise<NativeDefinition> {
    const args = { nativeFormat: format, nativeConfig: config, flags: 0 };
    return { xml: (await this.call(P.connectDomainXmlFromNative, args, options)).domainXml, notes: [] };
  }

  async planDomain(): Promise<DomainPlan> {
    throw new VirtError('the protocol carries no plans: use domainXMLToNative, or an embedded connection', {
      code: ErrorCode.NO_SUPPORT,
      domain: ErrorDomain.REMOTE,
    });
  }

  events(options: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe(options);
  }

  monitorEvents(options: { readonly uuid?: string | undefined } & Waiting = {}): AsyncIterable<MonitorEvent> {
    return this.#events.subscribeMonitor(options);
  }

  /** Closes the connection; guests stay as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const console of this.#consoles.values()) console.close();
    if (this.client.isOpen) await this.client.call(P.connectClose, {}).catch(() => undefined);
    await this.client[Symbol.asyncDispose]();
  }

  /** Later calls come after the server knows of a registration: nothing that they cause is missed. */
  #registering(registration: Promise<unknown>): void {
    const barrier = Promise.all([this.#barrier, registration]).finally(() => {
      if (this.#barrier === barrier) this.#barrier = undefined;
    });
    // Whoever calls next hears of a failure.
    barrier.catch(() => {});
    this.#barrier = barrier;
  }
}

/** VIR_DOMAIN_QEMU_AGENT_COMMAND_BLOCK. */
const AGENT_BLOCK = -2;

function nameOf(uri: RemoteUri): string {
  return uri.host === undefined ? `the server of ${uri.serverUri}` : `the server ${uri.host}`;
}

function stateOf(state: number): DomainState {
  return Object.values(DomainState).find((candidate) => candidate === state) ?? DomainState.NOSTATE;
}

function createFlags(options: CreateOptions): number {
  return flagsOf(
    [CreateFlag.PAUSED, options.paused],
    [CreateFlag.AUTODESTROY, options.autodestroy],
    [CreateFlag.BYPASS_CACHE, options.bypassCache],
    [CreateFlag.FORCE_BOOT, options.forceBoot],
    [CreateFlag.VALIDATE, options.validate],
    [CreateFlag.RESET_NVRAM, options.resetNvram],
  );
}

/** What only the program that holds the guest can do. */
function requireRemote({ accel, name, console }: CreateOptions): void {
  const given = Object.entries({ accel, name, console: console === 'always' ? console : undefined });
  const own = given.filter(([, value]) => value !== undefined).map(([option]) => option);
  if (own.length === 0) return;
  throw new VirtError(`${own.join(', ')}: only an embedded connection can do that; change the XML instead`, {
    code: ErrorCode.ARGUMENT_UNSUPPORTED,
    domain: ErrorDomain.REMOTE,
  });
}

/** A reply of the monitor or the agent. */
function replyOf(text: string, command: string): unknown {
  const reply: unknown = JSON.parse(text);
  if (typeof reply !== 'object' || reply === null) return reply;
  if ('error' in reply) {
    const why = memberOf(reply.error, 'desc') ?? reply.error;
    throw new VirtError(`${command}: ${String(why)}`, { code: ErrorCode.OPERATION_FAILED });
  }
  return 'return' in reply ? reply.return : reply;
}

/** What needs the server's host to be this one. */
function localCalls(uri: RemoteUri, options: RemoteDriverOptions): LocalCalls {
  return {
    enterContainer:
      options.enterContainer ??
      (() => {
        throw new VirtError('this program has nothing to run programs in containers with', {
          code: ErrorCode.NO_SUPPORT,
          domain: ErrorDomain.LXC,
        });
      }),
    callForDescriptors: async (procedure, args, { signal }) => {
      if (uri.transport !== 'unix') {
        throw new VirtError('containers can be entered on their own host only: connect with lxc:///system there', {
          code: ErrorCode.NO_SUPPORT,
          domain: ErrorDomain.LXC,
        });
      }
      const transport = await openTransport(uri, { readOnly: false, signal });
      const client = new RpcClient(transport.stream, { name: nameOf(uri) });
      try {
        await authenticate(client, { credentials: options.credentials, encrypted: transport.encrypted, signal });
        await client.call(P.connectOpen, { name: uri.serverUri, flags: 0 }, { signal });
        const { callForDescriptors } = await import('./call-for-descriptors.ts');
        return await callForDescriptors(transport.stream, { procedure, program: Program.LXC, args, signal });
      } finally {
        client.close();
      }
    },
  };
}

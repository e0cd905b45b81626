/** `nestling`: connect to a hypervisor and run guests. The one place where drivers are wired to URIs. */
import { Connection, type ServeOptions } from './api/connection.ts';
import { call } from './api/errors.ts';
import type { RemoteUri } from './api/uri.ts';
import { parseUri } from './api/uri.ts';
import { ErrorCode, VirtError } from './core/errors.ts';
import { LOG_CHANNEL } from './core/log-source.ts';
import type { Driver } from './driver/driver.ts';
import type { QemuDriverOptions } from './driver/qemu/runtime/qemu-driver.ts';
import type { Log } from './log/log.ts';
import type { LogTexts } from './log/settings.ts';
import type { CredentialSource } from './rpc/client/authenticate.ts';
import type { RemoteDriverOptions } from './rpc/client/remote-driver.ts';
import type { EnterContainer } from './rpc/client/remote-exec.ts';
import { VERSION } from './version.ts';

export { Connection, type ServeOptions } from './api/connection.ts';
export { Console, type ConsoleOptions, type LinesOptions } from './api/console.ts';
export { Domain } from './api/domain.ts';
export type { DomainCalls } from './api/domain-calls.ts';
export { ListDomainsFlag, XmlFlag } from './api/flags.ts';
export { ErrorCode, ErrorDomain, type ErrorLevel, VirtError } from './core/errors.ts';
export type { DeviceOperations, IothreadInfo, MetadataKind } from './driver/device-operations.ts';
export type { DomainEvent, LifecycleDetail, LifecycleType } from './driver/domain-events.ts';
export { DomainState, STATE_NAMES, StateReason } from './driver/domain-state.ts';
export type {
  AffectOptions,
  ConsoleChoice,
  CreateOptions,
  DomainCapabilitiesQuery,
  DomainFilter,
  DomainInfo,
  DomainStateAndReason,
  DomainStop,
  IothreadPin,
  PowerOptions,
  TypedParameters,
  UndefineOptions,
  Waiting,
  XmlOptions,
} from './driver/driver.ts';
export type { ExecOperations, ExecOptions, ExecResult } from './driver/exec-operations.ts';
export type { InspectionOperations } from './driver/inspection-operations.ts';
export type { InteractionOperations, MonitorEvent } from './driver/interaction-operations.ts';
export type { HostInterfaceIdentity, InterfaceOperations } from './driver/interface-operations.ts';
export type {
  DhcpLease,
  NetworkEvent,
  NetworkFilter,
  NetworkIdentity,
  NetworkMetadataChange,
  NetworkOperations,
  NetworkPortIdentity,
  NetworkUpdate,
} from './driver/network-operations.ts';
export type {
  NodeDeviceEvent,
  NodeDeviceFilter,
  NodeDeviceIdentity,
  NodeDeviceOperations,
} from './driver/node-device-operations.ts';
export type { NodeInfo, NodeOperations } from './driver/node-operations.ts';
export type { CoreDumpOptions, SaveOptions, SavingOperations } from './driver/saving-operations.ts';
export type { SecretEvent, SecretIdentity, SecretOperations } from './driver/secret-operations.ts';
export type {
  PoolEvent,
  PoolIdentity,
  PoolInfo,
  StorageOperations,
  VolumeHole,
  VolumeIdentity,
  VolumeInfo,
} from './driver/storage-operations.ts';
export type { TuningOperations } from './driver/tuning-operations.ts';
export type { Log } from './log/log.ts';
export type { LogTexts } from './log/settings.ts';
export { VERSION } from './version.ts';

/** Options beyond the URI. */
export type ConnectOptions = Pick<QemuDriverOptions, 'config' | 'cacheDir' | 'trace' | 'onNote' | 'onMark'> & {
  /** What to log and where, in libvirt's words; besides, `LIBVIRT_DEBUG` and its kin count as with libvirt. See also `openLog`. */
  readonly log?: LogTexts | undefined;
  /** Of remote connections: nothing can be changed through it. */
  readonly readOnly?: boolean | undefined;
  /** Of remote connections: for servers that want a password. */
  readonly credentials?: CredentialSource | undefined;
  /** Of remote connections: signs of life asked of the server; default every 5 s, closed after 5 without an answer. */
  readonly keepAlive?: RemoteDriverOptions['keepAlive'];
  readonly signal?: AbortSignal | undefined;
};

/**
 * Opens a connection: `qemu:///embed` (virtual machines) or `lxc:///embed` (containers) with a temporary root that is removed,
 * `qemu:///embed?root=/abs/path`, a daemon's as libvirt names it
 * (`qemu:///system`, `qemu+ssh://host/system`, …), or `test:///default`, whose domains are in memory only.
 * @throws VirtError
 */
export async function connect(uri: string, options: ConnectOptions = {}): Promise<Connection> {
  const { signal, log: logTexts, ...rest } = options;
  return await call(async () => {
    signal?.throwIfAborted();
    const parsed = parseUri(uri);
    if (parsed.kind === 'remote') return await connectRemote(parsed, options);
    if (parsed.kind === 'test') return await connectTest(uri, parsed.file, options);
    const { root } = parsed;
    if (parsed.driver === 'lxc') return await connectContainers(root, options);
    const { QemuDriver } = await import('./driver/qemu/runtime/qemu-driver.ts');
    const { openSiblings } = await import('./driver/open-siblings.ts');
    const log = await logFor(logTexts);
    try {
      const driver = await QemuDriver.open({ ...rest, root, version: VERSION, openSiblings });
      // A configuration that asks for a log is weaker than options and environment.
      const isAsked = log === undefined && Object.keys(driver.logTexts).length > 0;
      return new Connection(driver, serveDriver, isAsked ? await logFor(driver.logTexts) : log);
    } catch (error) {
      log?.[Symbol.dispose]();
      throw error;
    }
  }, signal);
}

/** Containers of this process. */
async function connectContainers(root: string | undefined, options: ConnectOptions): Promise<Connection> {
  const { LxcDriver } = await import('./driver/lxc/runtime/lxc-driver.ts');
  const { openSiblings } = await import('./driver/open-siblings.ts');
  const log = await logFor(options.log);
  try {
    const driver = await LxcDriver.open({ root, version: VERSION, openSiblings, onNote: options.onNote });
    return new Connection(driver, serveDriver, log);
  } catch (error) {
    log?.[Symbol.dispose]();
    throw error;
  }
}

/** `Connection.serve`: whatever URI a client names, it gets this driver. */
async function serveDriver(driver: Driver, path: string, { readOnly, mode }: ServeOptions): Promise<AsyncDisposable> {
  const { listenUnix, RpcServer } = await import('./rpc/server/index.ts');
  const server = new RpcServer({ openDriver: () => driver });
  const listener = await listenUnix(server, { path, mode: mode ?? 0o600, readOnly: readOnly ?? false });
  return {
    [Symbol.asyncDispose]: async () => {
      await listener[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** Domains in memory, for programs that test themselves. */
async function connectTest(uri: string, file: string | undefined, options: ConnectOptions): Promise<Connection> {
  const { TestDriver } = await import('./driver/test/test-driver.ts');
  const { readFile } = await import('node:fs/promises');
  const definitions = file === undefined ? undefined : await readFile(file, 'utf8');
  const log = await logFor(options.log);
  return new Connection(
    await TestDriver.open({ uri, ...(definitions !== undefined && { definitions }) }),
    serveDriver,
    log,
  );
}

/** Containers of a daemon on this host are entered from here. */
const enterContainer: EnterContainer = async (namespace, command, options) => {
  const { initOfNamespace, runInContainer } = await import('./driver/lxc/runtime/run-in-container.ts');
  return await runInContainer(initOfNamespace(namespace) ?? 0, command, options);
};

/** A daemon's driver behind libvirt's protocol. */
async function connectRemote(uri: RemoteUri, options: ConnectOptions): Promise<Connection> {
  const log = await logFor(options.log);
  try {
    const { RemoteDriver } = await import('./rpc/client/remote-driver.ts');
    return new Connection(await RemoteDriver.open(uri, { ...options, enterContainer }), serveDriver, log);
  } catch (error) {
    log?.[Symbol.dispose]();
    throw error;
  }
}

/**
 * Logs what the library does from now on, for all connections: `openLog({ filters: '1:qemu', outputs: '1:file:/tmp/debug.log' })`.
 * @throws LogSettingsError, or Error for an output that cannot be opened
 */
export async function openLog(texts: LogTexts): Promise<Log> {
  const { openLog: open } = await import('./log/open.ts');
  const log = await open({ outputs: '1:stderr', ...texts }, VERSION, { env: {} });
  if (log === undefined) throw new VirtError('the log has no output', { code: ErrorCode.INVALID_ARG });
  return log;
}

/** The environment counts once: not again for the second connection of a program that logs already. */
async function logFor(texts: LogTexts | undefined): Promise<Log | undefined> {
  const isAsked = ENVIRONMENT.some((name) => (process.env[name] ?? '') !== '') && !LOG_CHANNEL.hasSubscribers;
  if (texts === undefined && !isAsked) return undefined;
  const { openLog: open } = await import('./log/open.ts');
  return await open(texts ?? {}, VERSION, isAsked ? {} : { env: {} });
}

const ENVIRONMENT = ['LIBVIRT_DEBUG', 'LIBVIRT_LOG_FILTERS', 'LIBVIRT_LOG_OUTPUTS'];

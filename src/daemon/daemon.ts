/**
 * The daemon: drivers whose guests outlive it, served on libvirt's sockets. It starts, listens, reloads and stops; options
 * and signals are the command's.
 */
import { existsSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { DisposalStack } from '../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { LogSource } from '../core/log-source.ts';
import { openSiblings } from '../driver/open-siblings.ts';
import { GuestHost } from '../guest/guest-host.ts';
import { HookScripts } from '../process/hook-scripts.ts';
import {
  type ListenerAdmission,
  listenFd,
  listenTcp,
  listenTls,
  listenUnix,
  RpcServer,
  type SaslUsers,
} from '../rpc/server/index.ts';
import { VERSION } from '../version.ts';
import type { ActivatedSocket } from './activated-sockets.ts';
import { GuestDrivers } from './guest-drivers.ts';
import { removePidFile, writePidFile } from './pid-file.ts';
import { readSaslUsers } from './sasl-users.ts';
import { type DaemonSettings, DEFAULT_DAEMON_SETTINGS, parseDaemonSettings } from './settings.ts';

const log = new LogSource('daemon.remote');

export interface DaemonOptions {
  readonly mode: 'system' | 'session';
  /** Everything that is kept below this folder instead of the host's or the user's. */
  readonly stateDir?: string | undefined;
  /** The one socket to listen on, and `PATH-ro` beside it, instead of libvirt's. */
  readonly socket?: string | undefined;
  /** Default: /etc/nestling/daemon.conf, if it is there. */
  readonly configFile?: string | undefined;
  readonly pidFile?: string | undefined;
  /** Over what the configuration says. */
  readonly settings?: Partial<DaemonSettings>;
  /** Listening sockets that we were started with (LISTEN_FDS). */
  readonly activated?: readonly ActivatedSocket[];
  readonly autostart?: boolean;
  /** What the administrator should know and nobody asked for. */
  readonly onNote: (note: string) => void;
}

export class Daemon implements AsyncDisposable {
  readonly server: RpcServer;
  /** Where it listens. */
  readonly addresses: string[] = [];
  readonly #options: DaemonOptions;
  readonly #hooks: HookScripts;
  readonly #drivers: GuestDrivers;
  readonly #stack: DisposalStack;
  #settings: DaemonSettings;

  private constructor(
    options: DaemonOptions,
    settings: DaemonSettings,
    { drivers, hooks }: { drivers: GuestDrivers; hooks: HookScripts },
    stack: DisposalStack,
  ) {
    this.#options = options;
    this.#hooks = hooks;
    this.#drivers = drivers;
    this.#settings = settings;
    this.#stack = stack;
    this.server = stack.use(new RpcServer({ openDriver: (uri) => drivers.driverOf(uri), limits: limitsOf(settings) }));
  }

  /** Takes over the guests of the daemon before, listens, and starts what is to be started. @throws VirtError, SettingsError, … */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const settings = { ...DEFAULT_DAEMON_SETTINGS, ...readSettings(options), ...options.settings };
    const stack = new DisposalStack();
    const hooks = new HookScripts(hookDirs(options));
    try {
      await openLogOf(settings, stack, options.onNote);
      const { mode, stateDir, onNote } = options;
      const host = stack.use(await GuestHost.openDaemon({ mode, stateDir, hooks, openSiblings, onNote }));
      const drivers = stack.use(await GuestDrivers.open(host, { mode, stateDir, onNote }));
      const daemon = new Daemon(options, settings, { drivers, hooks }, stack);
      await daemon.#listen();
      const pidFile = options.pidFile ?? defaultPidFile(options);
      if (pidFile !== undefined) {
        writePidFile(pidFile);
        stack.defer(() => removePidFile(pidFile));
      }
      await hooks.run({ driver: 'daemon', operation: 'start', extra: 'start' });
      stack.defer(() => hooks.tell({ driver: 'daemon', operation: 'shutdown', extra: 'shutdown' }));
      if (options.autostart !== false) await drivers.autostart();
      log.info('start', () => `listening on ${daemon.addresses.join(', ')}`);
      return daemon;
    } catch (error) {
      await stack[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Reads the configuration anew: limits count at once for new clients, sockets stay as they are. */
  async reload(): Promise<void> {
    this.#settings = { ...DEFAULT_DAEMON_SETTINGS, ...readSettings(this.#options), ...this.#options.settings };
    this.server.setLimits(limitsOf(this.#settings));
    await this.#hooks.tell({ driver: 'daemon', operation: 'reload', subOperation: 'begin', extra: 'SIGHUP' });
    log.info('reload', () => 'the configuration was read anew');
  }

  /** Nobody is connected, and no guest runs. */
  async isIdle(): Promise<boolean> {
    return this.server.clients.length === 0 && !(await this.#drivers.hasRunning());
  }

  /** Stops listening and lets go of the guests, which run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }

  async #listen(): Promise<void> {
    const activated = this.#options.activated ?? [];
    if (activated.length > 0) {
      for (const { fd, kind, readOnly } of activated) {
        const { authUnixRo, authUnixRw, authTcp } = this.#settings;
        const auth = kind === 'tcp' ? authTcp : readOnly ? authUnixRo : authUnixRw;
        this.#add(await listenFd(this.server, fd, { readOnly, ...this.#admission(auth) }));
      }
      return;
    }
    await this.#listenUnix();
    if (this.#settings.listenTcp) await this.#listenTcp();
    if (this.#settings.listenTls) await this.#listenTls();
  }

  async #listenUnix(): Promise<void> {
    const { unixSockRwPerms, unixSockRoPerms, unixSockGroup, authUnixRw, authUnixRo } = this.#settings;
    const gid = unixSockGroup === undefined ? undefined : groupId(unixSockGroup);
    const isSession = this.#options.mode === 'session';
    for (const path of this.#socketPaths()) {
      const mode = isSession ? 0o700 : unixSockRwPerms;
      this.#add(await listenUnix(this.server, { path, mode, gid, ...this.#admission(authUnixRw) }));
      if (isSession) continue;
      const readOnly = { path: `${path}-ro`, mode: unixSockRoPerms, gid, readOnly: true };
      this.#add(await listenUnix(this.server, { ...readOnly, ...this.#admission(authUnixRo) }));
    }
  }

  /** libvirtd's name, and those of its drivers' own daemons, which clients look for first. */
  #socketPaths(): string[] {
    const { socket, mode, stateDir } = this.#options;
    if (socket !== undefined) return [socket];
    const dir = this.#settings.unixSockDir ?? (stateDir === undefined ? defaultSocketDir(mode) : join(stateDir, 'run'));
    return ['libvirt-sock', 'virtqemud-sock', 'virtlxcd-sock'].map((name) => join(dir, name));
  }

  async #listenTcp(): Promise<void> {
    const { listenAddr: host, tcpPort: port, authTcp } = this.#settings;
    if (authTcp === 'none') {
      this.#options.onNote(
        `TCP port ${port} wants no authentication (auth_tcp = "none"): whoever reaches it is root here`,
      );
    }
    this.#add(await listenTcp(this.server, { host, port, ...this.#admission(authTcp) }));
  }

  async #listenTls(): Promise<void> {
    const { listenAddr: host, tlsPort: port, authTls, tlsAllowedDnList, tlsNoVerifyCertificate } = this.#settings;
    const { caFile, certFile, keyFile, crlFile } = this.#settings;
    const admission = {
      host,
      port,
      ca: readPem('ca_file', caFile),
      cert: readPem('cert_file', certFile),
      key: readPem('key_file', keyFile),
      ...(crlFile === undefined ? {} : { crl: readPem('crl_file', crlFile) }),
      verifyClients: !tlsNoVerifyCertificate,
      allowedNames: tlsAllowedDnList,
      ...this.#admission(authTls),
    };
    this.#add(await listenTls(this.server, admission));
  }

  #add(listener: { readonly address: string } & AsyncDisposable): void {
    this.#stack.use(listener);
    this.addresses.push(listener.address);
  }

  #admission(auth: 'none' | 'sasl'): ListenerAdmission {
    return auth === 'none' ? {} : { sasl: this.#saslUsers() };
  }

  /** Read at each exchange: a user that is added counts at once. */
  #saslUsers(): SaslUsers {
    const path = this.#settings.saslUsersFile;
    if (!existsSync(path)) {
      throw new VirtError(
        `SASL is wanted, and there are no users: add one with 'nestling daemon --set-user NAME' (${path})`,
        { code: ErrorCode.CONF_SYNTAX, domain: ErrorDomain.CONF },
      );
    }
    const allowed = this.#settings.saslAllowedUsernameList;
    return {
      verifierOf: (user) => readSaslUsers(path).get(user),
      isAllowed: (user) => allowed === undefined || allowed.includes(user),
    };
  }
}

/** libvirt's folder of sockets. */
export function defaultSocketDir(mode: 'system' | 'session'): string {
  if (mode === 'system') return '/run/libvirt';
  const runtimeDir = process.env['XDG_RUNTIME_DIR'];
  if (runtimeDir !== undefined && runtimeDir !== '') return `${runtimeDir}/libvirt`;
  return `${process.env['XDG_CACHE_HOME'] ?? `${userInfo().homedir}/.cache`}/libvirt`;
}

/** The configuration counts where neither options nor the environment say anything. */
async function openLogOf(
  { logLevel: level, logFilters: filters, logOutputs: outputs }: DaemonSettings,
  stack: DisposalStack,
  onNote: (note: string) => void,
): Promise<void> {
  const isWanted = level !== undefined || filters !== undefined || outputs !== undefined;
  if (!isWanted || log.enabled) return;
  const { openLog } = await import('../log/open.ts');
  const opened = stack.use(await openLog({}, VERSION, { env: {}, config: { level, filters, outputs } }));
  opened?.warnings.forEach(onNote);
}

/** libvirt's folder and ours; a daemon with a state of its own has hooks of its own. */
function hookDirs({ stateDir }: DaemonOptions): string[] {
  return stateDir === undefined ? ['/etc/libvirt/hooks', '/etc/nestling/hooks'] : [join(stateDir, 'etc', 'hooks')];
}

/** A daemon with a state of its own has no place among the host's. */
function defaultPidFile({ mode, stateDir, socket }: DaemonOptions): string | undefined {
  if (stateDir !== undefined) return join(stateDir, 'run', 'daemon.pid');
  if (socket !== undefined) return undefined;
  return mode === 'system' ? '/run/libvirtd.pid' : join(defaultSocketDir(mode), 'libvirtd.pid');
}

function readSettings({ configFile, onNote }: DaemonOptions): Partial<DaemonSettings> {
  const path = configFile ?? '/etc/nestling/daemon.conf';
  if (configFile === undefined && !existsSync(path)) return {};
  const { settings, notes } = parseDaemonSettings(readFileSync(path, 'utf8'), path);
  notes.forEach(onNote);
  return settings;
}

function limitsOf(settings: DaemonSettings): ConstructorParameters<typeof RpcServer>[0]['limits'] & object {
  return {
    clients: settings.maxClients,
    anonymousClients: settings.maxAnonymousClients,
    requests: Math.max(1, settings.maxClientRequests),
    keepaliveMs: settings.keepaliveInterval * 1000,
    keepaliveCount: settings.keepaliveCount,
  };
}

function groupId(name: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((candidate) => candidate.startsWith(`${name}:`));
  const gid = line?.split(':')[2];
  if (gid !== undefined) return Number(gid);
  throw new VirtError(`unix_sock_group: there is no group '${name}'`, {
    code: ErrorCode.CONF_SYNTAX,
    domain: ErrorDomain.CONF,
  });
}

function readPem(key: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new VirtError(`cannot read ${key} ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      code: ErrorCode.SYSTEM_ERROR,
      domain: ErrorDomain.CONF,
      cause,
    });
  }
}

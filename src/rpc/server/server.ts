/** A server of libvirt's protocol: takes connections from any listener, within limits, and serves a driver to them. */
import type { Duplex } from 'node:stream';
import { LogSource } from '../../core/log-source.ts';
import type { Driver } from '../../driver/driver.ts';
import type { SaslUsers } from './authentication.ts';
import type { ClientInfo, SessionLimits } from './client-info.ts';
import { ConsoleSessions } from './console-sessions.ts';
import { type Served, servedProcedures } from './procedures.ts';
import { Session } from './session.ts';

const log = new LogSource('rpc.netserver');

/** libvirtd's defaults, but for requests: ours cost no thread. */
export const DEFAULT_LIMITS: ServerLimits = {
  clients: 5000,
  anonymousClients: 20,
  requests: 64,
  streams: 64,
  authenticationMs: 30_000,
  keepaliveMs: 5000,
  keepaliveCount: 5,
};

export interface ServerLimits extends SessionLimits {
  readonly clients: number;
  /** Of them, those that have not proved who they are. */
  readonly anonymousClients: number;
}

export interface RpcServerOptions {
  /**
   * The driver for a URI that a client opens; `''`: the client names none.
   * @throws VirtError where there is no such driver
   */
  readonly openDriver: (uri: string, readOnly: boolean) => Driver | Promise<Driver>;
  readonly limits?: Partial<ServerLimits>;
}

/** What a listener says of a connection, and how its client proves who it is. */
export interface Admission extends ClientInfo {
  readonly sasl?: SaslUsers | undefined;
}

export class RpcServer implements AsyncDisposable {
  readonly #openDriver: RpcServerOptions['openDriver'];
  readonly #sessions = new Set<Session>();
  readonly #idle: (() => void)[] = [];
  readonly #consoles = new ConsoleSessions();
  readonly #programs: ReadonlyMap<number, ReadonlyMap<number, Served>>;
  #limits: ServerLimits;
  #anonymous = 0;
  #nextId = 1;
  #isClosed = false;

  constructor({ openDriver, limits }: RpcServerOptions) {
    this.#openDriver = openDriver;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#programs = servedProcedures();
  }

  get clients(): readonly Session[] {
    return [...this.#sessions];
  }

  get limits(): ServerLimits {
    return this.#limits;
  }

  /** For clients to come; those that are there keep theirs. */
  setLimits(limits: Partial<ServerLimits>): void {
    this.#limits = { ...this.#limits, ...limits };
  }

  /** Called whenever the last client leaves. */
  onIdle(listener: () => void): void {
    this.#idle.push(listener);
  }

  /** Serves a connection, or closes it where there are too many. */
  accept(stream: Duplex, { sasl, ...info }: Admission): Session | undefined {
    const { clients, anonymousClients } = this.#limits;
    const isAnonymous = sasl !== undefined;
    if (this.#isClosed || this.#sessions.size >= clients || (isAnonymous && this.#anonymous >= anonymousClients)) {
      log.warn(
        'accept',
        () => `${info.description} is refused: ${this.#sessions.size} clients, ${this.#anonymous} of them unknown`,
      );
      // Its own errors are of no interest any more.
      stream.on('error', () => {});
      stream.destroy();
      return undefined;
    }
    if (isAnonymous) this.#anonymous++;
    let counts = isAnonymous;
    const known = (): void => {
      if (counts) this.#anonymous--;
      counts = false;
    };
    const session: Session = new Session({
      id: this.#nextId++,
      stream,
      info,
      limits: this.#limits,
      sasl,
      programs: this.#programs,
      openDriver: this.#openDriver,
      consoles: this.#consoles,
      onAuthenticated: known,
      onClosed: () => {
        known();
        this.#sessions.delete(session);
        log.info('closed', () => `client=${session.id} ${info.description}`);
        if (this.#sessions.size === 0) for (const listener of this.#idle) listener();
      },
    });
    this.#sessions.add(session);
    log.info('accept', () => `client=${session.id} ${info.description} readonly=${info.readOnly}`);
    return session;
  }

  /** Closes all connections. Listeners are their owner's. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const sessions = [...this.#sessions];
    for (const session of sessions) session.close({ isShutdown: true });
    await Promise.all(sessions.map(({ closed }) => closed));
  }
}

/**
 * A connection to a D-Bus peer over a UNIX socket: login as this process's user, calls, signals. Just what talking to systemd takes: no
 * services of our own, no descriptors, no introspection.
 */
import { connect, type Socket } from 'node:net';
import { raceSignal, withTimeout } from '../../core/abort.ts';
import { LogSource } from '../../core/log-source.ts';
import type { BusAddress } from './dbus-address.ts';
import { type DbusMessage, encodeMessage, MessageSplitter } from './dbus-message.ts';
import { DbusFormatError, type DbusValue } from './dbus-value.ts';

const log = new LogSource('util.dbus');
/** As libdbus. */
const CALL_TIMEOUT_MS = 25_000;
/** The login's lines are short. */
const MAX_LOGIN_BYTES = 16 * 1024;
export const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

export interface DbusCall {
  /** Left out where there is no bus. */
  readonly destination?: string | undefined;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string | undefined;
  readonly body?: readonly DbusValue[] | undefined;
}

/** What the peer answered instead of a result. */
export class DbusError extends Error {
  override readonly name = 'DbusError';
  /** `org.freedesktop.DBus.Error.AccessDenied`. */
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

interface PendingCall {
  readonly resolve: (body: readonly DbusValue[]) => void;
  readonly reject: (reason: unknown) => void;
}

export type SignalListener = (message: DbusMessage) => void;

export class DbusConnection implements AsyncDisposable {
  /** Whether a bus delivers, so that calls need a destination. */
  readonly isBus: boolean;
  readonly #socket: Socket;
  readonly #pending = new Map<number, PendingCall>();
  readonly #listeners = new Set<SignalListener>();
  readonly #splitter = new MessageSplitter();
  readonly #closed = new AbortController();
  #serial = 0;

  private constructor(socket: Socket, isBus: boolean) {
    this.#socket = socket;
    this.isBus = isBus;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the connection to the bus was closed')));
  }

  /** Connects, logs in, and takes a name where there is a bus. @throws the socket's error; DbusError when the login is refused */
  static async open({ path, isBus }: BusAddress, signal?: AbortSignal): Promise<DbusConnection> {
    using deadline = withTimeout(signal, CALL_TIMEOUT_MS);
    const socket = connect({ path });
    try {
      await raceSignal(connected(socket), deadline);
      const rest = await raceSignal(logIn(socket), deadline);
      const connection = new DbusConnection(socket, isBus);
      if (rest.length > 0) connection.#receive(rest);
      if (isBus) await connection.call({ ...BUS, member: 'Hello' }, deadline);
      return connection;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Aborts when the connection ends, with the reason. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** @throws DbusError: the peer's answer; else why there is none */
  async call(call: DbusCall, signal?: AbortSignal): Promise<readonly DbusValue[]> {
    this.closed.throwIfAborted();
    signal?.throwIfAborted();
    const serial = ++this.#serial;
    const { destination, body = [], ...rest } = call;
    const message = { ...rest, ...(this.isBus ? { destination } : {}), type: 'call', serial, body } as const;
    const bytes = encodeMessage(message);
    log.debug('call', () => `${call.interface}.${call.member} serial=${serial}`);
    const answer = new Promise<readonly DbusValue[]>((resolve, reject) =>
      this.#pending.set(serial, { resolve, reject }),
    );
    this.#socket.write(bytes);
    using deadline = withTimeout(signal, CALL_TIMEOUT_MS);
    try {
      return await raceSignal(answer, deadline);
    } finally {
      this.#pending.delete(serial);
    }
  }

  /** Hands every signal on that arrives; which ones do is what the bus was asked for. */
  onSignal(listener: SignalListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  #receive(chunk: Buffer): void {
    try {
      for (const message of this.#splitter.push(chunk)) this.#take(message);
    } catch (error) {
      this.#end(error);
      this.#socket.destroy();
    }
  }

  #take(message: DbusMessage): void {
    if (message.type === 'signal') {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    if (message.type === 'call') return;
    const pending = this.#pending.get(message.replySerial ?? -1);
    if (message.type === 'reply') return pending?.resolve(message.body);
    const [words] = message.body;
    const name = message.errorName ?? '';
    log.debug('error', () => `serial=${message.replySerial} ${name}: ${typeof words === 'string' ? words : ''}`);
    pending?.reject(new DbusError(name, typeof words === 'string' ? words : name));
  }

  /** The first reason wins. */
  #end(reason: unknown): void {
    if (this.closed.aborted) return;
    this.#closed.abort(reason);
    for (const { reject } of this.#pending.values()) reject(reason);
  }

  /** Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(new Error('the connection to the bus was closed by its owner'));
    if (this.#socket.closed) return;
    await new Promise<void>((resolve) => {
      this.#socket.once('close', () => resolve());
      this.#socket.destroy();
    });
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve();
    });
    socket.once('error', reject);
  });
}

/** The kernel tells the peer who we are; the line only says that we mean it. @returns what came behind the peer's answer */
async function logIn(socket: Socket): Promise<Buffer> {
  const uid = String(process.geteuid?.() ?? 0);
  socket.write(`\0AUTH EXTERNAL ${Buffer.from(uid).toString('hex')}\r\n`);
  const { line, rest } = await readLine(socket);
  if (!/^OK( |$)/.test(line))
    throw new DbusError('org.freedesktop.DBus.Error.AuthFailed', `the bus does not let user ${uid} in: ${line}`);
  socket.write('BEGIN\r\n');
  return rest;
}

function readLine(socket: Socket): Promise<{ line: string; rest: Buffer }> {
  return new Promise((resolve, reject) => {
    let text = Buffer.alloc(0);
    const release = (): void => {
      socket.off('data', onData);
      socket.off('error', onError);
      socket.off('close', onClose);
    };
    const onError = (error: unknown): void => {
      release();
      reject(error);
    };
    const onClose = (): void => onError(new Error('the bus closed the connection during login'));
    const onData = (chunk: Buffer): void => {
      text = Buffer.concat([text, chunk]);
      const end = text.indexOf('\r\n');
      if (end < 0) {
        if (text.length > MAX_LOGIN_BYTES) onError(new DbusFormatError('the answer to the login does not end'));
        return;
      }
      release();
      resolve({ line: text.toString('latin1', 0, end), rest: text.subarray(end + 2) });
    };
    socket.on('data', onData);
    socket.on('error', onError);
    socket.on('close', onClose);
  });
}

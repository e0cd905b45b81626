/**
 * Stands in for systemd and machined in tests: records every call, answers as they do, and can be told to answer oddly. It speaks messages; a
 * transport brings them: `FakeBus` below is a bus of its own on a socket.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { type DbusMessage, decodeMessage, encodeMessage, MessageSplitter } from '../dbus-message.ts';
import { type DbusValue, variant } from '../dbus-value.ts';

export interface FakeOptions {
  readonly machined?: boolean;
  /** Result of jobs. */
  readonly jobResult?: string;
  /** Whether a job's end is told before its name is. */
  readonly isJobFirst?: boolean;
  /** Errors by member: name and words. */
  readonly errors?: Readonly<Record<string, readonly [name: string, words: string]>>;
  /** Members that are never answered. */
  readonly silent?: readonly string[];
  /** The connection ends when one of these is called. */
  readonly hangsUpAt?: readonly string[];
  readonly littleEndian?: boolean;
  readonly rejectsLogin?: boolean;
}

export interface RecordedCall {
  readonly destination: string | undefined;
  readonly member: string;
  readonly signature: string | undefined;
  readonly body: readonly DbusValue[];
}

type Answer = { readonly signature?: string; readonly body?: readonly DbusValue[] };
type Signal = Pick<DbusMessage, 'path' | 'interface' | 'member' | 'signature' | 'body'>;

/** What each call takes, as introspection of systemd 252 tells. */
const SIGNATURES: Readonly<Record<string, string | undefined>> = {
  Hello: undefined,
  Subscribe: undefined,
  ListActivatableNames: undefined,
  NameHasOwner: 's',
  AddMatch: 's',
  CreateMachine: 'sayssusa(sv)',
  CreateMachineWithNetwork: 'sayssusaia(sv)',
  TerminateMachine: 's',
  GetMachine: 's',
  StartTransientUnit: 'ssa(sv)a(sa(sv))',
  StartUnit: 'ss',
  StopUnit: 'ss',
  GetUnit: 's',
  Get: 'ss',
  ResetFailedUnit: 's',
  SetUnitProperties: 'sba(sv)',
  ListUnitsByPatterns: 'asas',
};

const UNIT_PATH = '/org/freedesktop/systemd1/unit/';

export class FakeSystemd {
  readonly calls: RecordedCall[] = [];
  /** Loaded units, with their slice. */
  readonly units = new Map<string, string>();
  readonly machines = new Set<string>();
  /** Units that have ended badly: loaded still, without a group. */
  readonly failed = new Set<string>();
  readonly options: FakeOptions;
  readonly #refused = new Map<string, readonly [string, string]>();
  #jobs = 0;

  constructor(options: FakeOptions = {}) {
    this.options = options;
  }

  /** From now on calls of this member fail. */
  refuse(member: string, errorName: string): void {
    this.#refused.set(member, [errorName, 'refused']);
  }

  /** @returns what is sent back, in this order; undefined: the connection ends */
  handle(message: DbusMessage): DbusMessage[] | undefined {
    const { member = '', destination, signature, body, serial, sender } = message;
    this.calls.push({ destination, member, signature, body });
    if (this.options.hangsUpAt?.includes(member) === true) return undefined;
    if (this.options.silent?.includes(member) === true) return [];
    const base = { serial: 1, replySerial: serial, destination: sender };
    const error = this.#refused.get(member) ?? this.options.errors?.[member] ?? this.#refusal(message);
    if (error !== undefined) {
      const [errorName, words] = error;
      return [{ ...base, type: 'error', errorName, signature: 's', body: [words] }];
    }
    const { answer, signals } = this.#answer(message);
    const reply: DbusMessage = { ...base, type: 'reply', body: [], ...answer };
    const told = signals.map((signal): DbusMessage => ({ ...signal, type: 'signal', serial: 2 }));
    return this.options.isJobFirst === true ? [...told, reply] : [reply, ...told];
  }

  #refusal({ member = '', signature, body }: DbusMessage): readonly [string, string] | undefined {
    const name = body[0] as string;
    if (!Object.hasOwn(SIGNATURES, member)) return ['org.freedesktop.DBus.Error.UnknownMethod', `no ${member}`];
    if (SIGNATURES[member] !== signature)
      return ['org.freedesktop.DBus.Error.InvalidArgs', `'${signature}' to call ${member}`];
    if (member === 'GetUnit' || member === 'StopUnit' || member === 'ResetFailedUnit') {
      return this.units.has(name) ? undefined : ['org.freedesktop.systemd1.NoSuchUnit', `Unit ${name} not loaded.`];
    }
    if (member === 'StartTransientUnit' && this.units.has(name)) {
      return ['org.freedesktop.systemd1.UnitExists', `Unit ${name} was already loaded.`];
    }
    if ((member === 'TerminateMachine' || member === 'GetMachine') && !this.machines.has(name)) {
      return ['org.freedesktop.machine1.NoSuchMachine', `No machine '${name}' known`];
    }
    return undefined;
  }

  #answer({ member = '', path = '', body }: DbusMessage): { answer: Answer; signals: Signal[] } {
    const [name, ...rest] = body.map(String);
    const plain = (answer: Answer = {}) => ({ answer, signals: [] });
    switch (member) {
      case 'Hello':
        return plain({ signature: 's', body: [':1.7'] });
      case 'NameHasOwner':
        return plain({ signature: 'b', body: [this.options.machined === true] });
      case 'ListActivatableNames':
        return plain({ signature: 'as', body: [['org.freedesktop.DBus', 'org.freedesktop.systemd1']] });
      case 'CreateMachineWithNetwork':
      case 'CreateMachine': {
        this.machines.add(name ?? '');
        this.units.set(`machine-${name?.replaceAll('-', '\\x2d')}.scope`, sliceIn(body));
        return plain({ signature: 'o', body: ['/org/freedesktop/machine1/machine/one'] });
      }
      case 'TerminateMachine': {
        this.machines.delete(name ?? '');
        this.units.delete(`machine-${name?.replaceAll('-', '\\x2d')}.scope`);
        const about = { path: '/org/freedesktop/machine1', interface: 'org.freedesktop.machine1.Manager' };
        const signal = { ...about, member: 'MachineRemoved', signature: 'so', body: [name ?? '', '/x'] };
        return { answer: {}, signals: [signal] };
      }
      case 'StartTransientUnit':
      case 'StartUnit':
        this.units.set(name ?? '', sliceIn(body));
        return this.#job(name ?? '');
      case 'StopUnit':
        this.units.delete(name ?? '');
        return this.#job(name ?? '');
      case 'GetUnit':
        return plain({ signature: 'o', body: [`${UNIT_PATH}${Buffer.from(name ?? '').toString('hex')}`] });
      case 'Get':
        return plain({ signature: 'v', body: [variant('s', this.#property(path, rest[0] ?? ''))] });
      case 'ListUnitsByPatterns': {
        const units = [...this.units.keys()].map((unit) => [
          unit,
          '',
          'loaded',
          'active',
          'active',
          '',
          '/',
          0,
          '',
          '/',
        ]);
        return plain({ signature: 'a(ssssssouso)', body: [units] });
      }
      default:
        return plain();
    }
  }

  #job(unit: string): { answer: Answer; signals: Signal[] } {
    const job = `/org/freedesktop/systemd1/job/${++this.#jobs}`;
    const about = { path: '/org/freedesktop/systemd1', interface: 'org.freedesktop.systemd1.Manager' };
    const body = [this.#jobs, job, unit, this.options.jobResult ?? 'done'];
    return {
      answer: { signature: 'o', body: [job] },
      signals: [
        // Somebody else's.
        { ...about, member: 'JobRemoved', signature: 'uoss', body: [999, '/other', 'other.service', 'failed'] },
        { ...about, member: 'JobRemoved', signature: 'uoss', body },
      ],
    };
  }

  #property(path: string, property: string): string {
    const unit = Buffer.from(path.slice(UNIT_PATH.length), 'hex').toString();
    if (property === 'ActiveState') return this.failed.has(unit) ? 'failed' : 'active';
    if (property === 'ControlGroup' && this.failed.has(unit)) return '';
    if (property === 'ControlGroup')
      return unit.endsWith('.slice') ? `/${unit}` : `/${this.units.get(unit) ?? ''}/${unit}`;
    // The machine's unit: the last that was made.
    return [...this.units.keys()].at(-1) ?? '';
  }
}

function sliceIn(body: readonly DbusValue[]): string {
  const properties = body.findLast((value) => Array.isArray(value) && value.length > 0);
  const pairs = (Array.isArray(properties) ? properties : []) as readonly (readonly DbusValue[])[];
  const found = pairs.find(([name]) => name === 'Slice')?.[1];
  return typeof found === 'object' && 'signature' in found ? (found.value as string) : '';
}

/** A bus on a socket, with the stand-in behind it. */
export class FakeBus implements AsyncDisposable {
  readonly path: string;
  readonly systemd: FakeSystemd;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(path: string, systemd: FakeSystemd, server: Server) {
    this.path = path;
    this.systemd = systemd;
    this.#server = server;
  }

  static async listen(path: string, options: FakeOptions = {}): Promise<FakeBus> {
    const systemd = new FakeSystemd(options);
    const server = createServer();
    const bus = new FakeBus(path, systemd, server);
    server.on('connection', (socket) => bus.#serve(socket));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return bus;
  }

  get address(): string {
    return this.path.startsWith('\0') ? `unix:abstract=${this.path.slice(1)}` : `unix:path=${this.path}`;
  }

  /** How many are connected. */
  get connections(): number {
    return this.#sockets.size;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    const splitter = new MessageSplitter();
    let login = Buffer.alloc(0);
    let isIn = false;
    socket.on('data', (chunk: Buffer) => {
      if (!isIn) {
        login = Buffer.concat([login, chunk]);
        if (login.includes('AUTH EXTERNAL') && !login.includes('BEGIN\r\n')) {
          socket.write(
            this.systemd.options.rejectsLogin === true ? 'REJECTED EXTERNAL\r\n' : 'OK 0123456789abcdef\r\n',
          );
        }
        const end = login.indexOf('BEGIN\r\n');
        if (end < 0) return;
        isIn = true;
        chunk = login.subarray(end + 'BEGIN\r\n'.length);
      }
      for (const message of splitter.push(chunk)) this.#answer(socket, message);
    });
  }

  #answer(socket: Socket, message: DbusMessage): void {
    const answers = this.systemd.handle(message);
    if (answers === undefined) {
      socket.destroy();
      return;
    }
    const littleEndian = this.systemd.options.littleEndian ?? true;
    for (const answer of answers) {
      const bytes = encodeMessage(answer, { littleEndian });
      // What is sent is what would be understood.
      decodeMessage(bytes);
      socket.write(bytes);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

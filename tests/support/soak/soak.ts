/**
 * Many clients that do random things to a few guests of one daemon, which is killed again and again. Every acknowledged operation is
 * held against the model; where the daemon died before it answered, both outcomes are right, and only those. Guests are boot sectors.
 */
import { Mutex } from '../../../src/core/mutex.ts';
import { type Connection, connect, type Domain, DomainState, ErrorCode, VirtError } from '../../../src/index.ts';
import type { TestDaemon } from '../daemon.ts';
import { domainXml } from '../domain-xml.ts';
import { bootSectorImage } from '../guests/boot-sectors.ts';
import { exists, GONE, type GuestState, OPERATIONS, type Operation, outcomeOf } from './guest-model.ts';

export interface SoakOptions {
  readonly seconds: number;
  readonly clients: number;
  readonly guests: number;
  readonly kills: number;
  readonly seed: number;
}

export interface SoakResult {
  /** Each is a wrong reply, or a state that no acknowledged operation explains. */
  readonly faults: readonly string[];
  readonly acknowledged: number;
  readonly refused: number;
  /** The daemon died before it answered. */
  readonly unanswered: number;
  readonly reads: number;
}

/** A guest and what must be true of it. */
interface Guest {
  readonly name: string;
  readonly uuid: string;
  /** Whose turn it is to change the guest. */
  readonly lock: Mutex;
  state: GuestState;
  /** Counts beginnings and ends of changes: odd while it is being changed. */
  epoch: number;
  version: number;
  readonly history: string[];
}

const HISTORY = 12;
const FAULTS_MAX = 5;

export class Soak {
  readonly #daemon: TestDaemon;
  readonly #options: SoakOptions;
  readonly #guests: readonly Guest[];
  readonly #image: string;
  readonly #faults: string[] = [];
  #acknowledged = 0;
  #refused = 0;
  #unanswered = 0;
  #reads = 0;
  #seed: number;
  #isOver = false;

  private constructor(daemon: TestDaemon, options: SoakOptions, image: string) {
    this.#daemon = daemon;
    this.#options = options;
    this.#image = image;
    this.#seed = options.seed;
    this.#guests = Array.from({ length: options.guests }, (_, index) => ({
      name: `soak-${index}`,
      uuid: `5041a000-0000-4000-8000-${String(index).padStart(12, '0')}`,
      lock: new Mutex(),
      state: GONE,
      epoch: 0,
      version: 0,
      history: [],
    }));
  }

  static async prepare(daemon: TestDaemon, options: SoakOptions): Promise<Soak> {
    return new Soak(daemon, options, await bootSectorImage('halt'));
  }

  get expected(): ReadonlyMap<string, GuestState> {
    return new Map(this.#guests.map(({ name, state }) => [name, state]));
  }

  async run(): Promise<SoakResult> {
    const { clients, kills, seconds } = this.#options;
    const workers = Array.from({ length: clients }, () => this.#work());
    for (let kill = 0; kill < kills; kill++) {
      await pause((seconds * 1000) / (kills + 1));
      await this.#daemon.crash();
    }
    await pause((seconds * 1000) / (kills + 1));
    this.#isOver = true;
    await Promise.all(workers);
    return this.#result();
  }

  /** Compares all that there is with the model. @returns what differs */
  async survey(): Promise<string[]> {
    await using connection = await connect(this.#daemon.uri);
    const faults: string[] = [];
    for (const guest of this.#guests) {
      const observed = await observe(connection, guest.name);
      if (!isSame(observed, guest.state)) faults.push(describe(guest, 'is at the end', observed));
    }
    const listed = (await connection.listAllDomains()).map(({ name }) => name).toSorted();
    const wanted = this.#guests.filter(({ state }) => exists(state)).map(({ name }) => name);
    if (listed.join() !== wanted.toSorted().join()) faults.push(`the list has ${listed.join()}, not ${wanted.join()}`);
    return faults;
  }

  /** Ends and forgets every guest. */
  async clear(): Promise<void> {
    await using connection = await connect(this.#daemon.uri);
    for (const domain of await connection.listAllDomains()) {
      if (await domain.isActive()) await domain.destroy();
      if (await domain.isPersistent().catch(() => false)) await domain.undefine();
    }
  }

  #result(): SoakResult {
    return {
      faults: this.#faults,
      acknowledged: this.#acknowledged,
      refused: this.#refused,
      unanswered: this.#unanswered,
      reads: this.#reads,
    };
  }

  async #work(): Promise<void> {
    let connection = await this.#connect();
    while (!this.#isOver && this.#faults.length < FAULTS_MAX) {
      const guest = this.#pick(this.#guests);
      try {
        if (this.#random() < 0.5) await this.#read(connection, guest);
        else connection = await this.#change(connection, guest);
      } catch (error) {
        if (isLost(error)) connection = await this.#connect();
        else this.#faults.push(describe(guest, `answers ${String(error)}`, guest.state));
      }
    }
    await connection.close();
  }

  /** Counts only where nobody has changed the guest meanwhile. */
  async #read(connection: Connection, guest: Guest): Promise<void> {
    const { epoch, state } = guest;
    try {
      const observed = await observe(connection, guest.name);
      this.#reads++;
      if (isAtRest(guest, epoch) && !isSame(observed, state)) {
        this.#faults.push(describe(guest, 'is for a reader', observed));
      }
    } catch (error) {
      // Of a guest that is being started there is nothing to tell yet.
      if (isLost(error) || isAtRest(guest, epoch)) throw error;
    }
  }

  /** @returns the connection to go on with */
  async #change(connection: Connection, guest: Guest): Promise<Connection> {
    using _turn = await guest.lock.acquire();
    if (this.#isOver) return connection;
    const operation = this.#pick(OPERATIONS);
    const version = ++guest.version;
    const expected = outcomeOf(guest.state, operation, version);
    guest.epoch++;
    try {
      const code = await this.#carryOut(connection, guest, operation, version);
      note(guest, `${operation} ${code === undefined ? 'done' : `refused with ${code}`}`);
      const wanted = 'refusal' in expected ? expected.refusal : undefined;
      if (code !== wanted) {
        this.#faults.push(describe(guest, `${operation} gives ${code}, not ${wanted}`, guest.state));
      } else if ('next' in expected) {
        guest.state = expected.next;
        this.#acknowledged++;
      } else {
        this.#refused++;
      }
      return connection;
    } catch (error) {
      if (!isLost(error)) throw error;
      this.#unanswered++;
      note(guest, `${operation} not answered`);
      return await this.#settle(guest, operation, 'next' in expected ? [guest.state, expected.next] : [guest.state]);
    } finally {
      guest.epoch++;
    }
  }

  /** Undefined, or the code of the refusal. */
  async #carryOut(
    connection: Connection,
    guest: Guest,
    operation: Operation,
    version: number,
  ): Promise<number | undefined> {
    try {
      if (operation === 'define') await connection.defineDomain(this.#xml(guest, version));
      else if (operation === 'createTransient') await connection.createDomain(this.#xml(guest, version));
      else await act(await connection.lookupDomainByName(guest.name), operation, guest.state);
      return undefined;
    } catch (error) {
      if (isLost(error) || !(error instanceof VirtError)) throw error;
      return error.code;
    }
  }

  /** Finds out what became of an operation that nobody answered. */
  async #settle(guest: Guest, operation: Operation, possible: readonly GuestState[]): Promise<Connection> {
    for (;;) {
      const connection = await this.#connect();
      try {
        const observed = await observe(connection, guest.name);
        if (!possible.some((state) => isSame(state, observed))) {
          this.#faults.push(describe(guest, `is after the unanswered ${operation}`, observed));
        }
        guest.state = observed;
        // QEMU may still be about to do what the daemon told it last: the same once more leaves no doubt.
        if (IN_FLIGHT.has(operation) && observed.live !== 'off') {
          await this.#carryOut(connection, guest, operation, guest.version);
          guest.state = await observe(connection, guest.name);
        }
        return connection;
      } catch (error) {
        if (!isLost(error)) throw error;
      }
    }
  }

  async #connect(): Promise<Connection> {
    for (;;) {
      try {
        return await connect(this.#daemon.uri);
      } catch {
        // It is being killed, or not there yet.
        await pause(20);
      }
    }
  }

  #xml({ name, uuid }: Guest, version: number): string {
    return domainXml({
      name,
      uuid,
      memoryMiB: 16,
      disks: [{ path: this.#image, readonly: true }],
      extra: `<description>version ${version}</description>`,
    });
  }

  #pick<T>(items: readonly T[]): T {
    const found = items[Math.floor(this.#random() * items.length)];
    if (found === undefined) throw new RangeError('nothing to choose from');
    return found;
  }

  /** A generator that a seed repeats (mulberry32), as far as the order of replies does. */
  #random(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** What reaches QEMU itself: it may take effect after the daemon's end. */
const IN_FLIGHT: ReadonlySet<Operation> = new Set(['destroy', 'suspend', 'resume']);

async function act(
  domain: Domain,
  operation: Exclude<Operation, 'define' | 'createTransient'>,
  state: GuestState,
): Promise<void> {
  switch (operation) {
    case 'undefine':
      return await domain.undefine();
    case 'start':
      return await domain.create();
    case 'startPaused':
      return await domain.create({ paused: true });
    case 'destroy':
      return await domain.destroy();
    case 'suspend':
      return await domain.suspend();
    case 'resume':
      return await domain.resume();
    case 'setAutostart':
      return await domain.setAutostart(!state.autostart);
  }
}

/** What the daemon says of a guest. */
async function observe(connection: Connection, name: string): Promise<GuestState> {
  try {
    const domain = await connection.lookupDomainByName(name);
    const { state } = await domain.state();
    const live = state === DomainState.RUNNING ? 'running' : state === DomainState.PAUSED ? 'paused' : 'off';
    const isPersistent = await domain.isPersistent();
    const xml = await domain.xmlDesc({ inactive: true });
    const version = Number(/<description>version (\d+)</.exec(xml)?.[1]);
    return { version: isPersistent ? version : undefined, live, autostart: isPersistent && (await domain.autostart()) };
  } catch (error) {
    if (error instanceof VirtError && error.code === ErrorCode.NO_DOMAIN) return GONE;
    throw error;
  }
}

/** The daemon has died under the call, or the connection was found closed. */
function isLost(error: unknown): boolean {
  return error instanceof VirtError && (error.code === ErrorCode.RPC || error.code === ErrorCode.INVALID_CONN);
}

/** Nobody has changed it since, nor was it being changed then. */
function isAtRest(guest: Guest, epoch: number): boolean {
  return epoch % 2 === 0 && guest.epoch === epoch;
}

function isSame(a: GuestState, b: GuestState): boolean {
  return a.version === b.version && a.live === b.live && a.autostart === b.autostart;
}

function note(guest: Guest, line: string): void {
  guest.history.push(line);
  if (guest.history.length > HISTORY) guest.history.shift();
}

function describe(guest: Guest, what: string, observed: GuestState): string {
  return `${guest.name} ${what}: ${JSON.stringify(observed)}; the model says ${JSON.stringify(guest.state)} after ${guest.history.join(', ')}`;
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

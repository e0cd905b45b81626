/**
 * What a server tells of its domains: asked for when somebody first wants to hear it, handed on to all who do. The ends of guests are
 * remembered, for whoever waits for one that is over.
 */
import { Broadcast } from '../../core/broadcast.ts';
import { ErrorCode, VirtError } from '../../core/errors.ts';
import type { DomainEvent } from '../../driver/domain-events.ts';
import { DomainState, StateReason } from '../../driver/domain-state.ts';
import type { DomainStateAndReason, DomainStop, Waiting } from '../../driver/driver.ts';
import type { MonitorEvent } from '../../driver/interaction-operations.ts';
import { REMOTE_PROCEDURES as P, Program, QEMU_PROCEDURES as Q } from '../../protocol/index.ts';
import { identityFromWire } from '../convert.ts';
import { WIRE_EVENTS } from '../domain-events.ts';
import type { RpcClient } from './rpc-client.ts';

/** Ends of guests that are remembered for whoever asks late. */
const STOPS_KEPT = 1024;
/** Older kinds of I/O errors and block jobs: the newer kind tells the same and more. */
const SUPERSEDED: ReadonlySet<number> = new Set([4, 8]);

export class RemoteDomainEvents {
  readonly #client: RpcClient;
  readonly #registering: (registration: Promise<unknown>) => void;
  readonly #events = new Broadcast<DomainEvent>();
  readonly #monitorEvents = new Broadcast<MonitorEvent>();
  readonly #stops = new Map<string, DomainStop>();
  #hasEvents = false;
  #hasMonitorEvents = false;

  /** `registering`: is given what later calls have to wait for. */
  constructor(client: RpcClient, registering: (registration: Promise<unknown>) => void) {
    this.#client = client;
    this.#registering = registering;
    void client.closed.then(() => {
      this.#events.end();
      this.#monitorEvents.end();
    });
  }

  subscribe({ signal }: Waiting = {}): AsyncIterable<DomainEvent> {
    this.register();
    return this.#events.subscribe({ signal });
  }

  subscribeMonitor({ uuid, signal }: { readonly uuid?: string | undefined } & Waiting): AsyncIterable<MonitorEvent> {
    this.#registerMonitor();
    const all = this.#monitorEvents.subscribe({ signal });
    return uuid === undefined ? all : ofDomain(all, uuid);
  }

  /** `state`: asks the server how the domain is. @throws VirtError INVALID_CONN when the connection ends first */
  async waitForStop(
    uuid: string,
    state: () => Promise<DomainStateAndReason>,
    { signal }: Waiting,
  ): Promise<DomainStop> {
    const events = this.subscribe({ signal });
    try {
      const now = await state();
      if (now.state === DomainState.SHUTOFF) return this.#stops.get(uuid) ?? stopOfReason(now.reason);
    } catch (error) {
      const stop = this.#stops.get(uuid);
      // A transient domain goes with its guest.
      if (stop !== undefined && error instanceof VirtError && error.code === ErrorCode.NO_DOMAIN) return stop;
      throw error;
    }
    for await (const event of events) {
      const isStop = event.domain.uuid === uuid && event.event === 'lifecycle' && event.type === 'stopped';
      if (isStop) return this.#stops.get(uuid) ?? stopOfDetail(event.detail);
    }
    throw new VirtError('the connection was closed before the guest stopped', { code: ErrorCode.INVALID_CONN });
  }

  /** Asks for all kinds, once. */
  register(): void {
    if (this.#hasEvents) return;
    this.#hasEvents = true;
    const registrations: Promise<unknown>[] = [];
    for (const kind of WIRE_EVENTS) {
      if (SUPERSEDED.has(kind.id)) continue;
      this.#client.on(kind.message, (message) => this.#take(kind.fromWire(message, Date.now())));
      const registered = this.#client.call(P.connectDomainEventCallbackRegisterAny, {
        eventID: kind.id,
        dom: undefined,
      });
      // Kinds that an older server does not know cannot come from it.
      registrations.push(kind.id === 0 ? registered : registered.catch(() => undefined));
    }
    this.#registering(Promise.all(registrations));
  }

  #registerMonitor(): void {
    if (this.#hasMonitorEvents) return;
    this.#hasMonitorEvents = true;
    this.#client.on(
      Q.domainMonitorEvent,
      ({ dom, event, seconds, micros, details }) =>
        this.#monitorEvents.send({ domain: identityFromWire(dom), event, seconds, micros, details }),
      Program.QEMU,
    );
    const args = { dom: undefined, event: undefined, flags: 0 };
    this.#registering(this.#client.call(Q.connectDomainMonitorEventRegister, args, { program: Program.QEMU }));
  }

  #take(event: DomainEvent): void {
    if (event.event === 'lifecycle') {
      const { uuid } = event.domain;
      if (event.type === 'stopped') {
        this.#stops.delete(uuid);
        this.#stops.set(uuid, stopOfDetail(event.detail));
        const [oldest] = this.#stops.keys();
        if (this.#stops.size > STOPS_KEPT && oldest !== undefined) this.#stops.delete(oldest);
      } else if (event.type === 'started') {
        this.#stops.delete(uuid);
      }
    }
    this.#events.send(event);
  }
}

function stopOfDetail(detail: string): DomainStop {
  switch (detail) {
    case 'shutdown':
      return { detail, reason: 'the guest powered off' };
    case 'crashed':
      return { detail, reason: 'the guest crashed' };
    case 'failed':
      return { detail, reason: 'the guest failed' };
    case 'saved':
      return { detail, reason: 'the guest was saved' };
    case 'destroyed':
      return { detail, reason: 'the guest was destroyed' };
    default:
      return { detail: 'destroyed', reason: `the guest was ended: ${detail}` };
  }
}

function stopOfReason(reason: number): DomainStop {
  const { SHUTDOWN, CRASHED, FAILED } = StateReason.shutoff;
  const details: Readonly<Record<number, string>> = {
    [SHUTDOWN]: 'shutdown',
    [CRASHED]: 'crashed',
    [FAILED]: 'failed',
  };
  return stopOfDetail(details[reason] ?? 'destroyed');
}

async function* ofDomain(events: AsyncIterable<MonitorEvent>, uuid: string): AsyncGenerator<MonitorEvent> {
  for await (const event of events) if (event.domain.uuid === uuid) yield event;
}

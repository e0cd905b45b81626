/**
 * The events of one connection: which kinds its client has asked for, of which domains, in which of the protocol's three ways (all
 * lifecycle events, one kind without, or with a number of its own for each request), and the messages that follow.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import type { DomainEvent } from '../../driver/domain-events.ts';
import type { Driver } from '../../driver/driver.ts';
import type { MonitorEvent } from '../../driver/interaction-operations.ts';
import type { NetworkEvent } from '../../driver/network-operations.ts';
import type { NodeDeviceEvent } from '../../driver/node-device-operations.ts';
import type { SecretEvent } from '../../driver/secret-operations.ts';
import type { PoolEvent } from '../../driver/storage-operations.ts';
import { type EventMessage, REMOTE_PROCEDURES as P, Program, QEMU_PROCEDURES as Q } from '../../protocol/index.ts';
import { identityToWire, uuidFromWire, type WireDomain } from '../convert.ts';
import { WIRE_EVENTS, type WireEvent } from '../domain-events.ts';
import { METADATA_KINDS, NETWORK_CHANGES, NETWORK_EVENT, NODE_DEVICE_CHANGES, NODE_DEVICE_EVENT } from '../flags.ts';
import { POOL_EVENT, POOL_LIFECYCLE, poolToWire } from '../storage-convert.ts';

import { checkFlags } from './handler.ts';
import { networkToWire } from './handlers/networks.ts';
import { secretToWire } from './handlers/secrets.ts';

const log = new LogSource('daemon.remote');

/** Messages without a callback's number, for clients from before there were any. */
const LEGACY: Readonly<Record<number, EventMessage>> = {
  0: P.domainEventLifecycle,
  1: P.domainEventReboot,
  2: P.domainEventRtcChange,
  3: P.domainEventWatchdog,
  4: P.domainEventIoError,
  5: P.domainEventGraphics,
  6: P.domainEventIoErrorReason,
  7: P.domainEventControlError,
  8: P.domainEventBlockJob,
  9: P.domainEventDiskChange,
  10: P.domainEventTrayChange,
  11: P.domainEventPmwakeup,
  12: P.domainEventPmsuspend,
  13: P.domainEventBalloonChange,
  14: P.domainEventPmsuspendDisk,
  15: P.domainEventDeviceRemoved,
};
/** virSecretEventID and virSecretEventLifecycleType. */
const SECRET_LIFECYCLE = 0;
const SECRET_VALUE_CHANGED = 1;
/** Callbacks that one client may have. */
const CALLBACKS_MAX = 4096;
/** Kinds of events of later libvirts: they may be asked for, and never come. */
const LAST_EVENT_ID = 27;

type Send = (program: number, event: EventMessage, message: unknown) => void;

interface Callback {
  readonly kind: WireEvent | undefined;
  readonly uuid: string | undefined;
}

/** What a client asks for: an ID among the kind's, of one object or of all. */
interface Wanted {
  readonly eventID: number;
  /** UUID, or name of a node device. */
  readonly object: string | undefined;
}

interface Told {
  readonly eventID: number;
  readonly object: string;
  readonly message: EventMessage;
  readonly fields: object;
}

/** One kind of objects beside domains: where its events come from, and what each is on the wire. */
interface ObjectKind<E> {
  /** virConnect…EventRegisterAny. */
  readonly api: string;
  readonly eventIDs: readonly number[];
  readonly events: (driver: Driver, signal: AbortSignal) => AsyncIterable<E> | undefined;
  readonly tell: (event: E) => Told;
}

const SECRETS: ObjectKind<SecretEvent> = {
  api: 'virConnectSecretEventRegisterAny',
  eventIDs: [SECRET_LIFECYCLE, SECRET_VALUE_CHANGED],
  events: ({ secrets }, signal) => secrets?.events({ signal }),
  tell: ({ secret, type }) => {
    const [object, wire] = [secret.uuid, secretToWire(secret)];
    if (type === 'value-changed') {
      return {
        eventID: SECRET_VALUE_CHANGED,
        object,
        message: P.secretEventValueChanged,
        fields: { secret: wire },
      };
    }
    const fields = { secret: wire, event: type === 'defined' ? 0 : 1, detail: 0 };
    return { eventID: SECRET_LIFECYCLE, object, message: P.secretEventLifecycle, fields };
  },
};

const NETWORKS: ObjectKind<NetworkEvent> = {
  api: 'virConnectNetworkEventRegisterAny',
  eventIDs: [NETWORK_EVENT.LIFECYCLE, NETWORK_EVENT.METADATA_CHANGE],
  events: ({ networks }, signal) => networks?.events({ signal }),
  tell: (event) => {
    const [object, net] = [event.network.uuid, networkToWire(event.network)];
    if (event.kind === 'metadata') {
      const fields = { net, type: METADATA_KINDS.indexOf(event.metadata), nsuri: event.uri };
      return {
        eventID: NETWORK_EVENT.METADATA_CHANGE,
        object,
        message: P.networkEventCallbackMetadataChange,
        fields,
      };
    }
    const fields = { net, event: NETWORK_CHANGES.indexOf(event.type), detail: 0 };
    return { eventID: NETWORK_EVENT.LIFECYCLE, object, message: P.networkEventLifecycle, fields };
  },
};

const NODE_DEVICES: ObjectKind<NodeDeviceEvent> = {
  api: 'virConnectNodeDeviceEventRegisterAny',
  eventIDs: [NODE_DEVICE_EVENT.LIFECYCLE, NODE_DEVICE_EVENT.UPDATE],
  events: ({ nodeDevices }, signal) => nodeDevices?.events({ signal }),
  tell: (event) => {
    const [object, dev] = [event.device, { name: event.device }];
    if (event.kind === 'update') {
      return { eventID: NODE_DEVICE_EVENT.UPDATE, object, message: P.nodeDeviceEventUpdate, fields: { dev } };
    }
    const fields = { dev, event: NODE_DEVICE_CHANGES.indexOf(event.type), detail: 0 };
    return { eventID: NODE_DEVICE_EVENT.LIFECYCLE, object, message: P.nodeDeviceEventLifecycle, fields };
  },
};

const POOLS: ObjectKind<PoolEvent> = {
  api: 'virConnectStoragePoolEventRegisterAny',
  eventIDs: [POOL_EVENT.LIFECYCLE, POOL_EVENT.REFRESH],
  events: ({ storage }, signal) => storage?.events({ signal }),
  tell: (event) => {
    const [object, pool] = [event.pool.uuid, poolToWire(event.pool)];
    if (event.kind === 'refresh') {
      return { eventID: POOL_EVENT.REFRESH, object, message: P.storagePoolEventRefresh, fields: { pool } };
    }
    const fields = { pool, event: POOL_LIFECYCLE.indexOf(event.type), detail: 0 };
    return { eventID: POOL_EVENT.LIFECYCLE, object, message: P.storagePoolEventLifecycle, fields };
  },
};

/** The words that handlers use. */
export type ObjectKindName = 'secret' | 'network' | 'nodeDevice' | 'pool';
type ObjectRegistry = Pick<ObjectCallbacks<never>, 'callbacks' | 'add'>;

/** The callbacks of one kind of objects, and whether its events are followed already. */
class ObjectCallbacks<E> {
  readonly callbacks = new Map<number, Wanted>();
  readonly #kind: ObjectKind<E>;
  readonly #send: Send;
  #isFollowing = false;

  constructor(kind: ObjectKind<E>, send: Send) {
    this.#kind = kind;
    this.#send = send;
  }

  /** `number` gives the callback its number, once it is clear that it can be had. */
  add(driver: Driver, wanted: Wanted, signal: AbortSignal, number: () => number): number {
    const { eventIDs, events, api } = this.#kind;
    if (!eventIDs.includes(wanted.eventID)) throw badEvent(wanted.eventID);
    if (!this.#isFollowing) {
      const found = events(driver, signal);
      if (found === undefined) throw noSupport(api);
      this.#isFollowing = true;
      follow(found, (event) => this.#tell(event), signal);
    }
    const id = number();
    this.callbacks.set(id, wanted);
    return id;
  }

  #tell(event: E): void {
    const { eventID, object, message, fields } = this.#kind.tell(event);
    for (const [callbackID, wanted] of this.callbacks) {
      if (wanted.eventID !== eventID || (wanted.object !== undefined && wanted.object !== object)) continue;
      this.#send(Program.REMOTE, message, { callbackID, ...fields });
    }
  }
}

export class SessionEvents {
  readonly #send: Send;
  readonly #signal: AbortSignal;
  readonly #callbacks = new Map<number, Callback>();
  readonly #legacy = new Set<number>();
  readonly #monitorCallbacks = new Map<
    number,
    { readonly uuid: string | undefined; readonly matches: (name: string) => boolean }
  >();
  readonly #objects: Readonly<Record<ObjectKindName, ObjectRegistry>>;
  #next = 0;
  #isFollowing = { domains: false, monitors: false };

  /** `signal`: the end of the connection. */
  constructor(send: Send, signal: AbortSignal) {
    this.#send = send;
    this.#signal = signal;
    this.#objects = {
      secret: new ObjectCallbacks(SECRETS, send),
      network: new ObjectCallbacks(NETWORKS, send),
      nodeDevice: new ObjectCallbacks(NODE_DEVICES, send),
      pool: new ObjectCallbacks(POOLS, send),
    };
  }

  /** @returns the number of the callback */
  add(driver: Driver, eventID: number, dom: WireDomain | undefined): number {
    const kind = kindOf(eventID);
    this.#followDomains(driver);
    const id = this.#number();
    this.#callbacks.set(id, { kind, uuid: dom === undefined ? undefined : uuidFromWire(dom.uuid) });
    return id;
  }

  remove(callbackID: number): void {
    if (!this.#callbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  addLegacy(driver: Driver, eventID: number): void {
    kindOf(eventID);
    if (this.#legacy.has(eventID))
      throw new VirtError(`domain event ${eventID} is registered already`, {
        code: ErrorCode.INTERNAL_ERROR,
        domain: ErrorDomain.RPC,
      });
    this.#followDomains(driver);
    this.#legacy.add(eventID);
  }

  removeLegacy(eventID: number): void {
    if (!this.#legacy.delete(eventID)) throw noCallback(eventID);
  }

  /** Events of what is no domain. @returns the number of the callback @throws VirtError INVALID_ARG, NO_SUPPORT */
  addObject(kind: ObjectKindName, driver: Driver, wanted: Wanted): number {
    return this.#objects[kind].add(driver, wanted, this.#signal, () => this.#number());
  }

  removeObject(kind: ObjectKindName, callbackID: number): void {
    if (!this.#objects[kind].callbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  addMonitor(driver: Driver, uuid: string | undefined, event: string | undefined, flags: number): number {
    if (driver.monitorEvents === undefined) throw noSupport('virConnectDomainQemuMonitorEventRegister');
    checkFlags(flags, 3, 'virConnectDomainQemuMonitorEventRegister');
    const matches = matcherOf(event, flags);
    const id = this.#number();
    if (!this.#isFollowing.monitors) {
      this.#isFollowing.monitors = true;
      follow(driver.monitorEvents({ signal: this.#signal }), (found) => this.#tellMonitor(found), this.#signal);
    }
    this.#monitorCallbacks.set(id, { uuid, matches });
    return id;
  }

  removeMonitor(callbackID: number): void {
    if (!this.#monitorCallbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  #number(): number {
    if (this.#count() >= CALLBACKS_MAX) {
      throw new VirtError(`this client has ${CALLBACKS_MAX} event callbacks: it gets no more`, {
        code: ErrorCode.OPERATION_FAILED,
        domain: ErrorDomain.EVENT,
      });
    }
    return this.#next++;
  }

  #count(): number {
    const others = Object.values(this.#objects).map(({ callbacks }) => callbacks);
    const kinds = [this.#callbacks, this.#monitorCallbacks, ...others];
    return kinds.reduce((sum, { size }) => sum + size, 0);
  }

  #followDomains(driver: Driver): void {
    if (this.#isFollowing.domains) return;
    this.#isFollowing.domains = true;
    follow(driver.events({ signal: this.#signal }), (event) => this.#tellDomain(event), this.#signal);
  }

  #tellDomain(event: DomainEvent): void {
    for (const [id, { kind, uuid }] of this.#callbacks) {
      if (kind?.event !== event.event || (uuid !== undefined && uuid !== event.domain.uuid)) continue;
      this.#send(Program.REMOTE, kind.message, kind.toWire(event, id));
    }
    if (this.#legacy.size === 0) return;
    for (const kind of WIRE_EVENTS) {
      const message = LEGACY[kind.id];
      if (kind.event !== event.event || message === undefined || !this.#legacy.has(kind.id)) continue;
      this.#send(Program.REMOTE, message, inner(kind.toWire(event, 0)));
    }
  }

  #tellMonitor({ domain, event, seconds, micros, details }: MonitorEvent): void {
    for (const [callbackID, { uuid, matches }] of this.#monitorCallbacks) {
      if ((uuid !== undefined && uuid !== domain.uuid) || !matches(event)) continue;
      const message = { callbackID, dom: identityToWire(domain), event, seconds, micros, details };
      this.#send(Program.QEMU, Q.domainMonitorEvent, message);
    }
  }
}

/** Until the connection or the driver ends. One event that cannot be told does not end those after it. */
function follow<T>(events: AsyncIterable<T>, tell: (event: T) => void, signal: AbortSignal): void {
  const body = async (): Promise<void> => {
    for await (const event of events) {
      try {
        tell(event);
      } catch (error) {
        log.error('event', () => `an event cannot be told: ${String(error)}`);
      }
    }
  };
  body().catch((error: unknown) => {
    if (!signal.aborted) log.warn('event', () => `the client gets no more events: ${String(error)}`);
  });
}

function kindOf(eventID: number): WireEvent | undefined {
  if (eventID < 0 || eventID > LAST_EVENT_ID) throw badEvent(eventID);
  return WIRE_EVENTS.find(({ id }) => id === eventID);
}

/** The old messages are what the newer ones have inside. */
function inner(message: unknown): unknown {
  return typeof message === 'object' && message !== null && 'msg' in message ? message.msg : message;
}

/** VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX and …_NOCASE. */
function matcherOf(event: string | undefined, flags: number): (name: string) => boolean {
  if (event === undefined) return () => true;
  const isRegex = (flags & 1) !== 0;
  const ignoresCase = (flags & 2) !== 0;
  if (!isRegex) {
    const wanted = ignoresCase ? event.toUpperCase() : event;
    return (name) => (ignoresCase ? name.toUpperCase() : name) === wanted;
  }
  try {
    const pattern = new RegExp(event, ignoresCase ? 'i' : '');
    return (name) => pattern.test(name);
  } catch {
    throw new VirtError(`'${event}' is no regular expression`, {
      code: ErrorCode.INVALID_ARG,
      domain: ErrorDomain.QEMU,
    });
  }
}

function badEvent(eventID: number): VirtError {
  return new VirtError(`unsupported event ID ${eventID}`, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.RPC });
}

function noCallback(callbackID: number): VirtError {
  return new VirtError(`domain event callback ${callbackID} is not registered`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.RPC,
  });
}

function noSupport(api: string): VirtError {
  return new VirtError(api, { code: ErrorCode.NO_SUPPORT, domain: ErrorDomain.RPC });
}

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

export class SessionEvents {
  readonly #send: Send;
  readonly #signal: AbortSignal;
  readonly #callbacks = new Map<number, Callback>();
  readonly #legacy = new Set<number>();
  readonly #secretCallbacks = new Map<number, { readonly eventID: number; readonly uuid: string | undefined }>();
  readonly #poolCallbacks = new Map<number, { readonly eventID: number; readonly uuid: string | undefined }>();
  readonly #monitorCallbacks = new Map<
    number,
    { readonly uuid: string | undefined; readonly matches: (name: string) => boolean }
  >();
  readonly #networkCallbacks = new Map<number, { readonly eventID: number; readonly uuid: string | undefined }>();
  readonly #nodeDeviceCallbacks = new Map<number, { readonly eventID: number; readonly device: string | undefined }>();
  #next = 0;
  #isFollowing = { domains: false, secrets: false, pools: false, monitors: false, nodeDevices: false, networks: false };

  /** `signal`: the end of the connection. */
  constructor(send: Send, signal: AbortSignal) {
    this.#send = send;
    this.#signal = signal;
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

  addSecret(driver: Driver, eventID: number, uuid: string | undefined): number {
    if (eventID !== SECRET_LIFECYCLE && eventID !== SECRET_VALUE_CHANGED) throw badEvent(eventID);
    const { secrets } = driver;
    if (secrets === undefined) throw noSupport('virConnectSecretEventRegisterAny');
    if (!this.#isFollowing.secrets) {
      this.#isFollowing.secrets = true;
      this.#follow(secrets.events({ signal: this.#signal }), (event) => this.#tellSecret(event));
    }
    const id = this.#number();
    this.#secretCallbacks.set(id, { eventID, uuid });
    return id;
  }

  removeSecret(callbackID: number): void {
    if (!this.#secretCallbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  addNetwork(driver: Driver, eventID: number, uuid: string | undefined): number {
    if (eventID !== NETWORK_EVENT.LIFECYCLE && eventID !== NETWORK_EVENT.METADATA_CHANGE) throw badEvent(eventID);
    const { networks } = driver;
    if (networks === undefined) throw noSupport('virConnectNetworkEventRegisterAny');
    if (!this.#isFollowing.networks) {
      this.#isFollowing.networks = true;
      this.#follow(networks.events({ signal: this.#signal }), (event) => this.#tellNetwork(event));
    }
    const id = this.#number();
    this.#networkCallbacks.set(id, { eventID, uuid });
    return id;
  }

  removeNetwork(callbackID: number): void {
    if (!this.#networkCallbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  addNodeDevice(driver: Driver, eventID: number, device: string | undefined): number {
    if (eventID !== NODE_DEVICE_EVENT.LIFECYCLE && eventID !== NODE_DEVICE_EVENT.UPDATE) throw badEvent(eventID);
    const { nodeDevices } = driver;
    if (nodeDevices === undefined) throw noSupport('virConnectNodeDeviceEventRegisterAny');
    if (!this.#isFollowing.nodeDevices) {
      this.#isFollowing.nodeDevices = true;
      this.#follow(nodeDevices.events({ signal: this.#signal }), (event) => this.#tellNodeDevice(event));
    }
    const id = this.#number();
    this.#nodeDeviceCallbacks.set(id, { eventID, device });
    return id;
  }

  removeNodeDevice(callbackID: number): void {
    if (!this.#nodeDeviceCallbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  addPool(driver: Driver, eventID: number, uuid: string | undefined): number {
    if (eventID !== POOL_EVENT.LIFECYCLE && eventID !== POOL_EVENT.REFRESH) throw badEvent(eventID);
    const { storage } = driver;
    if (storage === undefined) throw noSupport('virConnectStoragePoolEventRegisterAny');
    if (!this.#isFollowing.pools) {
      this.#isFollowing.pools = true;
      this.#follow(storage.events({ signal: this.#signal }), (event) => this.#tellPool(event));
    }
    const id = this.#number();
    this.#poolCallbacks.set(id, { eventID, uuid });
    return id;
  }

  removePool(callbackID: number): void {
    if (!this.#poolCallbacks.delete(callbackID)) throw noCallback(callbackID);
  }

  addMonitor(driver: Driver, uuid: string | undefined, event: string | undefined, flags: number): number {
    if (driver.monitorEvents === undefined) throw noSupport('virConnectDomainQemuMonitorEventRegister');
    checkFlags(flags, 3, 'virConnectDomainQemuMonitorEventRegister');
    const matches = matcherOf(event, flags);
    const id = this.#number();
    if (!this.#isFollowing.monitors) {
      this.#isFollowing.monitors = true;
      this.#follow(driver.monitorEvents({ signal: this.#signal }), (found) => this.#tellMonitor(found));
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
    const kinds = [
      this.#callbacks,
      this.#secretCallbacks,
      this.#poolCallbacks,
      this.#monitorCallbacks,
      this.#nodeDeviceCallbacks,
      this.#networkCallbacks,
    ];
    return kinds.reduce((sum, { size }) => sum + size, 0);
  }

  #followDomains(driver: Driver): void {
    if (this.#isFollowing.domains) return;
    this.#isFollowing.domains = true;
    this.#follow(driver.events({ signal: this.#signal }), (event) => this.#tellDomain(event));
  }

  /** Until the connection or the driver ends. One event that cannot be told does not end those after it. */
  #follow<T>(events: AsyncIterable<T>, tell: (event: T) => void): void {
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
      if (!this.#signal.aborted) log.warn('event', () => `the client gets no more events: ${String(error)}`);
    });
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

  #tellSecret({ secret, type }: SecretEvent): void {
    const wire = secretToWire(secret);
    const isChange = type === 'value-changed';
    for (const [callbackID, { eventID, uuid }] of this.#secretCallbacks) {
      if ((uuid !== undefined && uuid !== secret.uuid) || (eventID === SECRET_VALUE_CHANGED) !== isChange) continue;
      if (isChange) this.#send(Program.REMOTE, P.secretEventValueChanged, { callbackID, secret: wire });
      else {
        const event = type === 'defined' ? 0 : 1;
        this.#send(Program.REMOTE, P.secretEventLifecycle, { callbackID, secret: wire, event, detail: 0 });
      }
    }
  }

  #tellNetwork(event: NetworkEvent): void {
    const net = networkToWire(event.network);
    for (const [callbackID, { eventID, uuid }] of this.#networkCallbacks) {
      const isChange = eventID === NETWORK_EVENT.METADATA_CHANGE;
      if ((uuid !== undefined && uuid !== event.network.uuid) || isChange !== (event.kind === 'metadata')) continue;
      if (event.kind === 'metadata') {
        const message = { callbackID, net, type: METADATA_KINDS.indexOf(event.metadata), nsuri: event.uri };
        this.#send(Program.REMOTE, P.networkEventCallbackMetadataChange, message);
      } else {
        const message = { callbackID, net, event: NETWORK_CHANGES.indexOf(event.type), detail: 0 };
        this.#send(Program.REMOTE, P.networkEventLifecycle, message);
      }
    }
  }

  #tellNodeDevice(event: NodeDeviceEvent): void {
    const dev = { name: event.device };
    for (const [callbackID, { eventID, device }] of this.#nodeDeviceCallbacks) {
      const isUpdate = eventID === NODE_DEVICE_EVENT.UPDATE;
      if ((device !== undefined && device !== event.device) || isUpdate !== (event.kind === 'update')) continue;
      if (event.kind === 'update') this.#send(Program.REMOTE, P.nodeDeviceEventUpdate, { callbackID, dev });
      else {
        const change = NODE_DEVICE_CHANGES.indexOf(event.type);
        this.#send(Program.REMOTE, P.nodeDeviceEventLifecycle, { callbackID, dev, event: change, detail: 0 });
      }
    }
  }

  #tellPool(event: PoolEvent): void {
    const pool = poolToWire(event.pool);
    const wanted = event.kind === 'refresh' ? POOL_EVENT.REFRESH : POOL_EVENT.LIFECYCLE;
    for (const [callbackID, { eventID, uuid }] of this.#poolCallbacks) {
      if ((uuid !== undefined && uuid !== event.pool.uuid) || eventID !== wanted) continue;
      if (event.kind === 'refresh') this.#send(Program.REMOTE, P.storagePoolEventRefresh, { callbackID, pool });
      else {
        const message = { callbackID, pool, event: POOL_LIFECYCLE.indexOf(event.type), detail: 0 };
        this.#send(Program.REMOTE, P.storagePoolEventLifecycle, message);
      }
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

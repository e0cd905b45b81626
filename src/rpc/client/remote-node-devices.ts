/** Devices of the host behind the protocol. */
import { Broadcast } from '../../core/broadcast.ts';
import type { Waiting } from '../../driver/driver.ts';
import {
  NODE_DEVICE_CAPABILITIES,
  type NodeDeviceCapability,
  type NodeDeviceEvent,
  type NodeDeviceFilter,
  type NodeDeviceIdentity,
  type NodeDeviceOperations,
} from '../../driver/node-device-operations.ts';
import { REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { bitsOf, flagsOf, NODE_DEVICE_CHANGES, NODE_DEVICE_EVENT, NodeDeviceListFlag } from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

export class RemoteNodeDevices implements NodeDeviceOperations {
  readonly #calls: RemoteCalls;
  readonly #registering: (registration: Promise<unknown>) => void;
  readonly #events = new Broadcast<NodeDeviceEvent>();
  #isRegistered = false;

  /** `registering`: hears of event registrations, after which later calls must come. */
  constructor(calls: RemoteCalls, registering: (registration: Promise<unknown>) => void) {
    this.#calls = calls;
    this.#registering = registering;
    void calls.client.closed.then(() => this.#events.end());
  }

  /** Kinds that libvirt has no name for are no devices'. */
  async list(filter: NodeDeviceFilter & Waiting = {}): Promise<readonly NodeDeviceIdentity[]> {
    const kinds = filter.capabilities?.filter(isCapability);
    if (kinds?.length === 0) return [];
    const states = flagsOf(
      [NodeDeviceListFlag.ACTIVE, filter.active === true],
      [NodeDeviceListFlag.INACTIVE, filter.active === false],
      [NodeDeviceListFlag.PERSISTENT, filter.persistent === true],
      [NodeDeviceListFlag.TRANSIENT, filter.persistent === false],
    );
    const flags = (states | bitsOf(NODE_DEVICE_CAPABILITIES, kinds)) >>> 0;
    return (await this.#calls.call(P.connectListAllNodeDevices, { needResults: 1, flags }, filter)).devices;
  }

  async lookupByName(name: string, options: Waiting = {}): Promise<NodeDeviceIdentity> {
    return (await this.#calls.call(P.nodeDeviceLookupByName, { name }, options)).dev;
  }

  async lookupScsiHostByWwn(wwnn: string, wwpn: string, options: Waiting = {}): Promise<NodeDeviceIdentity> {
    return (await this.#calls.call(P.nodeDeviceLookupScsiHostByWwn, { wwnn, wwpn, flags: 0 }, options)).dev;
  }

  async xmlDesc(name: string, options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.nodeDeviceGetXmlDesc, { name, flags: 0 }, options)).xml;
  }

  async parent(name: string, options: Waiting = {}): Promise<string | undefined> {
    return (await this.#calls.call(P.nodeDeviceGetParent, { name }, options)).parentName;
  }

  async capabilities(name: string, options: Waiting = {}): Promise<readonly string[]> {
    const { num } = await this.#calls.call(P.nodeDeviceNumOfCaps, { name }, options);
    return (await this.#calls.call(P.nodeDeviceListCaps, { name, maxnames: num }, options)).names;
  }

  async detach(name: string, options: { readonly driver?: string | undefined } & Waiting = {}): Promise<void> {
    await this.#calls.call(P.nodeDeviceDetachFlags, { name, driverName: options.driver, flags: 0 }, options);
  }

  async reattach(name: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.nodeDeviceReAttach, { name }, options);
  }

  async reset(name: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.nodeDeviceReset, { name }, options);
  }

  async isActive(name: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.nodeDeviceIsActive, { name }, options)).active !== 0;
  }

  async isPersistent(name: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.nodeDeviceIsPersistent, { name }, options)).persistent !== 0;
  }

  async autostart(name: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.nodeDeviceGetAutostart, { name }, options)).autostart !== 0;
  }

  events(options: Waiting = {}): AsyncIterable<NodeDeviceEvent> {
    if (!this.#isRegistered) this.#register();
    return this.#events.subscribe({ signal: options.signal });
  }

  #register(): void {
    this.#isRegistered = true;
    const { client } = this.#calls;
    client.on(P.nodeDeviceEventLifecycle, ({ dev, event }) => {
      const type = NODE_DEVICE_CHANGES[event];
      // A change that later libvirts may have.
      if (type !== undefined) this.#events.send({ kind: 'lifecycle', device: dev.name, type });
    });
    client.on(P.nodeDeviceEventUpdate, ({ dev }) => this.#events.send({ kind: 'update', device: dev.name }));
    const registrations = Object.values(NODE_DEVICE_EVENT).map((eventID) =>
      client.call(P.connectNodeDeviceEventRegisterAny, { eventID, dev: undefined }),
    );
    this.#registering(Promise.all(registrations));
  }
}

function isCapability(name: string): name is NodeDeviceCapability {
  return (NODE_DEVICE_CAPABILITIES as readonly string[]).includes(name);
}

/** The procedures by which clients ask for events, and ask no more. What becomes of an event is in `events.ts`. */
import type { QEMU_PROCEDURES as Q } from '../../protocol/index.ts';
import type { DOMAIN_EVENT_PROCEDURES } from '../../protocol/remote/domain-events.ts';
import type { NETWORK_PROCEDURES } from '../../protocol/remote/network.ts';
import type { NODE_DEVICE_PROCEDURES } from '../../protocol/remote/node-device.ts';
import type { SECRET_PROCEDURES } from '../../protocol/remote/secret.ts';
import type { STORAGE_PROCEDURES } from '../../protocol/remote/storage.ts';
import { uuidFromWire } from '../convert.ts';
import type { SessionEvents } from './events.ts';
import { DONE, type HandlerSession, type Handlers } from './handler.ts';

/** What the handlers of registrations need besides. */
export interface EventSession extends HandlerSession {
  readonly events: SessionEvents;
}

export const domainEventHandlers: Handlers<typeof DOMAIN_EVENT_PROCEDURES, EventSession> = {
  connectDomainEventRegister: ({ driver, events }) => {
    events.addLegacy(driver, 0);
    return { cbRegistered: 1 };
  },
  connectDomainEventDeregister: ({ events }) => {
    events.removeLegacy(0);
    return { cbRegistered: 0 };
  },
  connectDomainEventRegisterAny: ({ driver, events }, { eventID }) => {
    events.addLegacy(driver, eventID);
    return DONE;
  },
  connectDomainEventDeregisterAny: ({ events }, { eventID }) => {
    events.removeLegacy(eventID);
    return DONE;
  },
  connectDomainEventCallbackRegisterAny: ({ driver, events }, { eventID, dom }) => ({
    callbackID: events.add(driver, eventID, dom),
  }),
  connectDomainEventCallbackDeregisterAny: ({ events }, { callbackID }) => {
    events.remove(callbackID);
    return DONE;
  },
};

export const secretEventHandlers: Handlers<typeof SECRET_PROCEDURES, EventSession> = {
  connectSecretEventRegisterAny: ({ driver, events }, { eventID, secret }) => ({
    callbackID: events.addObject('secret', driver, {
      eventID,
      object: secret === undefined ? undefined : uuidFromWire(secret.uuid),
    }),
  }),
  connectSecretEventDeregisterAny: ({ events }, { callbackID }) => {
    events.removeObject('secret', callbackID);
    return DONE;
  },
};

export const networkEventHandlers: Handlers<typeof NETWORK_PROCEDURES, EventSession> = {
  connectNetworkEventRegisterAny: ({ driver, events }, { eventID, net }) => ({
    callbackID: events.addObject('network', driver, {
      eventID,
      object: net === undefined ? undefined : uuidFromWire(net.uuid),
    }),
  }),
  connectNetworkEventDeregisterAny: ({ events }, { callbackID }) => {
    events.removeObject('network', callbackID);
    return DONE;
  },
};

export const nodeDeviceEventHandlers: Handlers<typeof NODE_DEVICE_PROCEDURES, EventSession> = {
  connectNodeDeviceEventRegisterAny: ({ driver, events }, { eventID, dev }) => ({
    callbackID: events.addObject('nodeDevice', driver, { eventID, object: dev?.name }),
  }),
  connectNodeDeviceEventDeregisterAny: ({ events }, { callbackID }) => {
    events.removeObject('nodeDevice', callbackID);
    return DONE;
  },
};

export const poolEventHandlers: Handlers<typeof STORAGE_PROCEDURES, EventSession> = {
  connectStoragePoolEventRegisterAny: ({ driver, events }, { eventID, pool }) => ({
    callbackID: events.addObject('pool', driver, {
      eventID,
      object: pool === undefined ? undefined : uuidFromWire(pool.uuid),
    }),
  }),
  connectStoragePoolEventDeregisterAny: ({ events }, { callbackID }) => {
    events.removeObject('pool', callbackID);
    return DONE;
  },
};

export const monitorEventHandlers: Handlers<typeof Q, EventSession> = {
  connectDomainMonitorEventRegister: ({ driver, events }, { dom, event, flags }) => ({
    callbackID: events.addMonitor(driver, dom === undefined ? undefined : uuidFromWire(dom.uuid), event, flags),
  }),
  connectDomainMonitorEventDeregister: ({ events }, { callbackID }) => {
    events.removeMonitor(callbackID);
    return DONE;
  },
};

/** Events of domains: registering, and the messages. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, hyper, int, optional, struct, uhyper, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, event, none } from '../procedure.ts';
import {
  domain,
  domainEventGraphicsAddress,
  domainEventGraphicsIdentity,
  optionalText,
  text,
  typedParam,
} from '../structs.ts';

/** Messages that come with and without a callback id. */
const LIFECYCLE = { dom: domain, event: int, detail: int };
const REBOOT = { dom: domain };
const RTC_CHANGE = { dom: domain, offset: hyper };
const WATCHDOG = { dom: domain, action: int };
const IO_ERROR = { dom: domain, srcPath: text, devAlias: text, action: int };
const GRAPHICS = {
  dom: domain,
  phase: int,
  local: domainEventGraphicsAddress,
  remote: domainEventGraphicsAddress,
  authScheme: text,
  subject: array(domainEventGraphicsIdentity, Max.domainEventGraphicsIdentity),
};
const IO_ERROR_REASON = { dom: domain, srcPath: text, devAlias: text, action: int, reason: text };
const CONTROL_ERROR = { dom: domain };
const BLOCK_JOB = { dom: domain, path: text, type: int, status: int };
const DISK_CHANGE = { dom: domain, oldSrcPath: optionalText, newSrcPath: optionalText, devAlias: text, reason: int };
const TRAY_CHANGE = { dom: domain, devAlias: text, reason: int };
const PMWAKEUP = { dom: domain };
const PMSUSPEND = { dom: domain };
const BALLOON_CHANGE = { dom: domain, actual: uhyper };
const PMSUSPEND_DISK = { dom: domain };
const DEVICE_REMOVED = { dom: domain, devAlias: text };

export const DOMAIN_EVENT_PROCEDURES = {
  connectDomainEventRegister: call(105, 'virConnectDomainEventRegister', none, { cbRegistered: int }),
  connectDomainEventDeregister: call(106, 'virConnectDomainEventDeregister', none, { cbRegistered: int }),
  domainEventLifecycle: event(107, LIFECYCLE),
  connectDomainEventRegisterAny: call(167, 'virConnectDomainEventRegisterAny', { eventID: int }, none),
  connectDomainEventDeregisterAny: call(168, 'virConnectDomainEventDeregisterAny', { eventID: int }, none),
  domainEventReboot: event(169, REBOOT),
  domainEventRtcChange: event(170, RTC_CHANGE),
  domainEventWatchdog: event(171, WATCHDOG),
  domainEventIoError: event(172, IO_ERROR),
  domainEventGraphics: event(173, GRAPHICS),
  domainEventIoErrorReason: event(195, IO_ERROR_REASON),
  domainEventControlError: event(224, CONTROL_ERROR),
  domainEventBlockJob: event(241, BLOCK_JOB),
  domainEventDiskChange: event(248, DISK_CHANGE),
  domainEventTrayChange: event(268, TRAY_CHANGE),
  domainEventPmwakeup: event(269, PMWAKEUP),
  domainEventPmsuspend: event(270, PMSUSPEND),
  domainEventBalloonChange: event(276, BALLOON_CHANGE),
  domainEventPmsuspendDisk: event(292, PMSUSPEND_DISK),
  domainEventDeviceRemoved: event(311, DEVICE_REMOVED),
  connectDomainEventCallbackRegisterAny: call(
    316,
    'virConnectDomainEventRegisterAny',
    { eventID: int, dom: optional(domain) },
    { callbackID: int },
  ),
  connectDomainEventCallbackDeregisterAny: call(317, 'virConnectDomainEventDeregisterAny', { callbackID: int }, none),
  domainEventCallbackLifecycle: event(318, { callbackID: int, msg: struct(LIFECYCLE) }),
  domainEventCallbackReboot: event(319, { callbackID: int, msg: struct(REBOOT) }),
  domainEventCallbackRtcChange: event(320, { callbackID: int, msg: struct(RTC_CHANGE) }),
  domainEventCallbackWatchdog: event(321, { callbackID: int, msg: struct(WATCHDOG) }),
  domainEventCallbackIoError: event(322, { callbackID: int, msg: struct(IO_ERROR) }),
  domainEventCallbackGraphics: event(323, { callbackID: int, msg: struct(GRAPHICS) }),
  domainEventCallbackIoErrorReason: event(324, { callbackID: int, msg: struct(IO_ERROR_REASON) }),
  domainEventCallbackControlError: event(325, { callbackID: int, msg: struct(CONTROL_ERROR) }),
  domainEventCallbackBlockJob: event(326, { callbackID: int, msg: struct(BLOCK_JOB) }),
  domainEventCallbackDiskChange: event(327, { callbackID: int, msg: struct(DISK_CHANGE) }),
  domainEventCallbackTrayChange: event(328, { callbackID: int, msg: struct(TRAY_CHANGE) }),
  domainEventCallbackPmwakeup: event(329, { callbackID: int, reason: int, msg: struct(PMWAKEUP) }),
  domainEventCallbackPmsuspend: event(330, { callbackID: int, reason: int, msg: struct(PMSUSPEND) }),
  domainEventCallbackBalloonChange: event(331, { callbackID: int, msg: struct(BALLOON_CHANGE) }),
  domainEventCallbackPmsuspendDisk: event(332, { callbackID: int, reason: int, msg: struct(PMSUSPEND_DISK) }),
  domainEventCallbackDeviceRemoved: event(333, { callbackID: int, msg: struct(DEVICE_REMOVED) }),
  domainEventBlockJob2: event(339, { callbackID: int, dom: domain, dst: text, type: int, status: int }),
  domainEventCallbackTunable: event(346, {
    callbackID: int,
    dom: domain,
    params: array(typedParam, Max.domainEventTunable),
  }),
  domainEventCallbackAgentLifecycle: event(348, { callbackID: int, dom: domain, state: int, reason: int }),
  domainEventCallbackDeviceAdded: event(354, { callbackID: int, dom: domain, devAlias: text }),
  domainEventCallbackMigrationIteration: event(359, { callbackID: int, dom: domain, iteration: int }),
  domainEventCallbackJobCompleted: event(363, {
    callbackID: int,
    dom: domain,
    params: array(typedParam, Max.domainJobStats),
  }),
  domainEventCallbackDeviceRemovalFailed: event(367, { callbackID: int, dom: domain, devAlias: text }),
  domainEventCallbackMetadataChange: event(379, { callbackID: int, dom: domain, type: int, nsuri: optionalText }),
  domainEventBlockThreshold: event(385, {
    callbackID: int,
    dom: domain,
    dev: text,
    path: optionalText,
    threshold: uhyper,
    excess: uhyper,
  }),
  domainEventMemoryFailure: event(423, { callbackID: int, dom: domain, recipient: int, action: int, flags: uint }),
  domainEventMemoryDeviceSizeChange: event(438, { callbackID: int, dom: domain, alias: text, size: uhyper }),
  domainEventNicMacChange: event(453, { callbackID: int, dom: domain, alias: text, oldMAC: text, newMAC: text }),
} as const;

/**
 * Domain events on the wire: for each kind its number (virDomainEventID), its message, and both directions of the translation. One
 * table for client and server.
 */
import { memberOf, textIn } from '../core/members.ts';
import type { DomainEvent } from '../driver/domain-events.ts';
import { LIFECYCLE_DETAILS, type LifecycleDetail, type LifecycleType } from '../driver/domain-events.ts';
import {
  type EventMessage,
  fromTypedParams,
  type MessageOf,
  REMOTE_PROCEDURES as P,
  toTypedParams,
} from '../protocol/index.ts';
import { identityFromWire, identityToWire, type WireDomain } from './convert.ts';

type EventName = DomainEvent['event'];
type EventOf<N extends EventName> = Extract<DomainEvent, { event: N }>;
/** An event without what all have. */
type Bare<N extends EventName> = Omit<EventOf<N>, 'domain' | 'timestampMs'>;

/** One kind of event. */
export interface WireEvent {
  /** virDomainEventID. */
  readonly id: number;
  readonly event: EventName;
  readonly message: EventMessage;
  /** The message for one callback. */
  readonly toWire: (event: DomainEvent, callbackID: number) => unknown;
  readonly fromWire: (message: unknown, timestampMs: number) => DomainEvent;
  readonly callbackOf: (message: unknown) => number;
}

const LIFECYCLE_TYPES = Object.keys(LIFECYCLE_DETAILS) as LifecycleType[];
const WATCHDOG_ACTIONS = ['none', 'pause', 'reset', 'poweroff', 'shutdown', 'debug', 'inject-nmi'];
/** QEMU's words for none, pause, report. */
const IO_ERROR_ACTIONS = ['ignore', 'stop', 'report'];
const GRAPHICS_PHASES = ['connect', 'initialize', 'disconnect'] as const;
const ADDRESS_FAMILIES = ['ipv4', 'ipv6', 'unix'];
const BLOCK_JOB_TYPES = ['unknown', 'stream', 'mirror', 'commit', 'active-commit', 'backup'];
const BLOCK_JOB_STATUSES = ['completed', 'failed', 'canceled', 'ready'];
const TRAY_REASONS = ['open', 'close'] as const;
const DISK_CHANGE_REASONS = ['missing-on-start', 'drop-missing-on-start'] as const;
const AGENT_STATES = ['unknown', 'connected', 'disconnected'];
const AGENT_REASONS = ['unknown', 'domain started', 'channel event'];
const FAILURE_RECIPIENTS = ['hypervisor', 'guest'];
const FAILURE_ACTIONS = ['ignore', 'inject', 'fatal', 'reset'];
const METADATA_KINDS = ['description', 'title', 'element'] as const;

/** A number's name, and a name's number; what nobody knows is the first. */
function nameOf<T extends string>(names: readonly T[], value: number): T {
  return names[value] ?? (names[0] as T);
}
function numberOf(names: readonly string[], name: string): number {
  return Math.max(0, names.indexOf(name));
}

/** A kind whose message has the domain inside `msg`, as all of the older ones have. */
function wrapped<N extends EventName, B extends { readonly dom: WireDomain }, X extends object>(
  id: number,
  event: N,
  message: EventMessage<{ readonly callbackID: number; readonly msg: B } & X>,
  toWire: (event: EventOf<N>) => Omit<B, 'dom'>,
  fromWire: (message: B) => Bare<N>,
  extra: X,
): WireEvent {
  return {
    id,
    event,
    message,
    toWire: (value, callbackID) => ({
      callbackID,
      ...extra,
      msg: { dom: identityToWire(value.domain), ...toWire(value as EventOf<N>) },
    }),
    fromWire: (raw, timestampMs) => {
      const { msg } = raw as { msg: B };
      return { domain: identityFromWire(msg.dom), timestampMs, ...fromWire(msg) } as DomainEvent;
    },
    callbackOf: (raw) => (raw as { callbackID: number }).callbackID,
  };
}

/** A kind whose message has the domain beside its own fields. */
function flat<N extends EventName, M extends { readonly callbackID: number; readonly dom: WireDomain }>(
  id: number,
  event: N,
  message: EventMessage<M>,
  toWire: (event: EventOf<N>) => Omit<M, 'dom' | 'callbackID'>,
  fromWire: (message: M) => Bare<N>,
): WireEvent {
  return {
    id,
    event,
    message,
    toWire: (value, callbackID) => ({
      callbackID,
      dom: identityToWire(value.domain),
      ...toWire(value as EventOf<N>),
    }),
    fromWire: (raw, timestampMs) => {
      const read = raw as M;
      return { domain: identityFromWire(read.dom), timestampMs, ...fromWire(read) } as DomainEvent;
    },
    callbackOf: (raw) => (raw as M).callbackID,
  };
}

/** All kinds. A kind with an older and a newer message (I/O errors, block jobs) has one row for each. */
export const WIRE_EVENTS: readonly WireEvent[] = [
  wrapped(
    0,
    'lifecycle',
    P.domainEventCallbackLifecycle,
    ({ type, detail }) => ({
      event: LIFECYCLE_TYPES.indexOf(type),
      detail: numberOf(LIFECYCLE_DETAILS[type], detail),
    }),
    ({ event, detail }) => {
      const type = nameOf(LIFECYCLE_TYPES, event);
      return { event: 'lifecycle', type, detail: nameOf<LifecycleDetail>(LIFECYCLE_DETAILS[type], detail) };
    },
    {},
  ),
  wrapped(
    1,
    'reboot',
    P.domainEventCallbackReboot,
    () => ({}),
    () => ({ event: 'reboot' }),
    {},
  ),
  wrapped(
    2,
    'rtc-change',
    P.domainEventCallbackRtcChange,
    ({ offsetSeconds }) => ({ offset: BigInt(Math.trunc(offsetSeconds)) }),
    ({ offset }) => ({ event: 'rtc-change', offsetSeconds: Number(offset) }),
    {},
  ),
  wrapped(
    3,
    'watchdog',
    P.domainEventCallbackWatchdog,
    ({ action }) => ({ action: numberOf(WATCHDOG_ACTIONS, action) }),
    ({ action }) => ({ event: 'watchdog', action: nameOf(WATCHDOG_ACTIONS, action) }),
    {},
  ),
  wrapped(
    4,
    'io-error',
    P.domainEventCallbackIoError,
    ({ path, device, action }) => ({
      srcPath: path,
      devAlias: device,
      action: numberOf(IO_ERROR_ACTIONS, action),
    }),
    ({ srcPath, devAlias, action }) => ({
      event: 'io-error',
      path: srcPath,
      device: devAlias,
      action: nameOf(IO_ERROR_ACTIONS, action),
      reason: '',
    }),
    {},
  ),
  wrapped(
    5,
    'graphics',
    P.domainEventCallbackGraphics,
    ({ phase, data }) => graphicsToWire(phase, data),
    (message) => ({
      event: 'graphics',
      phase: nameOf(GRAPHICS_PHASES, message.phase),
      data: graphicsFromWire(message),
    }),
    {},
  ),
  wrapped(
    6,
    'io-error',
    P.domainEventCallbackIoErrorReason,
    ({ path, device, action, reason }) => ({
      srcPath: path,
      devAlias: device,
      action: numberOf(IO_ERROR_ACTIONS, action),
      reason,
    }),
    ({ srcPath, devAlias, action, reason }) => ({
      event: 'io-error',
      path: srcPath,
      device: devAlias,
      action: nameOf(IO_ERROR_ACTIONS, action),
      reason,
    }),
    {},
  ),
  wrapped(
    7,
    'control-error',
    P.domainEventCallbackControlError,
    () => ({}),
    () => ({ event: 'control-error' }),
    {},
  ),
  wrapped(
    8,
    'block-job',
    P.domainEventCallbackBlockJob,
    ({ device, type, status }) => ({
      path: device,
      type: numberOf(BLOCK_JOB_TYPES, type),
      status: numberOf(BLOCK_JOB_STATUSES, status),
    }),
    ({ path, type, status }) => ({
      event: 'block-job',
      device: path,
      type: nameOf(BLOCK_JOB_TYPES, type),
      status: nameOf(BLOCK_JOB_STATUSES, status),
    }),
    {},
  ),
  wrapped(
    9,
    'disk-change',
    P.domainEventCallbackDiskChange,
    ({ device, oldSource, newSource, reason }) => ({
      oldSrcPath: oldSource,
      newSrcPath: newSource,
      devAlias: device,
      reason: numberOf(DISK_CHANGE_REASONS, reason),
    }),
    ({ oldSrcPath, newSrcPath, devAlias, reason }) => ({
      event: 'disk-change',
      device: devAlias,
      oldSource: oldSrcPath,
      newSource: newSrcPath,
      reason: nameOf(DISK_CHANGE_REASONS, reason),
    }),
    {},
  ),
  wrapped(
    10,
    'tray-change',
    P.domainEventCallbackTrayChange,
    ({ device, reason }) => ({ devAlias: device, reason: numberOf(TRAY_REASONS, reason) }),
    ({ devAlias, reason }) => ({ event: 'tray-change', device: devAlias, reason: nameOf(TRAY_REASONS, reason) }),
    {},
  ),
  wrapped(
    11,
    'pm-wakeup',
    P.domainEventCallbackPmwakeup,
    () => ({}),
    () => ({ event: 'pm-wakeup' }),
    { reason: 0 },
  ),
  wrapped(
    12,
    'pm-suspend',
    P.domainEventCallbackPmsuspend,
    () => ({}),
    () => ({ event: 'pm-suspend' }),
    { reason: 0 },
  ),
  wrapped(
    13,
    'balloon-change',
    P.domainEventCallbackBalloonChange,
    ({ actualKiB }) => ({ actual: BigInt(actualKiB) }),
    ({ actual }) => ({ event: 'balloon-change', actualKiB: Number(actual) }),
    {},
  ),
  wrapped(
    14,
    'pm-suspend-disk',
    P.domainEventCallbackPmsuspendDisk,
    () => ({}),
    () => ({ event: 'pm-suspend-disk' }),
    { reason: 0 },
  ),
  wrapped(
    15,
    'device-removed',
    P.domainEventCallbackDeviceRemoved,
    ({ device }) => ({ devAlias: device }),
    ({ devAlias }) => ({ event: 'device-removed', device: devAlias }),
    {},
  ),
  flat(
    16,
    'block-job',
    P.domainEventBlockJob2,
    ({ device, type, status }) => ({
      dst: device,
      type: numberOf(BLOCK_JOB_TYPES, type),
      status: numberOf(BLOCK_JOB_STATUSES, status),
    }),
    ({ dst, type, status }) => ({
      event: 'block-job',
      device: dst,
      type: nameOf(BLOCK_JOB_TYPES, type),
      status: nameOf(BLOCK_JOB_STATUSES, status),
    }),
  ),
  flat(
    17,
    'tunable',
    P.domainEventCallbackTunable,
    ({ parameters }) => ({ params: toTypedParams(parameters) }),
    ({ params }) => ({
      event: 'tunable',
      parameters: fromTypedParams(params) as EventOf<'tunable'>['parameters'],
    }),
  ),
  flat(
    18,
    'agent-lifecycle',
    P.domainEventCallbackAgentLifecycle,
    ({ state, reason }) => ({ state: numberOf(AGENT_STATES, state), reason: numberOf(AGENT_REASONS, reason) }),
    ({ state, reason }) => ({
      event: 'agent-lifecycle',
      state: state === 1 ? ('connected' as const) : ('disconnected' as const),
      reason: nameOf(AGENT_REASONS, reason),
    }),
  ),
  flat(
    19,
    'device-added',
    P.domainEventCallbackDeviceAdded,
    ({ device }) => ({ devAlias: device }),
    ({ devAlias }) => ({ event: 'device-added', device: devAlias }),
  ),
  flat(
    21,
    'job-completed',
    P.domainEventCallbackJobCompleted,
    ({ parameters }) => ({ params: toTypedParams(parameters) }),
    ({ params }) => ({
      event: 'job-completed',
      parameters: fromTypedParams(params) as EventOf<'job-completed'>['parameters'],
    }),
  ),
  flat(
    22,
    'device-removal-failed',
    P.domainEventCallbackDeviceRemovalFailed,
    ({ device }) => ({ devAlias: device }),
    ({ devAlias }) => ({ event: 'device-removal-failed', device: devAlias }),
  ),
  flat(
    23,
    'metadata-change',
    P.domainEventCallbackMetadataChange,
    ({ kind, namespaceUri }) => ({ type: numberOf(METADATA_KINDS, kind), nsuri: namespaceUri }),
    ({ type, nsuri }) => ({ event: 'metadata-change', kind: nameOf(METADATA_KINDS, type), namespaceUri: nsuri }),
  ),
  flat(
    24,
    'block-threshold',
    P.domainEventBlockThreshold,
    ({ device, path, threshold, excess }) => ({ dev: device, path, threshold, excess }),
    ({ dev, path, threshold, excess }) => ({ event: 'block-threshold', device: dev, path, threshold, excess }),
  ),
  flat(
    25,
    'memory-failure',
    P.domainEventMemoryFailure,
    ({ recipient, action }) => ({
      recipient: numberOf(FAILURE_RECIPIENTS, recipient),
      action: numberOf(FAILURE_ACTIONS, action),
      flags: 0,
    }),
    ({ recipient, action }) => ({
      event: 'memory-failure',
      recipient: nameOf(FAILURE_RECIPIENTS, recipient),
      action: nameOf(FAILURE_ACTIONS, action),
    }),
  ),
  flat(
    26,
    'memory-device-size-change',
    P.domainEventMemoryDeviceSizeChange,
    ({ alias, sizeBytes }) => ({ alias, size: BigInt(sizeBytes) }),
    ({ alias, size }) => ({ event: 'memory-device-size-change', alias, sizeBytes: Number(size) }),
  ),
];

type GraphicsMessage = MessageOf<typeof P.domainEventCallbackGraphics>['msg'];

/** QEMU's own event data as libvirt's message: who is connected to which address, and as whom. */
function graphicsToWire(phase: (typeof GRAPHICS_PHASES)[number], data: unknown): Omit<GraphicsMessage, 'dom'> {
  const server = memberOf(data, 'server');
  const client = memberOf(data, 'client');
  const identities = [
    ['x509dname', textIn(client, 'x509_dname')],
    ['saslUsername', textIn(client, 'sasl_username')],
  ] as const;
  return {
    phase: GRAPHICS_PHASES.indexOf(phase),
    local: addressToWire(server),
    remote: addressToWire(client),
    authScheme: textIn(server, 'auth'),
    subject: identities.filter(([, name]) => name !== '').map(([type, name]) => ({ type, name })),
  };
}

function addressToWire(address: unknown): GraphicsMessage['local'] {
  const family = textIn(address, 'family');
  const node = family === 'unix' ? textIn(address, 'service') : textIn(address, 'host');
  return { family: numberOf(ADDRESS_FAMILIES, family), node, service: textIn(address, 'service') };
}

/** The same shape as QEMU's data. */
function graphicsFromWire({ local, remote, authScheme, subject }: GraphicsMessage): object {
  const address = ({ family, node, service }: GraphicsMessage['local']): Record<string, string> => ({
    family: nameOf(ADDRESS_FAMILIES, family),
    host: node,
    service,
  });
  const names = Object.fromEntries(
    subject.map(({ type, name }) => [type === 'x509dname' ? 'x509_dname' : 'sasl_username', name]),
  );
  return { server: { ...address(local), auth: authScheme }, client: { ...address(remote), ...names } };
}

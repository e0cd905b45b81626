/**
 * QMP events to what they mean for a domain: a new state, events in libvirt's words, and what the definition wants
 * done. Pure: carrying out is the running guest's work.
 */
import type { Domain } from '../../../model/domain/domain.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { BareEvent, LifecycleDetail, LifecycleType } from '../../domain-events.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import { sourcesOf } from '../devices/blockdev/node-index.ts';

/** What is to be done after an event. */
export type FollowUp =
  /** End QEMU: the guest is off (or is to be). */
  | { readonly kind: 'quit'; readonly detail: 'shutdown' | 'crashed' }
  /** Reset and run on. */
  | { readonly kind: 'restart' }
  | { readonly kind: 'resume' }
  /** Write the guest's state to a file first. */
  | { readonly kind: 'dump'; readonly cause: DumpCause; readonly next: FollowUp };

export type DumpCause = 'crash' | 'watchdog';

/**
 * What a guest does by itself: a device that it lets go of (by alias); a tray or a channel that it opens or closes; a crash or an
 * expired watchdog after which it is to be dumped: `done` is to be called then, and it goes on or is ended.
 */
export type OwnChange =
  | { readonly kind: 'unplugged'; readonly alias: string }
  | { readonly kind: 'state' }
  | { readonly kind: 'dump'; readonly cause: DumpCause; readonly done: () => void };

export interface Meaning {
  readonly state?: { readonly state: DomainState; readonly reason: number };
  readonly events?: readonly BareEvent[];
  readonly followUp?: FollowUp;
}

/** What is known of the guest when the event arrives. */
export interface EventSituation {
  readonly domain: Domain;
  readonly state: DomainState;
  /** Why the guest is about to be paused, from an earlier event (I/O error, watchdog). */
  readonly pauseReason: number | undefined;
  /** A reboot was asked for by powering down and resetting. */
  readonly rebooting: boolean;
  /** The end has been decided: what QEMU says while it leaves is no news. */
  readonly ending: boolean;
}

type Reader = (data: JsonObject, situation: EventSituation) => Meaning;

/** The meaning of one event; nothing where it has none for the domain. */
export function readGuestEvent(name: string, data: JsonObject, situation: EventSituation): Meaning {
  return READERS[name]?.(data, situation) ?? {};
}

/** What is told of a guest that has just been started, in libvirt's order: whether it runs comes before or after by how it came to be. */
export function startEvents(isRestored: boolean, isPaused: boolean): BareEvent[] {
  const started = lifecycle('started', isRestored ? 'restored' : 'booted');
  if (isPaused) return [started, lifecycle('suspended', 'paused')];
  return isRestored ? [started, lifecycle('resumed', 'from-snapshot')] : [lifecycle('resumed', 'unpaused'), started];
}

function lifecycle<T extends LifecycleType>(type: T, detail: LifecycleDetail<T>): BareEvent {
  return { event: 'lifecycle', type, detail };
}

function text(data: JsonObject, key: string): string {
  const value = data[key];
  return typeof value === 'string' ? value : '';
}

function number(data: JsonObject, key: string): number {
  const value = data[key];
  return typeof value === 'number' ? value : 0;
}

const PAUSE_DETAIL: Readonly<Record<number, LifecycleDetail<'suspended'>>> = {
  [StateReason.paused.IOERROR]: 'ioerror',
  [StateReason.paused.WATCHDOG]: 'watchdog',
};

const READERS: Readonly<Record<string, Reader>> = {
  SHUTDOWN: (data, { domain, rebooting, ending }) => {
    // Only that our signal has reached it.
    if (ending) return text(data, 'reason') === 'host-signal' ? { events: [lifecycle('shutdown', 'host')] } : {};
    if (rebooting) return { followUp: { kind: 'restart' } };
    const byGuest = data['guest'] === true;
    const detail = byGuest ? 'guest' : 'host';
    const state = {
      state: DomainState.SHUTDOWN,
      reason: byGuest ? StateReason.shutdown.UNKNOWN : StateReason.shutdown.USER,
    };
    const events = [lifecycle('shutdown', detail)];
    // With -no-reboot a reset of the guest arrives as a shutdown.
    const action = text(data, 'reason') === 'guest-reset' ? 'destroy' : (domain.onPoweroff ?? 'destroy');
    if (action === 'restart' || action === 'rename-restart') return { followUp: { kind: 'restart' } };
    if (action === 'preserve') return { state, events };
    return { state, events, followUp: { kind: 'quit', detail: 'shutdown' } };
  },
  RESET: () => ({ events: [{ event: 'reboot' }] }),
  STOP: (_, { state, pauseReason }) => {
    // A guest that is shutting down or has crashed stops too; that is no pause.
    if (state !== DomainState.RUNNING && state !== DomainState.BLOCKED) return {};
    const reason = pauseReason ?? StateReason.paused.USER;
    return {
      state: { state: DomainState.PAUSED, reason },
      events: [lifecycle('suspended', PAUSE_DETAIL[reason] ?? 'paused')],
    };
  },
  RESUME: (_, { state }) =>
    state === DomainState.RUNNING
      ? {}
      : {
          state: { state: DomainState.RUNNING, reason: StateReason.running.UNPAUSED },
          events: [lifecycle('resumed', 'unpaused')],
        },
  SUSPEND: () => ({
    state: { state: DomainState.PMSUSPENDED, reason: StateReason.pmsuspended.UNKNOWN },
    events: [lifecycle('pmsuspended', 'memory')],
  }),
  SUSPEND_DISK: () => ({ events: [lifecycle('pmsuspended', 'disk')] }),
  WAKEUP: () => ({
    state: { state: DomainState.RUNNING, reason: StateReason.running.WAKEUP },
    events: [lifecycle('started', 'wakeup')],
  }),
  GUEST_PANICKED: (_, { domain }) => {
    const panicked = {
      state: { state: DomainState.CRASHED, reason: StateReason.crashed.PANICKED },
      events: [lifecycle('crashed', 'panicked')],
    };
    const action = domain.onCrash ?? 'destroy';
    if (action === 'preserve') return panicked;
    const isRestart = action === 'restart' || action === 'rename-restart' || action === 'coredump-restart';
    const next: FollowUp = isRestart ? { kind: 'restart' } : { kind: 'quit', detail: 'crashed' };
    const isDumped = action === 'coredump-destroy' || action === 'coredump-restart';
    return { ...panicked, followUp: isDumped ? { kind: 'dump', cause: 'crash', next } : next };
  },
  GUEST_CRASHLOADED: () => ({ events: [lifecycle('crashed', 'crashloaded')] }),
  RTC_CHANGE: (data) => ({ events: [{ event: 'rtc-change', offsetSeconds: number(data, 'offset') }] }),
  WATCHDOG: (data, { domain }) => ({
    events: [{ event: 'watchdog', action: text(data, 'action') }],
    ...(domain.devices?.watchdogs[0]?.action === 'dump'
      ? { followUp: { kind: 'dump', cause: 'watchdog', next: { kind: 'resume' } } }
      : {}),
  }),
  BLOCK_IO_ERROR: (data, { domain }) => ({ events: [ioError(data, domain)] }),
  DEVICE_TRAY_MOVED: (data) => ({
    events: [{ event: 'tray-change', device: text(data, 'id'), reason: data['tray-open'] === true ? 'open' : 'close' }],
  }),
  BALLOON_CHANGE: (data) => ({
    events: [{ event: 'balloon-change', actualKiB: Math.floor(number(data, 'actual') / 1024) }],
  }),
  DEVICE_DELETED: (data) =>
    text(data, 'device') === '' ? {} : { events: [{ event: 'device-removed', device: text(data, 'device') }] },
  DEVICE_UNPLUG_GUEST_ERROR: (data) => ({ events: [{ event: 'device-removal-failed', device: text(data, 'device') }] }),
  MEM_UNPLUG_ERROR: (data) => ({ events: [{ event: 'device-removal-failed', device: text(data, 'device') }] }),
  MEMORY_DEVICE_SIZE_CHANGE: (data) => ({
    events: [{ event: 'memory-device-size-change', alias: text(data, 'id'), sizeBytes: number(data, 'size') }],
  }),
  MEMORY_FAILURE: (data) => ({
    events: [{ event: 'memory-failure', recipient: text(data, 'recipient'), action: text(data, 'action') }],
  }),
  BLOCK_WRITE_THRESHOLD: (data, { domain }) => ({ events: blockThreshold(data, domain) }),
  BLOCK_JOB_COMPLETED: (data) => ({ events: [blockJob(data, 'error' in data ? 'failed' : 'completed')] }),
  BLOCK_JOB_CANCELLED: (data) => ({ events: [blockJob(data, 'canceled')] }),
  BLOCK_JOB_READY: (data) => ({ events: [blockJob(data, 'ready')] }),
  VNC_CONNECTED: (data) => ({ events: [{ event: 'graphics', phase: 'connect', data }] }),
  VNC_INITIALIZED: (data) => ({ events: [{ event: 'graphics', phase: 'initialize', data }] }),
  VNC_DISCONNECTED: (data) => ({ events: [{ event: 'graphics', phase: 'disconnect', data }] }),
  SPICE_CONNECTED: (data) => ({ events: [{ event: 'graphics', phase: 'connect', data }] }),
  SPICE_INITIALIZED: (data) => ({ events: [{ event: 'graphics', phase: 'initialize', data }] }),
  SPICE_DISCONNECTED: (data) => ({ events: [{ event: 'graphics', phase: 'disconnect', data }] }),
  VSERPORT_CHANGE: (data, { domain }) => {
    const channel = (domain.devices?.channels ?? []).find(({ alias }) => alias?.name === text(data, 'id'));
    if (channel?.target?.name !== 'org.qemu.guest_agent.0') return {};
    return {
      events: [
        {
          event: 'agent-lifecycle',
          state: data['open'] === true ? 'connected' : 'disconnected',
          reason: 'channel event',
        },
      ],
    };
  },
};

/** libvirt tells the disk's name and its image, and a reason only where there is no space left; QEMU tells its own nodes. */
function ioError(data: JsonObject, { devices }: Domain): BareEvent {
  const node = Number(/^libvirt-(\d+)-(?:format|storage)$/.exec(text(data, 'node-name'))?.[1]);
  const qomPath = text(data, 'qom-path').split('/');
  const disk = (devices?.disks ?? []).find(
    (one) =>
      [...sourcesOf(one)].some(({ index }) => index === node) ||
      (one.alias !== undefined && qomPath.includes(one.alias.name)),
  );
  return {
    event: 'io-error',
    device: disk?.alias?.name ?? text(data, 'device'),
    path: disk?.source?.file ?? disk?.source?.dev ?? disk?.source?.name ?? '',
    action: text(data, 'action'),
    reason: data['nospace'] === true ? 'enospc' : '',
  };
}

/** QEMU names the block node that was written to. */
function blockThreshold(data: JsonObject, { devices }: Domain): BareEvent[] {
  const index = Number(/^libvirt-(\d+)-storage$/.exec(text(data, 'node-name'))?.[1]);
  return (devices?.disks ?? []).flatMap((disk): BareEvent[] => {
    const sources = [...sourcesOf(disk)];
    const found = sources.find((source) => source.index === index);
    if (found === undefined) return [];
    const target = disk.target?.dev ?? '';
    return [
      {
        event: 'block-threshold',
        device: found === sources[0] ? target : `${target}[${index}]`,
        path: found.file ?? found.dev,
        threshold: BigInt(number(data, 'write-threshold')),
        excess: BigInt(number(data, 'amount-exceeded')),
      },
    ];
  });
}

function blockJob(data: JsonObject, status: string): BareEvent {
  return { event: 'block-job', device: text(data, 'device'), type: text(data, 'type'), status };
}

/** Why QEMU is about to pause the guest by itself, from the event that comes before STOP. */
export function pauseReasonOf(name: string, data: JsonObject): number | undefined {
  if (name === 'BLOCK_IO_ERROR' && text(data, 'action') === 'stop') return StateReason.paused.IOERROR;
  if (name === 'WATCHDOG' && text(data, 'action') === 'pause') return StateReason.paused.WATCHDOG;
  return undefined;
}

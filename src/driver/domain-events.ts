/** Domain events with libvirt's numbers and names (virDomainEventID, virDomainEventType and the details). */

/** Lifecycle event types and, for each, its details in order of their numbers. */
export const LIFECYCLE_DETAILS = {
  defined: ['added', 'updated', 'renamed', 'from-snapshot'],
  undefined: ['removed', 'renamed'],
  started: ['booted', 'migrated', 'restored', 'from-snapshot', 'wakeup'],
  suspended: [
    'paused',
    'migrated',
    'ioerror',
    'watchdog',
    'restored',
    'from-snapshot',
    'api-error',
    'postcopy',
    'postcopy-failed',
  ],
  resumed: ['unpaused', 'migrated', 'from-snapshot', 'postcopy', 'postcopy-failed'],
  stopped: ['shutdown', 'destroyed', 'crashed', 'migrated', 'saved', 'failed', 'from-snapshot'],
  shutdown: ['finished', 'guest', 'host'],
  pmsuspended: ['memory', 'disk'],
  crashed: ['panicked', 'crashloaded'],
} as const;

export type LifecycleType = keyof typeof LIFECYCLE_DETAILS;
export type LifecycleDetail<T extends LifecycleType = LifecycleType> = (typeof LIFECYCLE_DETAILS)[T][number];

interface EventBase {
  readonly domain: { readonly name: string; readonly uuid: string; readonly id: number };
  /** Milliseconds since the epoch: QEMU's own time stamp where it sent one. */
  readonly timestampMs: number;
}

/** All events a driver emits; `event` is virsh's name of the event. */
export type DomainEvent =
  | (EventBase & { readonly event: 'lifecycle'; readonly type: LifecycleType; readonly detail: LifecycleDetail })
  | (EventBase & { readonly event: 'reboot' })
  | (EventBase & { readonly event: 'rtc-change'; readonly offsetSeconds: number })
  | (EventBase & { readonly event: 'watchdog'; readonly action: string })
  | (EventBase & {
      readonly event: 'io-error';
      readonly path: string;
      readonly device: string;
      readonly action: string;
      readonly reason: string;
    })
  | (EventBase & {
      readonly event: 'graphics';
      readonly phase: 'connect' | 'initialize' | 'disconnect';
      readonly data: unknown;
    })
  | (EventBase & { readonly event: 'control-error' })
  | (EventBase & {
      readonly event: 'block-job';
      readonly device: string;
      readonly type: string;
      readonly status: string;
    })
  | (EventBase & { readonly event: 'tray-change'; readonly device: string; readonly reason: 'open' | 'close' })
  | (EventBase & { readonly event: 'balloon-change'; readonly actualKiB: number })
  | (EventBase & { readonly event: 'device-added'; readonly device: string })
  | (EventBase & {
      readonly event: 'disk-change';
      readonly device: string;
      readonly oldSource: string | undefined;
      readonly newSource: string | undefined;
      readonly reason: 'missing-on-start' | 'drop-missing-on-start';
    })
  | (EventBase & { readonly event: 'pm-wakeup' })
  | (EventBase & { readonly event: 'pm-suspend' })
  | (EventBase & { readonly event: 'pm-suspend-disk' })
  | (EventBase & { readonly event: 'tunable'; readonly parameters: Readonly<Record<string, number | bigint | string>> })
  | (EventBase & { readonly event: 'job-completed'; readonly parameters: Readonly<Record<string, number | bigint>> })
  | (EventBase & {
      readonly event: 'metadata-change';
      readonly kind: 'description' | 'title' | 'element';
      readonly namespaceUri: string | undefined;
    })
  | (EventBase & {
      readonly event: 'block-threshold';
      readonly device: string;
      readonly path: string | undefined;
      readonly threshold: bigint;
      readonly excess: bigint;
    })
  | (EventBase & { readonly event: 'device-removed'; readonly device: string })
  | (EventBase & { readonly event: 'device-removal-failed'; readonly device: string })
  | (EventBase & {
      readonly event: 'agent-lifecycle';
      readonly state: 'connected' | 'disconnected';
      readonly reason: string;
    })
  | (EventBase & { readonly event: 'memory-failure'; readonly recipient: string; readonly action: string })
  | (EventBase & { readonly event: 'memory-device-size-change'; readonly alias: string; readonly sizeBytes: number })
  /** What is hardly meant: two domains with one MAC address. Of a driver in this process only: libvirt's protocol has no such event. */
  | (EventBase & { readonly event: 'warning'; readonly message: string });

type Without<T, K extends string> = T extends unknown ? Omit<T, K> : never;
/** An event before the domain and the time are added to it. */
export type BareEvent = Without<DomainEvent, 'domain' | 'timestampMs'>;

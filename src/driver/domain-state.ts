/**
 * Domain states, operations and the table that decides in which state each operation is legal. Numbers and
 * names are libvirt's (virDomainState and the reasons of each state); nothing here acts.
 */

/** virDomainState. */
export const DomainState = {
  NOSTATE: 0,
  RUNNING: 1,
  BLOCKED: 2,
  PAUSED: 3,
  SHUTDOWN: 4,
  SHUTOFF: 5,
  CRASHED: 6,
  PMSUSPENDED: 7,
} as const;
export type DomainState = (typeof DomainState)[keyof typeof DomainState];

/** Lower-case names as virsh prints them. */
export const STATE_NAMES: Readonly<Record<DomainState, string>> = {
  0: 'no state',
  1: 'running',
  2: 'idle',
  3: 'paused',
  4: 'in shutdown',
  5: 'shut off',
  6: 'crashed',
  7: 'pmsuspended',
};

/** Reasons per state (virDomainRunningReason and its kin). */
export const StateReason = {
  running: {
    UNKNOWN: 0,
    BOOTED: 1,
    MIGRATED: 2,
    RESTORED: 3,
    FROM_SNAPSHOT: 4,
    UNPAUSED: 5,
    MIGRATION_CANCELED: 6,
    SAVE_CANCELED: 7,
    WAKEUP: 8,
    CRASHED: 9,
    POSTCOPY: 10,
  },
  paused: {
    UNKNOWN: 0,
    USER: 1,
    MIGRATION: 2,
    SAVE: 3,
    DUMP: 4,
    IOERROR: 5,
    WATCHDOG: 6,
    FROM_SNAPSHOT: 7,
    SHUTTING_DOWN: 8,
    SNAPSHOT: 9,
    CRASHED: 10,
    STARTING_UP: 11,
    POSTCOPY: 12,
    POSTCOPY_FAILED: 13,
    API_ERROR: 14,
  },
  shutdown: { UNKNOWN: 0, USER: 1 },
  shutoff: {
    UNKNOWN: 0,
    SHUTDOWN: 1,
    DESTROYED: 2,
    CRASHED: 3,
    MIGRATED: 4,
    SAVED: 5,
    FAILED: 6,
    FROM_SNAPSHOT: 7,
    DAEMON: 8,
  },
  crashed: { UNKNOWN: 0, PANICKED: 1 },
  pmsuspended: { UNKNOWN: 0 },
} as const;

/** Everything that can be asked of one domain. */
export type DomainOperation =
  | 'create'
  | 'destroy'
  | 'shutdown'
  | 'reboot'
  | 'reset'
  | 'suspend'
  | 'resume'
  | 'undefine'
  | 'rename'
  | 'setAutostart'
  | 'openConsole'
  | 'monitorCommand'
  | 'agentCommand'
  | 'injectNmi'
  | 'sendKey'
  | 'screenshot'
  | 'pmWakeup'
  | 'save'
  | 'coreDump'
  | 'changeDevices'
  | 'measure'
  | 'abortJob'
  | 'exec'
  | 'sendSignal'
  | 'openNamespaces';

const ACTIVE = [
  DomainState.RUNNING,
  DomainState.BLOCKED,
  DomainState.PAUSED,
  DomainState.SHUTDOWN,
  DomainState.CRASHED,
  DomainState.PMSUSPENDED,
] as const;
const INACTIVE = [DomainState.SHUTOFF] as const;
const EXECUTING = [DomainState.RUNNING, DomainState.BLOCKED] as const;

/** The states in which each operation is legal. A new operation does not compile until it has its row. */
export const LEGAL_STATES = {
  create: INACTIVE,
  destroy: ACTIVE,
  // A guest that does not run cannot hear of it, as in libvirt.
  shutdown: EXECUTING,
  reboot: [...EXECUTING, DomainState.PAUSED],
  reset: ACTIVE,
  // Suspending a paused guest succeeds without effect, as in libvirt; resuming a running one does not.
  suspend: [...EXECUTING, DomainState.PAUSED],
  resume: [DomainState.PAUSED, DomainState.CRASHED],
  undefine: [...INACTIVE, ...ACTIVE],
  rename: INACTIVE,
  setAutostart: [...INACTIVE, ...ACTIVE],
  openConsole: ACTIVE,
  monitorCommand: ACTIVE,
  agentCommand: [...EXECUTING],
  injectNmi: ACTIVE,
  sendKey: ACTIVE,
  screenshot: ACTIVE,
  pmWakeup: [DomainState.PMSUSPENDED],
  save: ACTIVE,
  coreDump: ACTIVE,
  // Of the running guest's hardware; the next start's definition can always be changed.
  changeDevices: ACTIVE,
  measure: ACTIVE,
  abortJob: ACTIVE,
  // A stopped container would never carry it out.
  exec: EXECUTING,
  sendSignal: ACTIVE,
  openNamespaces: ACTIVE,
} as const satisfies Record<DomainOperation, readonly DomainState[]>;

/** True where the table allows it. */
export function isLegal(operation: DomainOperation, state: DomainState): boolean {
  return (LEGAL_STATES[operation] as readonly DomainState[]).includes(state);
}

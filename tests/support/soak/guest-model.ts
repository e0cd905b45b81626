/**
 * What a guest is after each operation that a daemon has acknowledged, and which operations it has to refuse: the whole truth about a
 * domain in four values. Pure; carrying operations out is the soak's work.
 */
import { ErrorCode } from '../../../src/index.ts';

export interface GuestState {
  /** Which definition the next start uses; undefined: the domain is transient, or not there. */
  readonly version: number | undefined;
  readonly live: 'off' | 'running' | 'paused';
  readonly autostart: boolean;
}

export const GONE: GuestState = { version: undefined, live: 'off', autostart: false };

export const OPERATIONS = [
  'define',
  'undefine',
  'start',
  'startPaused',
  'createTransient',
  'destroy',
  'suspend',
  'resume',
  'setAutostart',
] as const;
export type Operation = (typeof OPERATIONS)[number];

/** What the daemon has to do: a new state, or a refusal with this code. */
export type Outcome = { readonly next: GuestState } | { readonly refusal: number };

export function exists({ version, live }: GuestState): boolean {
  return version !== undefined || live !== 'off';
}

/** `version`: of the definition that `define` brings. */
export function outcomeOf(state: GuestState, operation: Operation, version: number): Outcome {
  const needsDomain = operation !== 'define' && operation !== 'createTransient';
  return needsDomain && !exists(state) ? { refusal: ErrorCode.NO_DOMAIN } : EFFECTS[operation](state, version);
}

/** On a domain that is there. */
const EFFECTS: Readonly<Record<Operation, (state: GuestState, version: number) => Outcome>> = {
  define: (state, version) => ({ next: { ...state, version } }),
  undefine: (state) => ifDefined(state, { version: undefined, autostart: false }),
  start: (state) => start(state, 'running'),
  startPaused: (state) => start(state, 'paused'),
  createTransient: (state) => start(state, 'running'),
  destroy: (state) => ifLive(state, 'off'),
  suspend: (state) => ifLive(state, 'paused'),
  resume: (state) => (state.live === 'running' ? INVALID : ifLive(state, 'running')),
  setAutostart: (state) => ifDefined(state, { autostart: !state.autostart }),
};

const INVALID = { refusal: ErrorCode.OPERATION_INVALID } as const;

function start(state: GuestState, live: 'running' | 'paused'): Outcome {
  return state.live === 'off' ? { next: { ...state, live } } : INVALID;
}

function ifLive(state: GuestState, live: GuestState['live']): Outcome {
  return state.live === 'off' ? INVALID : { next: { ...state, live } };
}

function ifDefined(state: GuestState, change: Partial<GuestState>): Outcome {
  return state.version === undefined ? INVALID : { next: { ...state, ...change } };
}

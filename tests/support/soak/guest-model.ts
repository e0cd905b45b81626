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
  if (operation === 'define') return { next: { ...state, version } };
  if (operation === 'createTransient') return start(state, 'running');
  if (!exists(state)) return { refusal: ErrorCode.NO_DOMAIN };
  switch (operation) {
    case 'undefine':
      return state.version === undefined ? INVALID : { next: { ...state, version: undefined, autostart: false } };
    case 'start':
      return start(state, 'running');
    case 'startPaused':
      return start(state, 'paused');
    case 'destroy':
      return state.live === 'off' ? INVALID : { next: { ...state, live: 'off' } };
    case 'suspend':
      return state.live === 'off' ? INVALID : { next: { ...state, live: 'paused' } };
    case 'resume':
      return state.live === 'off' ? INVALID : { next: { ...state, live: 'running' } };
    case 'setAutostart':
      return state.version === undefined ? INVALID : { next: { ...state, autostart: !state.autostart } };
  }
}

const INVALID = { refusal: ErrorCode.OPERATION_INVALID } as const;

function start(state: GuestState, live: 'running' | 'paused'): Outcome {
  return state.live === 'off' ? { next: { ...state, live } } : INVALID;
}

/** Procedures about the connection itself: opening a driver, features, its end. */
import type { CONNECT_PROCEDURES } from '../../protocol/remote/connect.ts';
import { checkFlags, DONE, type Handlers } from './handler.ts';

/** What these handlers need of the session. */
export interface OpeningSession {
  open(uri: string, readOnly: boolean): Promise<void>;
  /** The client has said goodbye: its connection ends after the reply. */
  finish(): void;
  /** Signs of life may be asked for from now on: false where this server does not. */
  startKeepalive(): boolean;
  readonly isOpened: boolean;
  closeCallback(wanted: boolean): void;
}

/**
 * VIR_CONNECT_RO and VIR_CONNECT_NO_ALIASES. libvirt's client sends notes of its own among them: 2 where it takes its user's socket, 4 where it
 * would start a daemon that is missing, as it does for every user but root.
 */
const OPEN_FLAGS = 7;
/** virDrvFeature: texts as typed parameters, keepalive, definitions for migration, event callbacks with numbers, close callbacks, network updates. */
const Feature = {
  TYPED_PARAM_STRING: 9,
  PROGRAM_KEEPALIVE: 10,
  XML_MIGRATABLE: 11,
  REMOTE_EVENT_CALLBACK: 14,
  REMOTE_CLOSE_CALLBACK: 15,
  NETWORK_UPDATE_HAS_CORRECT_ORDER: 16,
} as const;
const FEATURES: ReadonlySet<number> = new Set(Object.values(Feature));

export const sessionHandlers: Handlers<
  Pick<
    typeof CONNECT_PROCEDURES,
    | 'connectOpen'
    | 'connectClose'
    | 'connectSupportsFeature'
    | 'connectRegisterCloseCallback'
    | 'connectUnregisterCloseCallback'
  >,
  OpeningSession
> = {
  connectOpen: async (session, { name, flags }) => {
    checkFlags(flags, OPEN_FLAGS, 'virConnectOpenAuth');
    await session.open(name ?? '', (flags & 1) !== 0);
    return DONE;
  },
  connectClose: (session) => {
    session.finish();
    return DONE;
  },
  connectSupportsFeature: (session, { feature }) => {
    // Only clients that ask for it are asked: others do not answer while they are idle.
    const supported = feature === Feature.PROGRAM_KEEPALIVE ? session.startKeepalive() : FEATURES.has(feature);
    return { supported: supported ? 1 : 0 };
  },
  connectRegisterCloseCallback: (session) => {
    session.closeCallback(true);
    return DONE;
  },
  connectUnregisterCloseCallback: (session) => {
    session.closeCallback(false);
    return DONE;
  },
};

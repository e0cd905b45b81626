/** How a client proves who it is: not at all, or with SASL. The state of one connection's exchange. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { Max } from '../../protocol/index.ts';
import type { CONNECT_PROCEDURES } from '../../protocol/remote/connect.ts';
import { makeVerifier, SaslError, SCRAM_MECHANISM, ScramServer, type ScramVerifier } from '../sasl/scram.ts';
import type { Handlers } from './handler.ts';

/** remote_auth_type. */
const AuthType = { NONE: 0, SASL: 1 } as const;

/** Bytes of a message from who has not proved who it is: a step of SASL at its longest, twice. */
export const ANONYMOUS_MESSAGE_MAX = 2 * Max.authSaslData;

export interface SaslUsers {
  /** What is kept of a user; undefined: there is no such user. */
  readonly verifierOf: (user: string) => ScramVerifier | undefined;
  /** Whether a user that has proved itself may connect. */
  readonly isAllowed?: (user: string) => boolean;
}

export interface AuthenticationInit {
  /** Undefined: whoever can reach the socket is trusted. */
  readonly sasl: SaslUsers | undefined;
  /** Whether passwords may be sent as they are. */
  readonly isEncrypted: boolean;
}

export class Authentication {
  readonly #init: AuthenticationInit;
  #scram: ScramServer | undefined;
  #isOffered = false;
  #isDone: boolean;
  #user: string | undefined;

  constructor(init: AuthenticationInit) {
    this.#init = init;
    this.#isDone = init.sasl === undefined;
  }

  /** Whether the client may call anything else. */
  get isDone(): boolean {
    return this.#isDone;
  }

  get user(): string | undefined {
    return this.#user;
  }

  list(): number[] {
    return [this.#init.sasl === undefined || this.#isDone ? AuthType.NONE : AuthType.SASL];
  }

  init(): string {
    this.#requireSasl();
    if (this.#isOffered) throw failed('the exchange has begun already');
    this.#isOffered = true;
    return this.#init.isEncrypted ? `${SCRAM_MECHANISM} PLAIN` : SCRAM_MECHANISM;
  }

  start(mechanism: string, data: Uint8Array): { complete: boolean; data: Uint8Array } {
    const users = this.#requireSasl();
    if (!this.#isOffered || this.#scram !== undefined) throw failed('the exchange is out of step');
    if (mechanism === 'PLAIN' && this.#init.isEncrypted) {
      this.#plain(users, textOf(data));
      return { complete: true, data: new Uint8Array() };
    }
    if (mechanism !== SCRAM_MECHANISM) throw failed(`the mechanism '${mechanism}' was not offered`);
    this.#scram = new ScramServer(users.verifierOf);
    const challenge = this.#scram.challenge(textOf(data));
    return { complete: false, data: Buffer.from(challenge) };
  }

  step(data: Uint8Array): { complete: boolean; data: Uint8Array } {
    const users = this.#requireSasl();
    if (this.#scram === undefined) throw failed('the exchange is out of step');
    const verdict = this.#scram.verify(textOf(data));
    this.#accept(users, this.#scram.user);
    return { complete: true, data: Buffer.from(verdict) };
  }

  #plain(users: SaslUsers, text: string): void {
    const [, user = '', password = ''] = text.split('\0');
    const verifier = users.verifierOf(user);
    const { salt, iterations, storedKey } = verifier ?? makeVerifier('');
    const given = makeVerifier(password, iterations, salt);
    if (verifier === undefined || !Buffer.from(given.storedKey).equals(Buffer.from(storedKey))) {
      throw new SaslError(`wrong user name or password for '${user}'`);
    }
    this.#accept(users, user);
  }

  #accept(users: SaslUsers, user: string): void {
    if (users.isAllowed?.(user) === false) throw failed(`'${user}' is not among the users that are allowed`);
    this.#isDone = true;
    this.#user = user;
  }

  #requireSasl(): SaslUsers {
    if (this.#init.sasl === undefined || this.#isDone) throw failed('no SASL authentication is wanted here');
    return this.#init.sasl;
  }
}

/** What the handlers need of the session; a failure ends the connection. */
export interface AuthSession {
  readonly authentication: Authentication;
  /** Called when the client has failed: it gets no second chance. */
  readonly giveUp: () => void;
}

export const authHandlers: Handlers<
  Pick<typeof CONNECT_PROCEDURES, 'authList' | 'authSaslInit' | 'authSaslStart' | 'authSaslStep'>,
  AuthSession
> = {
  authList: ({ authentication }) => ({ types: authentication.list() }),
  authSaslInit: (session) => ({ mechlist: guarded(session, () => session.authentication.init()) }),
  authSaslStart: (session, { mech, data }) => toWire(guarded(session, () => session.authentication.start(mech, data))),
  authSaslStep: (session, { data }) => toWire(guarded(session, () => session.authentication.step(data))),
};

function guarded<T>(session: AuthSession, body: () => T): T {
  try {
    return body();
  } catch (error) {
    session.giveUp();
    // The client is not told more than that: which part was wrong is for the server's log.
    throw error instanceof SaslError ? failed('authentication failed', error) : error;
  }
}

function toWire({ complete, data }: { complete: boolean; data: Uint8Array }): {
  complete: number;
  nil: number;
  data: Uint8Array;
} {
  return { complete: complete ? 1 : 0, nil: data.length === 0 ? 1 : 0, data };
}

/** Clients end the text with a NUL that is counted. */
function textOf(data: Uint8Array): string {
  const text = Buffer.from(data).toString('utf8');
  return text.endsWith('\0') ? text.slice(0, -1) : text;
}

function failed(why: string, cause?: unknown): VirtError {
  return new VirtError(why, { code: ErrorCode.AUTH_FAILED, domain: ErrorDomain.RPC, cause });
}

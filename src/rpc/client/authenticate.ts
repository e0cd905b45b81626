/** Proves who we are, in the ways that a server offers: not at all, by the kernel's word (polkit), or with a password (SASL). */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { SaslError, SCRAM_MECHANISM, ScramClient } from '../sasl/scram.ts';
import type { CallOptions, RpcClient } from './rpc-client.ts';

/** remote_auth_type. */
export const AuthType = { NONE: 0, SASL: 1, POLKIT: 2 } as const;

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Asked only where a server wants a password. */
export type CredentialSource = Credentials | (() => Credentials | Promise<Credentials>);

export interface AuthenticateOptions extends CallOptions {
  readonly credentials?: CredentialSource | undefined;
  /** Whether a password may be sent as it is. */
  readonly encrypted: boolean;
}

/** @throws VirtError AUTH_FAILED, AUTH_UNAVAILABLE */
export async function authenticate(client: RpcClient, options: AuthenticateOptions): Promise<void> {
  const { types } = await client.call(P.authList, {}, options);
  if (types.length === 0 || types.includes(AuthType.NONE)) return;
  if (types.includes(AuthType.POLKIT)) {
    await client.call(P.authPolkit, {}, options);
    return;
  }
  if (!types.includes(AuthType.SASL)) {
    throw authError(`the server offers only authentication of types ${types.join(', ')}`, ErrorCode.AUTH_UNAVAILABLE);
  }
  await authenticateSasl(client, options);
}

async function authenticateSasl(client: RpcClient, options: AuthenticateOptions): Promise<void> {
  const { mechlist } = await client.call(P.authSaslInit, {}, options);
  const offered = mechlist.split(/[\s,]+/);
  const isScram = offered.includes(SCRAM_MECHANISM);
  if (!isScram && !(offered.includes('PLAIN') && options.encrypted)) {
    const why = offered.includes('PLAIN') ? ' (PLAIN only where the connection is encrypted)' : '';
    throw authError(
      `the server offers the SASL mechanisms ${mechlist}; this client has ${SCRAM_MECHANISM} and PLAIN${why}`,
      ErrorCode.AUTH_UNAVAILABLE,
    );
  }
  const { credentials } = options;
  const known = typeof credentials === 'function' ? await credentials() : credentials;
  if (known === undefined) {
    throw authError('the server wants a user name and password: give them as credentials', ErrorCode.AUTH_CANCELLED);
  }
  if (isScram) return await scram(client, known, options);
  const plain = Buffer.from(`\0${known.username}\0${known.password}`);
  const { complete } = await client.call(P.authSaslStart, { mech: 'PLAIN', nil: 0, data: plain }, options);
  if (complete === 0) throw authError('the server wants more than PLAIN has');
}

async function scram(client: RpcClient, { username, password }: Credentials, options: CallOptions): Promise<void> {
  const exchange = new ScramClient(username, password);
  try {
    const data = Buffer.from(exchange.first());
    const challenge = await client.call(P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data }, options);
    const final = Buffer.from(exchange.final(textOf(challenge.data)));
    const verdict = await client.call(P.authSaslStep, { nil: 0, data: final }, options);
    exchange.finish(textOf(verdict.data));
    // Some servers hand their proof over before they call it complete.
    if (verdict.complete === 0) await client.call(P.authSaslStep, { nil: 1, data: Buffer.alloc(0) }, options);
  } catch (error) {
    if (error instanceof SaslError) throw authError(error.message, ErrorCode.AUTH_FAILED, error);
    throw error;
  }
}

/** Some peers end the text with a NUL. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8').replace(/\0+$/, '');
}

function authError(why: string, code: ErrorCode = ErrorCode.AUTH_FAILED, cause?: unknown): VirtError {
  return new VirtError(`authentication failed: ${why}`, { code, domain: ErrorDomain.AUTH, cause });
}

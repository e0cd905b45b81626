/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides, as messages in and messages out. Without channel binding, which libvirt's SASL
 * has not either. The server needs no password, only what follows from it.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

export const SCRAM_MECHANISM = 'SCRAM-SHA-256';
/** RFC 7677 asks for at least 4096. */
export const SCRAM_ITERATIONS = 16_384;
const KEY_BYTES = 32;
/** base64 of `n,,`: no channel binding, no other identity. */
const GS2_HEADER = 'n,,';
const CHANNEL_BINDING = Buffer.from(GS2_HEADER).toString('base64');
const MAX_ITERATIONS = 10_000_000;

/** The exchange failed: `message` says on which side's account. */
export class SaslError extends Error {
  override readonly name = 'SaslError';
}

/** What a server keeps of a user. */
export interface ScramVerifier {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly storedKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

/** Derives what a server keeps from a password. */
export function makeVerifier(
  password: string,
  iterations = SCRAM_ITERATIONS,
  salt: Uint8Array = randomBytes(16),
): ScramVerifier {
  const salted = saltPassword(password, salt, iterations);
  return {
    salt,
    iterations,
    storedKey: sha256(hmac(salted, 'Client Key')),
    serverKey: hmac(salted, 'Server Key'),
  };
}

export class ScramClient {
  readonly #password: string;
  readonly #nonce: string;
  readonly #firstBare: string;
  #serverSignature: Buffer | undefined;

  constructor(user: string, password: string, nonce = randomBytes(18).toString('base64')) {
    this.#password = password.normalize('NFKC');
    this.#nonce = nonce;
    const name = user.normalize('NFKC').replaceAll('=', '=3D').replaceAll(',', '=2C');
    this.#firstBare = `n=${name},r=${nonce}`;
  }

  first(): string {
    return GS2_HEADER + this.#firstBare;
  }

  /** Answers the server's challenge. @throws SaslError for one that is wrong or too cheap */
  final(challenge: string): string {
    const { r: nonce = '', s: salt = '', i: count = '' } = attributes(challenge);
    const iterations = Number(count);
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce)
      throw new SaslError('the server repeats our nonce wrongly');
    if (salt === '' || !Number.isInteger(iterations) || iterations < 4096 || iterations > MAX_ITERATIONS) {
      throw new SaslError('the server asks for a salt or iteration count that is not allowed');
    }
    const salted = saltPassword(this.#password, Buffer.from(salt, 'base64'), iterations);
    const withoutProof = `c=${CHANNEL_BINDING},r=${nonce}`;
    const message = `${this.#firstBare},${challenge},${withoutProof}`;
    const clientKey = hmac(salted, 'Client Key');
    const proof = xor(clientKey, hmac(sha256(clientKey), message));
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), message);
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Checks that the server knew the password too. @throws SaslError */
  finish(verdict: string): void {
    const { v: signature = '', e: reason } = attributes(verdict);
    if (reason !== undefined) throw new SaslError(`the server refuses: ${reason}`);
    const received = Buffer.from(signature, 'base64');
    if (this.#serverSignature === undefined || !isEqual(received, this.#serverSignature)) {
      throw new SaslError('the server does not know the password: it may not be the one it claims to be');
    }
  }
}

export class ScramServer {
  readonly #lookup: (user: string) => ScramVerifier | undefined;
  readonly #nonce: string;
  #verifier: ScramVerifier | undefined;
  #known = false;
  #user = '';
  #transcript = '';
  #fullNonce = '';

  /** `lookup`: what is kept of a user. Unknown users are told only at the end, like a wrong password. */
  constructor(lookup: (user: string) => ScramVerifier | undefined, nonce = randomBytes(18).toString('base64')) {
    this.#lookup = lookup;
    this.#nonce = nonce;
  }

  /** Whom the client claims to be. */
  get user(): string {
    return this.#user;
  }

  /** The client's first message to the challenge. @throws SaslError */
  challenge(first: string): string {
    const match = /^n,(?:a=[^,]*)?,(n=([^,]*),r=([!-+\--~]+))$/.exec(first);
    if (match === null) throw new SaslError('the first message is no SCRAM message without channel binding');
    const [, bare = '', name = '', nonce = ''] = match;
    this.#user = name.replaceAll('=2C', ',').replaceAll('=3D', '=');
    const verifier = this.#lookup(this.#user);
    this.#known = verifier !== undefined;
    this.#verifier = verifier ?? decoy(this.#user);
    this.#fullNonce = nonce + this.#nonce;
    const salt = Buffer.from(this.#verifier.salt).toString('base64');
    const challenge = `r=${this.#fullNonce},s=${salt},i=${this.#verifier.iterations}`;
    this.#transcript = `${bare},${challenge}`;
    return challenge;
  }

  /** The client's proof to the server's. @throws SaslError for a wrong one */
  verify(final: string): string {
    const { c: binding, r: nonce, p: proof = '' } = attributes(final);
    if (this.#verifier === undefined || binding !== CHANNEL_BINDING || nonce !== this.#fullNonce) {
      throw new SaslError('the final message does not belong to the challenge');
    }
    const { storedKey, serverKey } = this.#verifier;
    const message = `${this.#transcript},${final.slice(0, final.lastIndexOf(',p='))}`;
    const signature = hmac(storedKey, message);
    const sent = Buffer.from(proof, 'base64');
    const isRight = sent.length === KEY_BYTES && isEqual(sha256(xor(sent, signature)), storedKey);
    if (!isRight || !this.#known) throw new SaslError(`wrong user name or password for '${this.#user}'`);
    return `v=${hmac(serverKey, message).toString('base64')}`;
  }
}

/** For users that do not exist: always the same for a name, so that names cannot be tried out. */
function decoy(user: string): ScramVerifier {
  const salt = hmac(DECOY_KEY, user).subarray(0, 16);
  return { salt, iterations: SCRAM_ITERATIONS, storedKey: randomBytes(KEY_BYTES), serverKey: randomBytes(KEY_BYTES) };
}

const DECOY_KEY = randomBytes(KEY_BYTES);

function attributes(message: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const part of message.split(',')) {
    const at = part.indexOf('=');
    if (at === 1) found[part.slice(0, 1)] = part.slice(2);
  }
  return found;
}

function saltPassword(password: string, salt: Uint8Array, iterations: number): Buffer {
  return pbkdf2Sync(password.normalize('NFKC'), salt, iterations, KEY_BYTES, 'sha256');
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function xor(a: Uint8Array, b: Uint8Array): Buffer {
  return Buffer.from(a.map((byte, index) => byte ^ (b[index] ?? 0)));
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

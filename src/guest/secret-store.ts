/**
 * Secrets of one connection: definitions and values, in memory, and a daemon's also on disk (`UUID.xml`, `UUID.base64`, both private)
 * unless they are ephemeral. Values leave towards QEMU's descriptors, and to whoever asks for one that is not private.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { Broadcast } from '../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { writeFileAtomic } from '../core/fs.ts';
import { Mutex } from '../core/mutex.ts';
import { randomUuid } from '../core/random.ts';
import type { Waiting } from '../driver/driver.ts';
import type { SecretEvent, SecretIdentity, SecretOperations, SecretUsage } from '../driver/secret-operations.ts';
import { formatSecret, parseSecret, type Secret, usageId } from '../model/secret.ts';

/** Which secret: by UUID or by usage, as in `<secret type='…' uuid='…'/>`. */
export interface SecretReference {
  readonly type: string;
  readonly uuid?: string | undefined;
  readonly usage?: string | undefined;
  /** The secret itself, where the definition holds it (HTTP cookies). Never logged. */
  readonly value?: string | undefined;
}

interface Entry {
  readonly secret: Secret;
  readonly value: Uint8Array | undefined;
}

export class SecretStore implements SecretOperations, Disposable {
  readonly #secrets = new Map<string, Entry>();
  readonly #events = new Broadcast<SecretEvent>();
  readonly #dir: string | undefined;
  /** What is on disk and what is in memory changes together. */
  readonly #changing = new Mutex();

  /** `dir`: where those that are not ephemeral are kept; without it they end with the connection. */
  constructor(dir?: string) {
    this.#dir = dir;
  }

  /** Reads what is kept. @returns one line for each file that cannot be read; never a value */
  load(): string[] {
    const dir = this.#dir;
    if (dir === undefined) return [];
    const files = listFiles(dir);
    // Half-written by a process that was killed.
    for (const file of files.filter((name) => name.endsWith('.tmp'))) rmSync(join(dir, file), { force: true });
    return files.flatMap((file) => {
      if (!file.endsWith('.xml')) return [];
      try {
        const secret = parseSecret(readFileSync(join(dir, file), 'utf8'));
        const uuid = secret.uuid ?? '';
        if (file !== `${uuid}.xml`) throw new Error('its name is not its UUID');
        const value = files.includes(`${uuid}.base64`)
          ? Buffer.from(readFileSync(join(dir, `${uuid}.base64`), 'latin1'), 'base64')
          : undefined;
        this.#secrets.set(uuid, { secret, value });
        return [];
      } catch (error) {
        return [`${join(dir, file)} is left out: ${error instanceof Error ? error.message : String(error)}`];
      }
    });
  }

  async list(
    filter: { readonly ephemeral?: boolean | undefined; readonly private?: boolean | undefined } = {},
  ): Promise<readonly SecretIdentity[]> {
    const matches = ({ secret }: Entry): boolean =>
      (filter.ephemeral === undefined || filter.ephemeral === (secret.ephemeral ?? false)) &&
      (filter.private === undefined || filter.private === (secret.private ?? false));
    return [...this.#secrets]
      .filter(([, entry]) => matches(entry))
      .map(([uuid, { secret }]) => identityOf(uuid, secret));
  }

  async lookupByUuid(uuid: string): Promise<SecretIdentity> {
    return identityOf(uuid, this.#entry(uuid).secret);
  }

  async lookupByUsage(type: SecretUsage, id: string): Promise<SecretIdentity> {
    for (const [uuid, { secret }] of this.#secrets) {
      const identity = identityOf(uuid, secret);
      if (identity.usageType === type && identity.usageId === id) return identity;
    }
    throw noSecret(`for usage '${id}'`);
  }

  /** Adds or redefines a secret; its value stays. It is on disk when this returns. */
  async define(xml: string): Promise<SecretIdentity> {
    const secret = parseSecret(xml);
    using _lock = await this.#changing.acquire();
    const uuid = secret.uuid ?? randomUuid();
    const id = usageId(secret);
    for (const [other, entry] of this.#secrets) {
      const same = id !== undefined && usageId(entry.secret) === id && entry.secret.usage?.type === secret.usage?.type;
      if (same && other !== uuid) {
        throw new VirtError(`a secret with UUID ${other} is already defined for usage '${id}'`, {
          code: ErrorCode.OPERATION_FAILED,
          domain: ErrorDomain.SECRET,
        });
      }
    }
    const before = this.#secrets.get(uuid);
    if (before !== undefined) requireSameUse(before.secret, secret);
    const entry = { secret: { ...secret, uuid }, value: before?.value };
    await this.#keep(uuid, entry);
    this.#secrets.set(uuid, entry);
    return this.#announce(uuid, secret, 'defined');
  }

  async undefine(uuid: string): Promise<void> {
    using _lock = await this.#changing.acquire();
    const { secret, value } = this.#entry(uuid);
    this.#forget(uuid);
    this.#secrets.delete(uuid);
    value?.fill(0);
    this.#announce(uuid, secret, 'undefined');
  }

  async xmlDesc(uuid: string): Promise<string> {
    return formatSecret(this.#entry(uuid).secret);
  }

  /** Keeps a copy of the value. */
  async setValue(uuid: string, value: Uint8Array): Promise<void> {
    using _lock = await this.#changing.acquire();
    const entry = this.#entry(uuid);
    const changed = { ...entry, value: Uint8Array.from(value) };
    await this.#keep(uuid, changed);
    entry.value?.fill(0);
    this.#secrets.set(uuid, changed);
    this.#announce(uuid, entry.secret, 'value-changed');
  }

  async value(uuid: string): Promise<Uint8Array> {
    const { secret, value } = this.#entry(uuid);
    if (secret.private === true) {
      throw new VirtError(`the secret with UUID ${uuid} is private: its value is never given out`, {
        code: ErrorCode.INVALID_SECRET,
        domain: ErrorDomain.SECRET,
      });
    }
    if (value === undefined) throw noValue(`with UUID ${uuid}`);
    return Uint8Array.from(value);
  }

  events(options: Waiting = {}): AsyncIterable<SecretEvent> {
    return this.#events.subscribe({ signal: options.signal });
  }

  /** The value that a definition refers to. @throws VirtError when there is none */
  resolve(reference: SecretReference): Uint8Array {
    if (reference.value !== undefined) return Buffer.from(reference.value);
    const description = reference.uuid === undefined ? `for usage '${reference.usage}'` : `with UUID ${reference.uuid}`;
    for (const [uuid, { secret, value }] of this.#secrets) {
      const matches = reference.uuid === undefined ? usageId(secret) === reference.usage : uuid === reference.uuid;
      if (!matches) continue;
      if (value === undefined) throw noValue(description);
      return value;
    }
    throw noSecret(description);
  }

  /** Overwrites all values. */
  [Symbol.dispose](): void {
    for (const { value } of this.#secrets.values()) value?.fill(0);
    this.#secrets.clear();
    this.#events.end();
  }

  /** The value after its definition: a value that nothing describes would be lost sight of. */
  async #keep(uuid: string, { secret, value }: Entry): Promise<void> {
    if (this.#dir === undefined) return;
    if (secret.ephemeral === true) return this.#forget(uuid);
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    await writeFileAtomic(join(this.#dir, `${uuid}.xml`), formatSecret(secret), { mode: 0o600 });
    if (value === undefined) return;
    const text = Buffer.from(value).toString('base64');
    await writeFileAtomic(join(this.#dir, `${uuid}.base64`), text, { mode: 0o600 });
  }

  #forget(uuid: string): void {
    if (this.#dir === undefined) return;
    for (const suffix of ['base64', 'xml']) rmSync(join(this.#dir, `${uuid}.${suffix}`), { force: true });
  }

  #entry(uuid: string): Entry {
    const entry = this.#secrets.get(uuid);
    if (entry === undefined) throw noSecret(`with UUID ${uuid}`);
    return entry;
  }

  #announce(uuid: string, secret: Secret, type: SecretEvent['type']): SecretIdentity {
    const identity = identityOf(uuid, secret);
    this.#events.send({ secret: identity, type });
    return identity;
  }
}

/** A value that was private stays private, and what it is for stays what it is for. @throws VirtError */
function requireSameUse(before: Secret, after: Secret): void {
  const refuse = (message: string, code: ErrorCode): never => {
    throw new VirtError(message, { code, domain: ErrorDomain.SECRET });
  };
  if (before.private === true && after.private !== true) {
    refuse('cannot change private flag on existing secret', ErrorCode.OPERATION_DENIED);
  }
  if (before.usage?.type !== after.usage?.type || usageId(before) !== usageId(after)) {
    const id = usageId(before) ?? '';
    refuse(`a secret with UUID ${before.uuid ?? ''} is already defined for use with ${id}`, ErrorCode.INTERNAL_ERROR);
  }
}

function listFiles(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

function identityOf(uuid: string, secret: Secret): SecretIdentity {
  return { uuid, usageType: secret.usage?.type ?? 'none', usageId: usageId(secret) ?? '' };
}

function noValue(description: string): VirtError {
  return new VirtError(`the secret ${description} has no value: set one before the guest starts`, {
    code: ErrorCode.NO_SECRET,
    domain: ErrorDomain.SECRET,
  });
}

function noSecret(description: string): VirtError {
  return new VirtError(`there is no secret ${description}: define it (nestling run --secret XML,VALUE-FILE)`, {
    code: ErrorCode.NO_SECRET,
    domain: ErrorDomain.SECRET,
  });
}

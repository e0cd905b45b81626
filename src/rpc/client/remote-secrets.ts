/** Secrets behind the protocol. */
import { Broadcast } from '../../core/broadcast.ts';
import type { Waiting } from '../../driver/driver.ts';
import {
  SECRET_USAGES,
  type SecretEvent,
  type SecretIdentity,
  type SecretOperations,
  type SecretUsage,
} from '../../driver/secret-operations.ts';
import { type ArgsOf, REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { uuidFromWire, uuidToWire } from '../convert.ts';
import { DefineFlag, flagsOf, SecretListFlag } from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

type WireSecret = ArgsOf<typeof P.secretUndefine>['secret'];

/** virSecretEventID. */
const SECRET_EVENT = { LIFECYCLE: 0, VALUE_CHANGED: 1 } as const;

export class RemoteSecrets implements SecretOperations {
  readonly #calls: RemoteCalls;
  readonly #registering: (registration: Promise<unknown>) => void;
  readonly #events = new Broadcast<SecretEvent>();
  #isRegistered = false;

  /** `registering`: hears of event registrations, after which later calls must come. */
  constructor(calls: RemoteCalls, registering: (registration: Promise<unknown>) => void) {
    this.#calls = calls;
    this.#registering = registering;
    void calls.client.closed.then(() => this.#events.end());
  }

  async list(
    filter: { readonly ephemeral?: boolean | undefined; readonly private?: boolean | undefined } & Waiting = {},
  ): Promise<readonly SecretIdentity[]> {
    const flags = flagsOf(
      [SecretListFlag.EPHEMERAL, filter.ephemeral === true],
      [SecretListFlag.NO_EPHEMERAL, filter.ephemeral === false],
      [SecretListFlag.PRIVATE, filter.private === true],
      [SecretListFlag.NO_PRIVATE, filter.private === false],
    );
    const { secrets } = await this.#calls.call(P.connectListAllSecrets, { needResults: 1, flags }, filter);
    return secrets.map(secretFromWire);
  }

  async lookupByUuid(uuid: string, options: Waiting = {}): Promise<SecretIdentity> {
    const { secret } = await this.#calls.call(P.secretLookupByUuid, { uuid: uuidToWire(uuid) }, options);
    return secretFromWire(secret);
  }

  async lookupByUsage(type: SecretUsage, id: string, options: Waiting = {}): Promise<SecretIdentity> {
    const args = { usageType: SECRET_USAGES.indexOf(type), usageID: id };
    return secretFromWire((await this.#calls.call(P.secretLookupByUsage, args, options)).secret);
  }

  async define(xml: string, options: { readonly validate?: boolean } & Waiting = {}): Promise<SecretIdentity> {
    const flags = flagsOf([DefineFlag.VALIDATE, options.validate]);
    return secretFromWire((await this.#calls.call(P.secretDefineXml, { xml, flags }, options)).secret);
  }

  async undefine(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.secretUndefine, { secret: secretOf(uuid) }, options);
  }

  async xmlDesc(uuid: string, options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.secretGetXmlDesc, { secret: secretOf(uuid), flags: 0 }, options)).xml;
  }

  async setValue(uuid: string, value: Uint8Array, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.secretSetValue, { secret: secretOf(uuid), value, flags: 0 }, options);
  }

  async value(uuid: string, options: Waiting = {}): Promise<Uint8Array> {
    return (await this.#calls.call(P.secretGetValue, { secret: secretOf(uuid), flags: 0 }, options)).value;
  }

  events(options: Waiting = {}): AsyncIterable<SecretEvent> {
    if (!this.#isRegistered) this.#register();
    return this.#events.subscribe({ signal: options.signal });
  }

  #register(): void {
    this.#isRegistered = true;
    const { client } = this.#calls;
    const send = (secret: WireSecret, type: SecretEvent['type']): void =>
      this.#events.send({ secret: secretFromWire(secret), type });
    client.on(P.secretEventLifecycle, ({ secret, event }) => send(secret, event === 0 ? 'defined' : 'undefined'));
    client.on(P.secretEventValueChanged, ({ secret }) => send(secret, 'value-changed'));
    const registrations = Object.values(SECRET_EVENT).map((eventID) =>
      client.call(P.connectSecretEventRegisterAny, { eventID, secret: undefined }),
    );
    this.#registering(Promise.all(registrations));
  }
}

function secretFromWire({ uuid, usageType, usageID }: WireSecret): SecretIdentity {
  return { uuid: uuidFromWire(uuid), usageType: SECRET_USAGES[usageType] ?? 'none', usageId: usageID };
}

/** Servers look secrets up by their UUID alone. */
function secretOf(uuid: string): WireSecret {
  return { uuid: uuidToWire(uuid), usageType: 0, usageID: '' };
}

/** One domain of a connection, as the driver remembers it: who it is, what the next start uses, and the guest that runs. */
import { ErrorDomain } from '../core/errors.ts';
import { Mutex } from '../core/mutex.ts';
import { type DomainState, StateReason } from '../driver/domain-state.ts';
import type { Domain } from '../model/domain/domain.ts';

/** A guest that runs, as far as all drivers' are alike. */
export interface LiveGuest {
  readonly id: number;
  /** The live definition. */
  readonly domain: Domain;
  readonly state: DomainState;
  readonly reason: number;
}

/** A transient domain is not defined and goes with its guest. */
export class DomainRecord<G extends LiveGuest = LiveGuest> {
  readonly uuid: string;
  readonly errorDomain: ErrorDomain;
  name: string;
  guest: G | undefined;
  /** A start is under way: the name is taken, there is no guest yet. */
  starting = false;
  shutoffReason: number = StateReason.shutoff.UNKNOWN;
  autostart = false;
  readonly job = new Mutex();
  #definition: Domain | undefined;
  #read: (() => Domain) | undefined;

  /** `errorDomain`: the driver's, for what is wrong with it. */
  constructor(uuid: string, name: string, errorDomain: ErrorDomain = ErrorDomain.QEMU) {
    this.uuid = uuid;
    this.name = name;
    this.errorDomain = errorDomain;
  }

  get isDefined(): boolean {
    return this.#definition !== undefined || this.#read !== undefined;
  }

  /** What the next start uses; completed with defaults. @throws what reading it throws, where nobody has done that yet */
  get definition(): Domain | undefined {
    if (this.#read !== undefined) {
      this.#definition = this.#read();
      this.#read = undefined;
    }
    return this.#definition;
  }

  set definition(definition: Domain | undefined) {
    this.#read = undefined;
    this.#definition = definition;
  }

  /** Its definition is read when it is first asked for. */
  defineLater(read: () => Domain): void {
    this.#definition = undefined;
    this.#read = read;
  }
}

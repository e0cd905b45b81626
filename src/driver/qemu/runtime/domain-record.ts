/** One domain of a connection, as the driver remembers it: who it is, what the next start uses, and the guest that runs. */
import { Mutex } from '../../../core/mutex.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { StateReason } from '../../domain-state.ts';
import type { RunningGuest } from './running-guest.ts';

/** A transient domain is not defined and goes with its guest. */
export class DomainRecord {
  readonly uuid: string;
  name: string;
  guest: RunningGuest | undefined;
  /** A start is under way: the name is taken, there is no guest yet. */
  starting = false;
  shutoffReason: number = StateReason.shutoff.UNKNOWN;
  autostart = false;
  readonly job = new Mutex();
  #definition: Domain | undefined;
  #read: (() => Domain) | undefined;

  constructor(uuid: string, name: string) {
    this.uuid = uuid;
    this.name = name;
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

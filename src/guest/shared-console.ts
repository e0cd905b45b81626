/** A console that is opened with its first reader and closed with its last, so that nobody's program is kept from it for nothing. */
import type { Duplex } from 'node:stream';
import type { ConsoleStream } from '../driver/driver.ts';
import { GuestConsole } from '../driver/guest-console.ts';

export class SharedConsole implements ConsoleStream {
  readonly #alias: string;
  readonly #openSource: (fromNow: boolean) => Duplex;
  #shared: GuestConsole | undefined;

  /** `fromNow`: whoever opens it does not want what was printed before, where that is known. */
  constructor(alias: string, openSource: (fromNow: boolean) => Duplex) {
    this.#alias = alias;
    this.#openSource = openSource;
  }

  open(options: { replay?: boolean } = {}): Duplex {
    this.#shared ??= this.#start(options.replay === false);
    return this.#shared.open(options);
  }

  #start(fromNow: boolean): GuestConsole {
    const source = this.#openSource(fromNow);
    const shared: GuestConsole = new GuestConsole(this.#alias, source, undefined, () => {
      if (this.#shared === shared) this.#shared = undefined;
      source.destroy();
    });
    void shared.closed.then(() => {
      if (this.#shared === shared) this.#shared = undefined;
    });
    return shared;
  }
}

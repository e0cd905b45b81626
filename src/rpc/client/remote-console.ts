/**
 * A guest's console behind the protocol. A server opens a console for one client at a time, so all readers here share one stream;
 * it is opened with the first and closed a little after the last.
 */
import { Duplex } from 'node:stream';
import type { ConsoleStream } from '../../driver/driver.ts';
import { GuestConsole } from '../../driver/guest-console.ts';

/** Programs open a console anew for each thing they do with it. */
const LINGER_MS = 1000;

export class RemoteConsole implements ConsoleStream {
  readonly #alias: string;
  readonly #connect: () => Promise<Duplex>;
  #console: GuestConsole | undefined;
  #source: Duplex | undefined;
  #linger: NodeJS.Timeout | undefined;

  constructor(alias: string, connect: () => Promise<Duplex>) {
    this.#alias = alias;
    this.#connect = connect;
  }

  open(options: { replay?: boolean } = {}): Duplex {
    clearTimeout(this.#linger);
    this.#console ??= this.#start();
    return this.#console.open(options);
  }

  close(): void {
    clearTimeout(this.#linger);
    this.#source?.destroy();
  }

  #start(): GuestConsole {
    const source = lateDuplex(this.#connect);
    this.#source = source;
    const console = new GuestConsole(this.#alias, source, undefined, () => {
      this.#linger = setTimeout(() => source.destroy(), LINGER_MS);
      this.#linger.unref();
    });
    void console.closed.then(() => {
      if (this.#console === console) this.#console = undefined;
    });
    return console;
  }
}

/** A stream that is there before its connection is; a connection that cannot be made is its error. */
export function lateDuplex(connect: () => Promise<Duplex>): Duplex {
  return new LateDuplex(connect());
}

class LateDuplex extends Duplex {
  readonly #connecting: Promise<Duplex>;
  #inner: Duplex | undefined;

  constructor(connecting: Promise<Duplex>) {
    super();
    this.#connecting = connecting;
    void this.#follow();
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    void this.#withInner((stream) => stream.write(chunk, done), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    void this.#withInner((stream) => stream.end(done), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void this.#withInner(
      (stream) => stream.destroy(),
      () => {},
    );
    done(error);
  }

  async #withInner(act: (stream: Duplex) => void, fail: (error: Error) => void): Promise<void> {
    let stream: Duplex;
    try {
      stream = await this.#connecting;
    } catch (error) {
      return fail(error instanceof Error ? error : new Error(String(error)));
    }
    act(stream);
  }

  async #follow(): Promise<void> {
    await this.#withInner(
      (stream) => {
        this.#inner = stream;
        stream.on('data', (chunk: Buffer) => {
          if (!this.push(chunk)) stream.pause();
        });
        stream.once('end', () => this.push(null));
        stream.once('error', (error) => this.destroy(error));
        stream.once('close', () => this.destroy());
      },
      (error) => this.destroy(error),
    );
  }
}

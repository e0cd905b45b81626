/**
 * Hands QMP events to those who asked for them: listeners, single waits and async iterations. It knows nothing of the wire.
 * Events that come before anybody asked are kept (the newest `capacity` of them) for the first subscribers.
 */
import { QmpEventOverflowError } from './errors.ts';
import type { JsonObject } from './json.ts';

export interface QmpEvent<D = JsonObject> {
  /** Upper case, as QEMU names it: `SHUTDOWN`. */
  readonly name: string;
  /** Empty when the event carries none. */
  readonly data: D;
  /** QEMU's wall clock in microseconds since 1970; undefined when the clock could not be read. */
  readonly timestampUs: number | undefined;
}

export type QmpEventListener = (event: QmpEvent) => void;
type EndListener = (error: Error) => void;
interface Subscriber {
  /** Undefined: all events. */
  readonly name: string | undefined;
  readonly deliver: QmpEventListener;
  readonly end: EndListener | undefined;
}

export class EventHub {
  readonly #capacity: number;
  readonly #subscribers = new Set<Subscriber>();
  // Undefined once it has been handed out.
  #backlog: QmpEvent[] | undefined = [];
  #isHandingOut = false;
  #dropped = 0;
  #ended: Error | undefined;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Events that came before the first subscriber and found the buffer full. */
  get dropped(): number {
    return this.#dropped;
  }

  get subscriberCount(): number {
    return this.#subscribers.size;
  }

  emit(event: QmpEvent): void {
    if (this.#backlog === undefined) {
      this.#deliver(event);
      return;
    }
    this.#backlog.push(event);
    if (this.#backlog.length > this.#capacity && !this.#isHandingOut) {
      this.#backlog.shift();
      this.#dropped += 1;
    }
  }

  /** No more events: waits reject with the error, iterations finish what they hold. */
  end(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    if (this.#isHandingOut) this.#handOut();
    const subscribers = [...this.#subscribers];
    this.#subscribers.clear();
    for (const subscriber of subscribers) subscriber.end?.(error);
  }

  /** @returns the function that unsubscribes */
  subscribe(name: string | undefined, deliver: QmpEventListener, end?: EndListener): () => void {
    const subscriber: Subscriber = { name, deliver, end };
    this.#subscribers.add(subscriber);
    // In a microtask, so that everybody who subscribes in the same breath gets the early events.
    if (this.#backlog !== undefined && !this.#isHandingOut) {
      this.#isHandingOut = true;
      queueMicrotask(() => this.#afterHandOut());
    } else if (this.#ended !== undefined && this.#backlog === undefined) {
      this.#subscribers.delete(subscriber);
      end?.(this.#ended);
    }
    return () => void this.#subscribers.delete(subscriber);
  }

  /** The next event of that name for which `filter` holds. */
  once(name: string, filter?: (event: QmpEvent) => boolean, signal?: AbortSignal): Promise<QmpEvent> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        unsubscribe();
        reject(signal?.reason);
      };
      const finish = (): void => {
        unsubscribe();
        signal?.removeEventListener('abort', onAbort);
      };
      let unsubscribe = (): void => {};
      signal?.addEventListener('abort', onAbort, { once: true });
      unsubscribe = this.subscribe(
        name,
        (event) => {
          if (filter !== undefined && !filter(event)) return;
          finish();
          resolve(event);
        },
        (error) => {
          finish();
          reject(error);
        },
      );
    });
  }

  /** All events from this call on. `endsWell` decides whether the connection's end finishes the iteration or throws. */
  iterate(endsWell: (error: Error) => boolean, signal?: AbortSignal): AsyncIterableIterator<QmpEvent> {
    return new EventQueue(this, this.#capacity, endsWell, signal);
  }

  #afterHandOut(): void {
    this.#handOut();
    if (this.#ended === undefined) return;
    // The connection had ended before the first subscriber came: these have had their events, and get no more.
    const subscribers = [...this.#subscribers];
    this.#subscribers.clear();
    for (const subscriber of subscribers) subscriber.end?.(this.#ended);
  }

  #handOut(): void {
    const backlog = this.#backlog ?? [];
    this.#backlog = undefined;
    this.#isHandingOut = false;
    for (const event of backlog) this.#deliver(event);
  }

  #deliver(event: QmpEvent): void {
    // A copy, so that a listener may subscribe; and a check, so that one ended by an earlier listener hears no more.
    const subscribers = [...this.#subscribers];
    for (const subscriber of subscribers) {
      if (!this.#subscribers.has(subscriber)) continue;
      if (subscriber.name !== undefined && subscriber.name !== event.name) continue;
      try {
        subscriber.deliver(event);
      } catch (error) {
        // A listener's own fault must neither end the connection nor vanish: it surfaces as an uncaught exception.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

interface Waiter {
  resolve: (result: IteratorResult<QmpEvent>) => void;
  reject: (error: unknown) => void;
}

class EventQueue implements AsyncIterableIterator<QmpEvent> {
  readonly #capacity: number;
  readonly #events: QmpEvent[] = [];
  readonly #waiters: Waiter[] = [];
  readonly #signal: AbortSignal | undefined;
  #unsubscribe = (): void => {};
  // Set when no more will come; `error` is what the next reader is still to be told.
  #finish: { error: unknown } | undefined;

  constructor(hub: EventHub, capacity: number, endsWell: (error: Error) => boolean, signal: AbortSignal | undefined) {
    this.#capacity = capacity;
    this.#signal = signal;
    if (signal?.aborted === true) {
      this.#onAbort();
      return;
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#unsubscribe = hub.subscribe(
      undefined,
      (event) => this.#push(event),
      (error) => this.#stop(endsWell(error) ? undefined : error),
    );
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<QmpEvent>> {
    const event = this.#events.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.#finish === undefined) return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    const { error } = this.#finish;
    // An iterator throws once and is finished after that.
    this.#finish = { error: undefined };
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }

  return(): Promise<IteratorResult<QmpEvent>> {
    this.#events.length = 0;
    this.#stop(undefined);
    return Promise.resolve({ done: true, value: undefined });
  }

  readonly #onAbort = (): void => {
    this.#events.length = 0;
    this.#stop(this.#signal?.reason);
  };

  #push(event: QmpEvent): void {
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) waiter.resolve({ done: false, value: event });
    else if (this.#events.length < this.#capacity) this.#events.push(event);
    else this.#stop(new QmpEventOverflowError(this.#capacity));
  }

  #stop(error: unknown): void {
    if (this.#finish !== undefined) return;
    this.#unsubscribe();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    const [first, ...others] = this.#waiters.splice(0);
    // An error goes to the first waiter only; if nobody waits, to whoever asks next.
    if (first === undefined || error === undefined) first?.resolve({ done: true, value: undefined });
    else first.reject(error);
    this.#finish = { error: first === undefined ? error : undefined };
    for (const waiter of others) waiter.resolve({ done: true, value: undefined });
  }
}

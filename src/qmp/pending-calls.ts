/**
 * The commands that wait for their reply, by id. A call that its caller gave up on stays listed until its late reply has
 * come, so that the reply is recognised and dropped.
 */
import type { JsonValue } from './json.ts';

export interface PendingCall {
  readonly id: number;
  readonly command: string;
  readonly hasFds: boolean;
  /** Whether the reply must not be traced. */
  readonly isReplySecret: boolean;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Entry {
  readonly call: PendingCall;
  isAbandoned: boolean;
  stopListening(): void;
}

export class PendingCalls {
  readonly #entries = new Map<number, Entry>();

  /** Calls that somebody still waits for, oldest first. */
  get commands(): string[] {
    return [...this.#entries.values()].filter((entry) => !entry.isAbandoned).map((entry) => entry.call.command);
  }

  /** Ids known here, abandoned ones included. */
  get size(): number {
    return this.#entries.size;
  }

  /** @param onAbort called once the call has been rejected by its signal */
  add(call: PendingCall, signal: AbortSignal | undefined, onAbort: () => void): void {
    const abort = (): void => {
      entry.isAbandoned = true;
      onAbort();
      call.reject(signal?.reason);
    };
    const entry: Entry = {
      call,
      isAbandoned: false,
      stopListening: () => signal?.removeEventListener('abort', abort),
    };
    this.#entries.set(call.id, entry);
    signal?.addEventListener('abort', abort, { once: true });
  }

  /** Ends the wait for an id. Undefined: no such id. */
  take(id: JsonValue | undefined): PendingCall | undefined {
    const entry = typeof id === 'number' ? this.#entries.get(id) : undefined;
    if (entry === undefined) return undefined;
    this.#entries.delete(entry.call.id);
    entry.stopListening();
    return entry.call;
  }

  /** Looks without taking. */
  peek(id: JsonValue | undefined): PendingCall | undefined {
    return typeof id === 'number' ? this.#entries.get(id)?.call : undefined;
  }

  rejectAll(error: unknown): void {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) {
      entry.stopListening();
      // A promise that its signal has rejected already ignores this.
      entry.call.reject(error);
    }
  }
}

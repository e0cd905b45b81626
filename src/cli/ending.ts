/** Who ends a run before the guest does: a signal, the clock, or a reader that went away. Only decides and asks. */
import { constants } from 'node:os';
import type { Domain } from '../api/domain.ts';
import type { OutputWatch } from './output.ts';
import type { RunOptions } from './run-options.ts';
import type { RunReport } from './run-report.ts';

const EXIT_TIMEOUT = 124;
const EXIT_SIGNAL = 128;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
type EndingSignal = (typeof SIGNALS)[number];

/** How the run was ended: its exit status, and why in one word. */
export interface EndedBy {
  readonly status: number;
  readonly reason: EndingSignal | 'timeout' | 'SIGPIPE';
}

/** From its making until it is disposed, signals and the time limit end the run. The first one decides the exit status. */
export class Ending implements Disposable {
  /** Aborts a start under way. */
  readonly starting: AbortSignal;
  readonly #options: RunOptions;
  readonly #report: RunReport;
  readonly #start = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #listeners = new Map<EndingSignal, () => void>();
  readonly #output: Disposable;
  #endedBy: EndedBy | undefined;
  #guest: Domain | undefined;
  #asked = false;

  constructor(options: RunOptions, report: RunReport, output: OutputWatch) {
    this.#options = options;
    this.#report = report;
    this.starting = this.#start.signal;
    for (const signal of SIGNALS) {
      const listener = (): void => this.#onSignal(signal);
      this.#listeners.set(signal, listener);
      process.on(signal, listener);
    }
    this.#output = output.whenGone(() => {
      this.#endedBy ??= { status: EXIT_SIGNAL + constants.signals.SIGPIPE, reason: 'SIGPIPE' };
      this.#end();
    });
    if (options.timeoutMs !== undefined) this.#timer = setTimeout(() => this.#onTimeout(), options.timeoutMs);
  }

  /** Undefined as long as nobody ended the run. */
  get endedBy(): EndedBy | undefined {
    return this.#endedBy;
  }

  /** From now on the guest is what ends. */
  watch(guest: Domain): void {
    this.#guest = guest;
    if (this.#endedBy !== undefined) this.#end();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#output[Symbol.dispose]();
    for (const [signal, listener] of this.#listeners) process.off(signal, listener);
  }

  #onSignal(signal: EndingSignal): void {
    const guest = this.#guest;
    if (this.#options.graceful && !this.#asked && this.#endedBy === undefined && guest !== undefined) {
      this.#asked = true;
      this.#askToPowerDown(guest, signal);
      return;
    }
    if (this.#endedBy === undefined) this.#report.note(`${signal}: ending the guest`);
    this.#endedBy ??= { status: EXIT_SIGNAL + constants.signals[signal], reason: signal };
    this.#end();
  }

  #askToPowerDown(guest: Domain, signal: EndingSignal): void {
    this.#report.note(`asked the guest to power down; a second ${signal === 'SIGINT' ? 'Ctrl-C' : signal} ends it`);
    guest.shutdown({ wait: false }).catch((error: unknown) => {
      // A guest that has ended meanwhile has done what it was asked for; the run is over in a moment.
      this.#report.note(error instanceof Error ? error.message : String(error));
    });
  }

  #onTimeout(): void {
    if (this.#endedBy === undefined) {
      this.#endedBy = { status: EXIT_TIMEOUT, reason: 'timeout' };
      const limit = `${(this.#options.timeoutMs ?? 0) / 1000} s`;
      const guest = this.#guest;
      if (guest === undefined) this.#report.failure(`the guest did not start within ${limit}`);
      else this.#report.failure(`guest ${guest.name} did not end within ${limit}`, { serial: lastWords(guest) });
    }
    this.#end();
  }

  #end(): void {
    this.#start.abort(new Error('the run was ended'));
    // A guest that is gone already is what is wanted.
    this.#guest?.destroy().catch(() => {});
  }
}

/** What the guest's console shows at this moment; nothing when it has none of ours. */
function lastWords(guest: Domain): string | undefined {
  try {
    const stream = guest.console().stream();
    const kept: unknown = stream.read();
    stream.destroy();
    return Buffer.isBuffer(kept) ? kept.toString('utf8') : undefined;
  } catch {
    // Its serial device is a file or socket of the user's, or it has just ended.
    return undefined;
  }
}

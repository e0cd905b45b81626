/**
 * A process that is not our child: known by pid and start time, watched, and ended when it has to be. What its exit status was nobody
 * can tell us.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { monotonicMs } from '../core/clock.ts';
import { LogSource } from '../core/log-source.ts';
import type { ExitResult, TerminateOptions } from './child-handle.ts';
import { isAlive, type ProcessIdentity } from './proc.ts';

const log = new LogSource('util.process');

/** How often it is looked at; `check` looks at once. */
const POLL_MS = 100;
const DEFAULT_GRACE_MS = 5000;

export class ForeignProcess {
  readonly pid: number;
  readonly identity: ProcessIdentity;
  /** Settles when the process is gone. Its status is unknown: neither an exit code nor a signal. */
  readonly exited: Promise<ExitResult>;
  readonly #sinceMs = monotonicMs();
  readonly #timer: NodeJS.Timeout;
  #settle: (result: ExitResult) => void = () => {};
  #result: ExitResult | undefined;
  #reason: ExitResult['reason'] | undefined;

  constructor(identity: ProcessIdentity) {
    this.identity = identity;
    this.pid = identity.pid;
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#timer = setInterval(() => this.check(), POLL_MS);
    this.check();
  }

  get result(): ExitResult | undefined {
    return this.#result;
  }

  /** Looks whether it is still there. */
  check(): void {
    if (this.#result !== undefined || isAlive(this.identity)) return;
    clearInterval(this.#timer);
    const durationMs = monotonicMs() - this.#sinceMs;
    this.#result = { reason: this.#reason ?? 'exited', durationMs, stderrTail: '' };
    this.#settle(this.#result);
  }

  /** SIGTERM, and SIGKILL after the grace; 0: at once. */
  async terminate({
    graceMs = DEFAULT_GRACE_MS,
    reason = 'terminated',
    signal,
  }: TerminateOptions = {}): Promise<ExitResult> {
    this.#reason ??= reason;
    if (graceMs > 0) {
      this.#kill('SIGTERM');
      const deadline = monotonicMs() + graceMs;
      while (this.#result === undefined && monotonicMs() < deadline) {
        if (signal?.aborted === true) break;
        await pause(5);
        this.check();
      }
    }
    if (this.#result === undefined) this.#kill('SIGKILL');
    while (this.#result === undefined) {
      await pause(5);
      this.check();
    }
    return this.#result;
  }

  /** Stops watching; the process goes on. */
  release(): void {
    clearInterval(this.#timer);
  }

  #kill(signal: NodeJS.Signals): void {
    if (!isAlive(this.identity)) return;
    log.debug('kill', () => `${signal} to pid ${this.pid}, which an earlier process has started`);
    try {
      process.kill(this.pid, signal);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }
}

/** What `nestling run` says while a guest runs: nothing, a line a step on standard error, or JSON lines on standard output. */
import type { DomainEvent } from '../driver/domain-events.ts';
import type { RunOptions } from './run-options.ts';

export class RunReport {
  readonly #options: RunOptions;

  constructor(options: RunOptions) {
    this.#options = options;
  }

  /** A moment of the run; times count from the start of this process. */
  mark(name: string): void {
    const ms = performance.now();
    if (this.#options.json) this.#json({ event: 'mark', name, ms: Math.round(ms * 1000) / 1000 });
    if (this.#options.verbose) this.#say(`${(ms / 1000).toFixed(3)}s ${name}`);
  }

  /** Something the user should know. */
  note(text: string): void {
    if (this.#options.json) this.#json({ event: 'note', text });
    else process.stderr.write(`nestling: ${text}\n`);
  }

  event(event: DomainEvent): void {
    if (this.#options.json) this.#json(event);
    if (this.#options.verbose && event.event === 'lifecycle')
      this.#say(`domain ${event.domain.name} ${event.type} (${event.detail})`);
  }

  /** The run's outcome. */
  end(outcome: Readonly<Record<string, unknown>> & { readonly status: number }): void {
    if (this.#options.json) this.#json({ event: 'end', ...outcome });
  }

  /** A failure: one line, then the last words of QEMU's log and of the serial console where there are any. */
  failure(
    message: string,
    tails: { readonly log?: string | undefined; readonly serial?: string | undefined } = {},
  ): void {
    if (this.#options.json) this.#json({ event: 'error', message, ...tails });
    process.stderr.write(`nestling run: ${message}\n`);
    if (tails.log !== undefined && tails.log !== '' && !message.includes(tails.log))
      writeTail('end of the log', tails.log);
    if (tails.serial !== undefined && tails.serial !== '' && !this.#options.console)
      writeTail('end of the serial console', tails.serial);
  }

  #json(value: object): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  #say(text: string): void {
    // A terminal in raw mode needs its own carriage returns.
    process.stderr.write(`${text}${process.stdin.isRaw === true ? '\r' : ''}\n`);
  }
}

function writeTail(title: string, text: string): void {
  const lines = text.trimEnd().split(/\r*\n/).slice(-20);
  process.stderr.write(`  ${title}:\n${lines.map((line) => `    ${printable(line)}\n`).join('')}`);
}

/** A guest's text must not steer the user's terminal. */
function printable(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  return line.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '').replace(/[\0-\x08\x0b-\x1f\x7f]/g, '?');
}

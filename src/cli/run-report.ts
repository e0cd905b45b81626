/** What `nestling run` says while a guest runs: nothing, a line a step on standard error, or JSON lines on standard output. */
import type { DomainEvent } from '../driver/domain-events.ts';
import type { OutputWatch } from './output.ts';
import type { RunOptions } from './run-options.ts';
import { formatTimeline, type Moment } from './timeline.ts';

/** Lines of a log or console that go with a failure. */
const TAIL_LINES = 20;

export interface Tails {
  readonly log?: string | undefined;
  readonly serial?: string | undefined;
}

/** What QEMU puts before its words: the time, and its own name. */
const QEMU_PREFIX = /^(?:\d{4}-\d\d-\d\dT[\d:.]+Z )?\S*qemu-system-\w+: /;

export class RunReport {
  /** Whether the terminal is raw at the moment: then lines need their own carriage returns. */
  rawTerminal = false;
  readonly #options: RunOptions;
  readonly #output: OutputWatch;
  readonly #json: boolean;
  readonly #moments: Moment[] = [];

  constructor(options: RunOptions, output: OutputWatch) {
    this.#options = options;
    this.#output = output;
    // With --dry-run standard output holds one plan and nothing else.
    this.#json = options.json && !options.dryRun;
  }

  /** A moment of the run; times count from the start of this process. */
  mark(name: string): void {
    const ms = process.uptime() * 1000;
    this.#moments.push({ name, ms });
    if (this.#json) this.#writeJson({ event: 'mark', name, ms: Math.round(ms * 1000) / 1000 });
    if (this.#options.verbose) this.#say(`${(ms / 1000).toFixed(3)}s ${name}`);
  }

  /** Something the user should know. `newLine`: the guest's cursor may stand anywhere in a line. */
  note(text: string, { newLine = false }: { newLine?: boolean } = {}): void {
    if (this.#json) this.#writeJson({ event: 'note', text });
    else this.#say(`${newLine ? '\n' : ''}nestling: ${text}`);
  }

  /** A message to or from QEMU's monitor. */
  trace(direction: 'send' | 'receive', text: string): void {
    this.#say(`${direction === 'send' ? '>' : '<'} ${text}`);
  }

  event(event: DomainEvent): void {
    if (this.#json) this.#writeJson(event);
    if (this.#options.verbose && event.event === 'lifecycle')
      this.#say(`domain ${event.domain.name} ${event.type} (${event.detail})`);
  }

  /** The run's outcome. */
  end(outcome: { readonly status: number; readonly reason?: string | undefined }): void {
    if (this.#options.timeline) this.#say(formatTimeline(this.#moments));
    if (this.#json) this.#writeJson({ event: 'end', ...outcome });
  }

  /** A failure: one line, then the last words of QEMU's log and of the serial console where there are any. */
  failure(message: string, { log = '', serial = '' }: Tails = {}): void {
    if (this.#json) {
      const tails = { ...(log === '' ? {} : { log }), ...(serial === '' ? {} : { serial }) };
      this.#writeJson({ event: 'error', message, ...tails });
    }
    this.#say(`nestling run: ${message}`);
    const news = log.split('\n').filter((line) => !message.includes(line.replace(QEMU_PREFIX, '').trim()));
    if (news.length > 0) this.#sayTail('end of the log', news.join('\n'));
    // Who has the console attached has read it.
    if (serial.trim() !== '' && !this.#options.console) this.#sayTail('end of the serial console', serial);
  }

  #writeJson(value: object): void {
    this.#output.watch();
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  #sayTail(title: string, text: string): void {
    const lines = text.trimEnd().split(/\r*\n/).slice(-TAIL_LINES);
    this.#say([`  ${title}:`, ...lines.map((line) => `    ${printable(line)}`)].join('\n'));
  }

  #say(text: string): void {
    this.#output.watch();
    // The guest's cursor may stand anywhere in a line.
    if (this.rawTerminal) process.stderr.write(`\r\n${text.replaceAll('\n', '\r\n')}\r\n`);
    else process.stderr.write(`${text}\n`);
  }
}

/** A guest's text must not steer the user's terminal. */
function printable(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  return line.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '').replace(/[\0-\x08\x0b-\x1f\x7f]/g, '?');
}

/** `nestling run`: one guest in the foreground, from XML to its power-off. Thin: the library does the work. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Connection } from '../api/connection.ts';
import type { Domain } from '../api/domain.ts';
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { DomainStop } from '../driver/driver.ts';
import { type ConnectOptions, connect } from '../index.ts';
import { VERSION } from '../version.ts';
import { parseRunOptions, RUN_HELP, type RunOptions } from './run-options.ts';
import { RunReport } from './run-report.ts';
import { type Attachment, attachTerminal } from './terminal.ts';
import { readInput } from './usage.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_TIMEOUT = 124;
const EXIT_SIGNAL = 128;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
type EndingSignal = (typeof SIGNALS)[number];

/** @returns the exit status that RUN_HELP documents */
export async function main(args: string[]): Promise<number> {
  const options = parseRunOptions(args);
  if (options === 'help') {
    process.stdout.write(RUN_HELP);
    return 0;
  }
  if (options === 'version') {
    process.stdout.write(`nestling ${VERSION}\n`);
    return 0;
  }
  const report = new RunReport(options);
  report.mark('started');
  const status = await run(options, report);
  report.mark('cleaned-up');
  report.end({ status });
  return status;
}

async function run(options: RunOptions, report: RunReport): Promise<number> {
  const xml = await readInput(options.xmlPath);
  const ending = new Ending(options, report);
  try {
    await using connection = await open(options, report);
    if (options.dryRun) return await printPlan(connection, xml, options);
    return await runGuest(connection, xml, ending, options, report);
  } catch (error) {
    if (ending.status !== undefined) return ending.status;
    return reportError(error, report);
  } finally {
    ending[Symbol.dispose]();
  }
}

async function open(options: RunOptions, report: RunReport): Promise<Connection> {
  const uri = options.root === undefined ? 'qemu:///embed' : `qemu:///embed?root=${encodeURIComponent(options.root)}`;
  const wishes: ConnectOptions = {
    onNote: (note) => report.note(note),
    onMark: (mark) => report.mark(mark),
    ...(options.debug
      ? { trace: (direction, text) => void process.stderr.write(`${direction === 'send' ? '>' : '<'} ${text}\n`) }
      : {}),
  };
  const connection = await connect(uri, wishes);
  for (const { xmlPath, valuePath } of options.secrets) {
    await connection.defineSecret(await readInput(xmlPath), readFileSync(valuePath));
  }
  return connection;
}

async function runGuest(
  connection: Connection,
  xml: string,
  ending: Ending,
  options: RunOptions,
  report: RunReport,
): Promise<number> {
  void followEvents(connection, report);
  await using guest = await connection.createDomain(xml, {
    console: options.console ? 'always' : 'auto',
    accel: options.accel,
    name: options.name,
    fileName: options.xmlPath,
    signal: ending.starting,
  });
  using attachment = options.console ? attachTerminal(guest.console().stream()) : undefined;
  if (attachment !== undefined) void sayDetached(attachment, report);
  ending.watch(guest);
  const stop = await guest.waitForStop();
  report.mark('guest-exit');
  // What the guest printed last is shown before the run ends.
  if (attachment !== undefined) await attachment.ended;
  return ending.status ?? statusOf(stop, guest, report);
}

async function followEvents(connection: Connection, report: RunReport): Promise<void> {
  for await (const event of connection.events()) report.event(event);
}

async function sayDetached(attachment: Attachment, report: RunReport): Promise<void> {
  if ((await attachment.ended) !== 'detached') return;
  attachment[Symbol.dispose]();
  report.note('detached from the console; the guest runs on, Ctrl-C ends it');
}

function statusOf(stop: DomainStop, guest: Domain, report: RunReport): number {
  if (stop.detail === 'shutdown') return 0;
  report.failure(`guest ${guest.name} ${stop.detail}: ${stop.reason}`, { log: stop.logTail, serial: stop.serialTail });
  return EXIT_FAILED;
}

function reportError(error: unknown, report: RunReport): number {
  if (!(error instanceof VirtError)) throw error;
  const [log, serial] = (error.str2 ?? '').split('\n--- serial console ---\n');
  report.failure(error.message, { log, serial });
  const isUsage = error.code === ErrorCode.XML_ERROR || error.code === ErrorCode.INVALID_ARG;
  return isUsage ? EXIT_USAGE : EXIT_FAILED;
}

async function printPlan(connection: Connection, xml: string, options: RunOptions): Promise<number> {
  const plan = await connection.planDomain(xml, {
    accel: options.accel,
    name: options.name,
    fileName: options.xmlPath,
    console: options.console ? 'always' : 'auto',
  });
  if (options.json) {
    process.stdout.write(`${JSON.stringify(plan, undefined, 2)}\n`);
    return 0;
  }
  const sections = [
    plan.command.trimEnd(),
    ...list('inherited descriptors', plan.fds),
    ...list('files', plan.files),
    ...list('helper processes', plan.helpers),
    ...list('monitor commands before the first instruction', plan.deferred),
  ];
  process.stdout.write(`${sections.join('\n')}\n`);
  return 0;
}

function list(title: string, items: readonly unknown[]): string[] {
  return items.length === 0 ? [] : [`# ${title}:`, ...items.map((item) => `#   ${JSON.stringify(item)}`)];
}

/** Who ends the run before the guest does: a signal or the clock. The first one decides the exit status. */
class Ending implements Disposable {
  /** Aborts a start under way. */
  readonly starting: AbortSignal;
  status: number | undefined;
  readonly #options: RunOptions;
  readonly #report: RunReport;
  readonly #start = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #listeners = new Map<EndingSignal, () => void>();
  #guest: Domain | undefined;
  #asked = false;

  constructor(options: RunOptions, report: RunReport) {
    this.#options = options;
    this.#report = report;
    this.starting = this.#start.signal;
    for (const signal of SIGNALS) {
      const listener = (): void => this.#onSignal(signal);
      this.#listeners.set(signal, listener);
      process.on(signal, listener);
    }
    if (options.timeoutMs !== undefined) this.#timer = setTimeout(() => this.#onTimeout(), options.timeoutMs);
  }

  /** From now on the guest is what ends. */
  watch(guest: Domain): void {
    this.#guest = guest;
    if (this.status !== undefined) this.#end();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const [signal, listener] of this.#listeners) process.off(signal, listener);
  }

  #onSignal(signal: EndingSignal): void {
    const guest = this.#guest;
    if (this.#options.graceful && !this.#asked && guest !== undefined) {
      this.#asked = true;
      this.#report.note(`asked the guest to power down; a second ${signal === 'SIGINT' ? 'Ctrl-C' : signal} ends it`);
      guest.shutdown({ wait: false }).catch((error: unknown) => this.#report.note(String(error)));
      return;
    }
    this.status ??= EXIT_SIGNAL + constants.signals[signal];
    this.#end();
  }

  #onTimeout(): void {
    if (this.status === undefined) {
      this.status = EXIT_TIMEOUT;
      this.#report.failure(`the guest did not end within ${(this.#options.timeoutMs ?? 0) / 1000} s`);
    }
    this.#end();
  }

  #end(): void {
    this.#start.abort(new Error('the run was ended'));
    // A guest that is gone already is what is wanted.
    this.#guest?.destroy().catch(() => {});
  }
}

/** `nestling run`: one guest in the foreground, from XML to its power-off. Thin: the library does the work. */
import type { Connection } from '../api/connection.ts';
import type { Domain } from '../api/domain.ts';
import { VirtError } from '../core/errors.ts';
import type { DomainStop } from '../driver/driver.ts';
import { type ConnectOptions, connect } from '../index.ts';
import { VERSION } from '../version.ts';
import { isContainer } from './choose-bundle.ts';
import { Ending } from './ending.ts';
import { EXIT_FAILED, EXIT_USAGE, exitStatusOf } from './exit-status.ts';
import type { OutputWatch } from './output.ts';
import { parseRunOptions, RUN_HELP, type RunOptions } from './run-options.ts';
import { RunReport } from './run-report.ts';
import { type Attachment, attachTerminal } from './terminal.ts';
import { displayName, InputError, readInput, readInputFile } from './usage.ts';

/** @returns the exit status that RUN_HELP documents */
export async function main(args: string[], output: OutputWatch): Promise<number> {
  const options = parseRunOptions(args);
  if (options === 'help' || options === 'version') output.watch();
  if (options === 'help') {
    process.stdout.write(RUN_HELP);
    return 0;
  }
  if (options === 'version') {
    process.stdout.write(`nestling ${VERSION}\n`);
    return 0;
  }
  const report = new RunReport(options, output);
  // Signals first: whoever reads the first mark may send one.
  using ending = new Ending(options, report, output);
  report.mark('started');
  const status = await run(options, ending, report, output);
  report.mark('cleaned-up');
  report.end({ status, reason: ending.endedBy?.reason });
  return status;
}

async function run(options: RunOptions, ending: Ending, report: RunReport, output: OutputWatch): Promise<number> {
  try {
    const xml = await readInput(options.xmlPath);
    if (options.dryRun) {
      output.watch();
      const { printPlan } = await import('./run-plan.ts');
      await printPlan(xml, options, report, ending.starting);
      return 0;
    }
    await using connection = await open(options, report, isContainer(xml) ? 'lxc' : 'qemu');
    return await runGuest(connection, xml, ending, options, report, output);
  } catch (error) {
    return ending.endedBy?.status ?? reportError(error, report);
  }
}

async function open(options: RunOptions, report: RunReport, driver: 'qemu' | 'lxc'): Promise<Connection> {
  const secrets = await Promise.all(
    options.secrets.map(async ({ xmlPath, valuePath }) => ({
      xml: await readInput(xmlPath),
      value: readInputFile(valuePath),
    })),
  );
  const query = options.root === undefined ? '' : `?root=${encodeURIComponent(options.root)}`;
  const wishes: ConnectOptions = {
    onNote: (note) => report.note(note),
    onMark: (mark) => report.mark(mark),
    ...(options.debug ? { trace: (direction, text) => report.trace(direction, text) } : {}),
  };
  const connection = await connect(`${driver}:///embed${query}`, wishes);
  try {
    for (const { xml, value } of secrets) await connection.defineSecret(xml, value);
    if (options.listen !== undefined) {
      await connection.serve(options.listen);
      report.note(`virsh -c '${driver}+unix:///system?socket=${options.listen}' reaches this guest`);
    }
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

async function runGuest(
  connection: Connection,
  xml: string,
  ending: Ending,
  options: RunOptions,
  report: RunReport,
  output: OutputWatch,
): Promise<number> {
  void followEvents(connection, report);
  // To open the streams takes Node a millisecond, which it has while the guest starts.
  if (options.console) setImmediate(() => output.watch());
  await using guest = await connection.createDomain(xml, {
    console: options.console ? 'always' : 'auto',
    accel: options.accel,
    name: options.name,
    fileName: displayName(options.xmlPath),
    signal: ending.starting,
  });
  using attachment = options.console ? attach(guest, report, output) : undefined;
  ending.watch(guest);
  const stop = await guest.waitForStop();
  report.mark('guest-exit');
  // What the guest printed last is shown before the run ends, and the terminal is itself again before we speak.
  await attachment?.ended;
  attachment?.[Symbol.dispose]();
  return ending.endedBy?.status ?? statusOf(stop, guest, report);
}

async function followEvents(connection: Connection, report: RunReport): Promise<void> {
  for await (const event of connection.events()) report.event(event);
}

function attach(guest: Domain, report: RunReport, output: OutputWatch): Attachment {
  output.watch();
  const attachment = attachTerminal(guest.console().stream());
  report.rawTerminal = attachment.raw;
  void (async () => {
    const how = await attachment.ended;
    // First the terminal, then the message: who reads it may press Ctrl-C at once.
    attachment[Symbol.dispose]();
    report.rawTerminal = false;
    if (how === 'detached')
      report.note('detached from the console; the guest runs on, and Ctrl-C is for nestling again', { newLine: true });
  })();
  return attachment;
}

function statusOf(stop: DomainStop, guest: Domain, report: RunReport): number {
  // A container's is that of its first program, as a shell has it.
  if (stop.detail === 'shutdown') return stop.exitStatus ?? 0;
  report.failure(`guest ${guest.name} ${stop.detail}: ${stop.reason}`, { log: stop.logTail, serial: stop.serialTail });
  return EXIT_FAILED;
}

function reportError(error: unknown, report: RunReport): number {
  if (error instanceof InputError) {
    report.failure(error.message);
    return EXIT_USAGE;
  }
  if (!(error instanceof VirtError)) throw error;
  const [log, serial] = (error.str2 ?? '').split('\n--- serial console ---\n');
  report.failure(error.message, { log, serial });
  return exitStatusOf(error);
}

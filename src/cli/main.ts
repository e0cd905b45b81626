/** The `nestling` command: finds the subcommand and loads only that. Exit statuses are the subcommands'. */
import { VirtError } from '../core/errors.ts';
import type { LogTexts } from '../log/settings.ts';
import { VERSION } from '../version.ts';
import { EXIT_FAILED, EXIT_USAGE, exitStatusOf } from './exit-status.ts';
import { LOG_HELP, takeLogOptions } from './log-options.ts';
import { OutputWatch } from './output.ts';
import { InputError, UsageError } from './usage.ts';

interface Subcommand {
  readonly summary: string;
  load(): Promise<{ main(args: string[], output: OutputWatch): Promise<number> }>;
}

const SUBCOMMANDS: Readonly<Record<string, Subcommand>> = {
  run: {
    summary: 'run a guest from domain XML, in the foreground, as a child of this process',
    load: () => import('./run.ts'),
  },
  exec: { summary: 'run a program in a running guest, container or virtual machine', load: () => import('./exec.ts') },
  daemon: {
    summary: 'serve guests that outlive it to virsh and every other libvirt client',
    load: () => import('./daemon.ts'),
  },
  capabilities: { summary: 'what this host and one QEMU binary can do', load: () => import('./capabilities.ts') },
  domcapabilities: { summary: 'what a domain may use with one emulator', load: () => import('./domcapabilities.ts') },
  'domxml-to-native': {
    summary: "QEMU's command line, or LXC's configuration, for domain XML",
    load: () => import('./domxml-to-native.ts'),
  },
  'domxml-from-native': {
    summary: "domain XML for a configuration of LXC's own tools",
    load: () => import('./domxml-from-native.ts'),
  },
  partition: {
    summary: 'groups that guests share limits in: create, limit, list, remove',
    load: () => import('./partition.ts'),
  },
  network: {
    summary: 'what a virtual network would do to this host; its port forwards',
    load: () => import('./network.ts'),
  },
  image: {
    summary: 'root file systems of containers: build, list, unpack, run, provision',
    load: () => import('./image.ts'),
  },
  doctor: {
    summary: 'why a guest does not start: checks this host and one definition',
    load: () => import('./doctor.ts'),
  },
  ci: { summary: 'make a CI container fit for guests: prepare, debug, init', load: () => import('./ci.ts') },
  gc: { summary: 'remove what dead processes have left', load: () => import('./gc.ts') },
};

const HELP = `Usage: nestling COMMAND [OPTIONS]

Runs virtual machines and containers from libvirt domain XML: as child processes without a daemon, or as a daemon for libvirt's clients.

Commands:
${Object.entries(SUBCOMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(21)}${summary}`)
  .join('\n')}

  nestling COMMAND --help   the options of a command
  nestling --version        the version

Every command logs what it does when asked to, also by LIBVIRT_DEBUG, LIBVIRT_LOG_FILTERS and LIBVIRT_LOG_OUTPUTS:
${LOG_HELP}`;

async function main(words: string[], output: OutputWatch): Promise<number> {
  const { rest: args, texts } = takeLogOptions(words);
  const [name, ...rest] = args;
  // `run` says when it is going to write.
  if (name !== 'run') output.watch();
  if (name === undefined) {
    process.stderr.write(HELP);
    return EXIT_USAGE;
  }
  if (name === 'help' && rest[0] === 'log') {
    const { LOG_SOURCES } = await import('../core/log-source.ts');
    process.stdout.write(`${LOG_SOURCES.join('\n')}\n`);
    return 0;
  }
  if (name === 'help' && rest[0] !== undefined) return await main([rest[0], '--help'], output);
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`nestling ${VERSION}\n`);
    return 0;
  }
  const subcommand = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
  if (subcommand === undefined) {
    const { nearestOf } = await import('../model/schema/nearest.ts');
    const nearest = nearestOf(name, Object.keys(SUBCOMMANDS));
    process.stderr.write(
      `nestling: there is no command '${name}'${nearest === undefined ? '' : `; did you mean '${nearest}'?`}\n`,
    );
    process.stderr.write("Try 'nestling --help'.\n");
    return EXIT_USAGE;
  }
  try {
    using _log = await openLogOf(texts);
    return await (await subcommand.load()).main(rest, output);
  } catch (error) {
    output.watch();
    return await explain(name, error);
  }
}

/** Loads the log only when something is to be logged. */
async function openLogOf(texts: LogTexts): Promise<Disposable | undefined> {
  const isAsked = Object.keys(texts).length > 0 || Object.keys(process.env).some((key) => key.startsWith('LIBVIRT_'));
  if (!isAsked) return undefined;
  const { openLog } = await import('../log/open.ts');
  try {
    const log = await openLog(texts, VERSION);
    for (const warning of log?.warnings ?? []) process.stderr.write(`nestling: ${warning}\n`);
    return log;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** Says why a command failed. @returns its exit status */
async function explain(command: string, error: unknown): Promise<number> {
  const say = (text: string): void => void process.stderr.write(`nestling ${command}: ${text}\n`);
  if (error instanceof UsageError) {
    say(`${error.message}\nTry 'nestling ${command} --help'.`);
    return EXIT_USAGE;
  }
  if (error instanceof InputError) {
    say(error.message);
    return EXIT_USAGE;
  }
  const { toVirtError } = await import('../api/errors.ts');
  const mapped = toVirtError(error);
  const message = mapped instanceof Error ? mapped.message : String(mapped);
  say(message);
  const { explain: lookUp } = await import('../doctor/knowledge.ts');
  const [known] = lookUp(message);
  if (known !== undefined) say(`cause: ${known.symptom.cause}\n  fix: ${known.symptom.fix}`);
  return mapped instanceof VirtError ? exitStatusOf(mapped) : EXIT_FAILED;
}

const output = new OutputWatch();
main(process.argv.slice(2), output).then(
  (status) => {
    process.exitCode = status;
    // Whatever handle is left open is of no more use; pipes to stdout are flushed first.
    if (!output.watching || process.stdout.writableLength === 0) process.exit();
    else process.stdout.write('', () => process.exit());
  },
  (error: unknown) => {
    process.stderr.write(`nestling: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(error instanceof UsageError ? EXIT_USAGE : EXIT_FAILED);
  },
);

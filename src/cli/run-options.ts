/** Options of `nestling run`: virt-qemu-run's names, and ours. */
import { resolve } from 'node:path';
import { onePositional, parseChoice, parseDurationMs, parseOptions, UsageError } from './usage.ts';

export interface RunOptions {
  /** Path of the XML, `-` for standard input. */
  readonly xmlPath: string;
  /** Absolute. */
  readonly root: string | undefined;
  readonly secrets: readonly { readonly xmlPath: string; readonly valuePath: string }[];
  readonly verbose: boolean;
  readonly debug: boolean;
  readonly accel: 'auto' | 'kvm' | 'tcg' | undefined;
  readonly console: boolean;
  readonly timeoutMs: number | undefined;
  readonly name: string | undefined;
  readonly json: boolean;
  readonly timeline: boolean;
  readonly dryRun: boolean;
  readonly graceful: boolean;
  /** Socket for libvirt's clients. */
  readonly listen: string | undefined;
}

export const RUN_HELP = `Usage: nestling run [OPTIONS] GUEST-XML

Runs a guest from libvirt domain XML ('-': standard input) as a child of this process, until it powers off.

Options:
  -r, --root DIR             keep state and logs below DIR (default: a temporary directory, removed afterwards)
  -s, --secret XML,VALUE     define a secret from its XML file, with the value in the file VALUE; may repeat
  -c, --console              attach standard input and output to the first serial device or console, whatever its
                             type; on a terminal every key, Ctrl-C too, goes to the guest, and ^] detaches
      --accel MODE           auto, kvm or tcg, instead of what the XML demands
      --timeout TIME         end the guest after TIME (30s, 5m, 1h); exit status 124
      --graceful             on the first Ctrl-C, SIGTERM or SIGHUP ask the guest to power down; the second ends it
      --set-name NAME        run the guest under another name
      --listen PATH          let libvirt's clients in: virsh -c 'qemu+unix:///system?socket=PATH' list
      --json                 events as JSON lines on standard output; with --dry-run the plan
      --dry-run              print the launch plan; start nothing, make nothing
      --timeline             at the end, print on standard error when what happened, in milliseconds
  -v, --verbose              say what happens, with times, on standard error
  -d, --debug                and every monitor message, without passwords
  -h, --help                 this text
  -V, --version              the version

Exit status: 0 the guest shut down; 1 the guest or QEMU failed; 2 wrong usage or invalid XML;
124 timeout; 128+N ended by signal N (141: nobody reads standard output any more).
`;

/** `help` and `version` come first, whatever else is said. @throws UsageError */
export function parseRunOptions(args: string[]): RunOptions | 'help' | 'version' {
  const { values, positionals } = parseOptions(args, {
    root: { type: 'string', short: 'r' },
    secret: { type: 'string', short: 's', multiple: true },
    verbose: { type: 'boolean', short: 'v' },
    debug: { type: 'boolean', short: 'd' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'V' },
    accel: { type: 'string' },
    console: { type: 'boolean', short: 'c' },
    timeout: { type: 'string' },
    'set-name': { type: 'string' },
    json: { type: 'boolean' },
    timeline: { type: 'boolean' },
    'dry-run': { type: 'boolean' },
    graceful: { type: 'boolean' },
    listen: { type: 'string' },
  });
  if (values.help === true) return 'help';
  if (values.version === true) return 'version';
  if (values.console === true && values.json === true)
    throw new UsageError('--console and --json both want standard output');
  return {
    xmlPath: onePositional(positionals, 'GUEST-XML'),
    root: values.root === undefined ? undefined : parseRoot(values.root),
    secrets: (values.secret ?? []).map(parseSecretOption),
    verbose: values.verbose === true || values.debug === true,
    debug: values.debug === true,
    accel: values.accel === undefined ? undefined : parseChoice(values.accel, ['auto', 'kvm', 'tcg'], '--accel'),
    console: values.console === true,
    timeoutMs: values.timeout === undefined ? undefined : parseDurationMs(values.timeout, '--timeout'),
    name: values['set-name'],
    json: values.json === true,
    timeline: values.timeline === true,
    dryRun: values['dry-run'] === true,
    graceful: values.graceful === true,
    listen: values.listen === undefined ? undefined : parseListen(values.listen),
  };
}

/** A root that is kept is named as any file is: from the working directory. */
function parseRoot(text: string): string {
  if (text === '') throw new UsageError('--root takes a directory');
  return resolve(text);
}

/** Clients name it by its whole path. */
function parseListen(text: string): string {
  if (text === '') throw new UsageError('--listen takes the path of a socket');
  return resolve(text);
}

function parseSecretOption(text: string): RunOptions['secrets'][number] {
  const comma = text.indexOf(',');
  if (comma <= 0 || comma === text.length - 1)
    throw new UsageError(`--secret takes XML-FILE,VALUE-FILE, not '${text}'`);
  return { xmlPath: text.slice(0, comma), valuePath: text.slice(comma + 1) };
}

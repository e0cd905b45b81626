/** `nestling domxml-to-native`: QEMU's command line for a definition, for this host or for another's QEMU; or LXC's configuration. */
import { CAPABILITIES_FORMAT, type QemuCapabilities } from '../driver/qemu/capabilities/capabilities.ts';
import { nativeCommand, type PlannedHost } from '../driver/qemu/runtime/native-command.ts';
import { displayName, InputError, onePositional, parseOptions, readInput, readInputFile, UsageError } from './usage.ts';

const HELP = `Usage: nestling domxml-to-native qemu-argv [--capabilities FILE [--host FILE]] XML
       nestling domxml-to-native lxc-tools XML

Prints the command line with which QEMU would be started for the domain XML ('-': standard input), or a container's
configuration for LXC's own tools, with a comment for each thing that it cannot say.

Options:
      --capabilities FILE   plan for the QEMU described by FILE, made by 'nestling capabilities --json'
      --host FILE           with it: facts and settings of that QEMU's host, as JSON {"facts": {…}, "config": {…}};
                            what it does not say is taken from this host
  -h, --help                this text
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    capabilities: { type: 'string' },
    host: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [format, ...rest] = positionals;
  if (format !== 'qemu-argv' && format !== 'lxc-tools')
    throw new UsageError(`the format must be qemu-argv or lxc-tools, not '${format ?? ''}'`);
  const fileName = onePositional(rest, 'XML');
  if (format === 'lxc-tools') {
    if (values.capabilities !== undefined || values.host !== undefined)
      throw new UsageError('--capabilities and --host are for qemu-argv');
    const { toNative } = await import('../driver/lxc/runtime/native-formats.ts');
    process.stdout.write(toNative(format, await readInput(fileName)));
    return 0;
  }
  const xml = await readInput(fileName);
  if (values.host !== undefined && values.capabilities === undefined)
    throw new UsageError('--host goes with --capabilities');
  const capabilities = readCapabilities(values.capabilities);
  const host = values.host === undefined ? undefined : (readJson(values.host) as PlannedHost);
  process.stdout.write(await nativeCommand(xml, { fileName: displayName(fileName), capabilities, host }));
  return 0;
}

function readCapabilities(path: string | undefined): QemuCapabilities | undefined {
  if (path === undefined) return undefined;
  const value = readJson(path);
  if (!('format' in value) || value.format !== CAPABILITIES_FORMAT) {
    throw new InputError(
      `${path} is not a capabilities file of format ${CAPABILITIES_FORMAT}: make it with 'nestling capabilities --json'`,
    );
  }
  return value as QemuCapabilities;
}

/** A JSON object from a file. @throws InputError */
function readJson(path: string): object {
  let value: unknown;
  try {
    value = JSON.parse(readInputFile(path).toString('utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InputError(`${path} is no JSON: ${error.message}`, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new InputError(`${path} holds no JSON object`);
}

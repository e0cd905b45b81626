/** `nestling capabilities`: the host's capabilities XML, or one binary's capabilities as JSON. */
import { CapabilitiesCache } from '../driver/qemu/capabilities/cache.ts';
import { formatCapabilities } from '../driver/qemu/capabilities/capabilities-xml.ts';
import { defaultEmulator } from '../driver/qemu/runtime/prepare-guest.ts';
import { parseChoice, parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling capabilities [--json] [--emulator PATH] [--accel tcg|kvm]

Without --json: the capabilities XML of this host and its emulators, as 'virsh capabilities'.
With --json: what one QEMU binary can do, in the form that 'domxml-to-native --capabilities' takes.

Options:
      --json            JSON of one binary
      --emulator PATH   which binary (default: this architecture's)
      --accel MODE      tcg or kvm: whose CPU models to ask for (default tcg)
  -h, --help            this text
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    json: { type: 'boolean' },
    emulator: { type: 'string' },
    accel: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument '${positionals[0]}'`);
  const cache = new CapabilitiesCache();
  if (values.json !== true) {
    if (values.emulator !== undefined) throw new UsageError('--emulator goes with --json');
    process.stdout.write(await formatCapabilities(cache));
    return 0;
  }
  const accel = parseChoice(values.accel ?? 'tcg', ['tcg', 'kvm'], '--accel');
  const { capabilities, notes } = await cache.get(values.emulator ?? defaultEmulator(), accel);
  for (const note of notes) process.stderr.write(`nestling: ${note}\n`);
  process.stdout.write(`${JSON.stringify(capabilities)}\n`);
  return 0;
}

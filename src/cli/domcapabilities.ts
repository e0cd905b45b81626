/** `nestling domcapabilities`: what a domain may use with one emulator, as XML. */
import { CapabilitiesCache } from '../driver/qemu/capabilities/cache.ts';
import { formatDomainCapabilities } from '../driver/qemu/capabilities/domain-capabilities-xml.ts';
import { parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling domcapabilities [OPTIONS]

Prints the domain capabilities XML, as 'virsh domcapabilities' does with the same options. Only the emulator
in question is asked.

Options:
      --emulatorbin PATH   the emulator (default: the architecture's)
      --arch ARCH          the guest's architecture (default: this host's)
      --machine TYPE       the machine type (default: the emulator's)
      --virttype TYPE      qemu or kvm (default: kvm where it is usable)
  -h, --help               this text
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    emulatorbin: { type: 'string' },
    emulator: { type: 'string' },
    arch: { type: 'string' },
    machine: { type: 'string' },
    virttype: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument '${positionals[0]}'`);
  const { arch, machine, virttype } = values;
  const emulator = values.emulatorbin ?? values.emulator;
  process.stdout.write(await formatDomainCapabilities(new CapabilitiesCache(), { emulator, arch, machine, virttype }));
  return 0;
}

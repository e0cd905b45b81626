/** The `<guest>` part of capabilities: what each installed QEMU runs. Pure: the capabilities come from the caller. */

import { element } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import type { QemuCapabilities, QemuMachine } from './capabilities.ts';
import { type GuestArch, isX86Arch } from './capabilities-xml-arch.ts';

export interface GuestInput {
  readonly arch: GuestArch;
  readonly capabilities: QemuCapabilities;
  /** KVM runs this architecture here. */
  readonly kvm: boolean;
}

export function guestElement({ arch, capabilities, kvm }: GuestInput): XmlElement {
  return element(
    'guest',
    {},
    element('os_type', {}, 'hvm'),
    element(
      'arch',
      { name: arch.name },
      element('wordsize', {}, arch.wordSize),
      element('emulator', {}, capabilities.binary),
      ...machineElements(capabilities),
      element('domain', { type: 'qemu' }),
      kvm ? element('domain', { type: 'kvm' }) : undefined,
    ),
    featuresElement(arch.name),
  );
}

/** Default first; an alias directly before the machine that it stands for. `none` is no machine for guests. */
function machineElements({ machines }: QemuCapabilities): XmlElement[] {
  const usable = machines.filter(({ name }) => name !== 'none');
  const rest = usable.filter(({ isDefault }) => isDefault !== true);
  const ordered = [...usable.filter(({ isDefault }) => isDefault === true), ...rest];
  return ordered.flatMap((machine) => [
    ...(machine.alias === undefined ? [] : [machineElement(machine, machine.alias, machine.name)]),
    machineElement(machine, machine.name),
  ]);
}

function machineElement({ cpuMax, deprecated }: QemuMachine, name: string, canonical?: string): XmlElement {
  return element('machine', { canonical, maxCpus: cpuMax, deprecated: deprecated === true ? 'yes' : undefined }, name);
}

function featuresElement(arch: string): XmlElement {
  const x86 = isX86Arch(arch);
  return element(
    'features',
    {},
    ...(arch === 'i686' ? [element('pae'), element('nonpae')] : []),
    x86 || arch === 'aarch64' ? element('acpi', { default: 'on', toggle: 'yes' }) : undefined,
    x86 ? element('apic', { default: 'on', toggle: 'no' }) : undefined,
    element('cpuselection'),
    element('deviceboot'),
    element('disksnapshot', { default: 'on', toggle: 'no' }),
  );
}

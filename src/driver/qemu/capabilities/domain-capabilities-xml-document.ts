/** The tree of domain capabilities for one emulator, machine type and accelerator. Pure: what it needs is in its input. */
import type { FirmwareDescriptor } from '../../../host/firmware.ts';
import { fitsTarget } from '../../../host/firmware-select.ts';
import { chosen, element, enumeration, supported } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { type AcceleratorName, hasDevice, type QemuCapabilities, type QemuMachine } from './capabilities.ts';
import { findArch, isX86Arch } from './capabilities-xml-arch.ts';
import { cpuElement } from './domain-capabilities-xml-cpu.ts';
import { type DeviceHost, devicesElement, memoryBackingElement } from './domain-capabilities-xml-devices.ts';
import { featuresElement } from './domain-capabilities-xml-features.ts';

export interface DomainCapabilitiesInput {
  readonly capabilities: QemuCapabilities;
  readonly accelerator: AcceleratorName;
  /** libvirt's name. */
  readonly arch: string;
  readonly machine: QemuMachine;
  readonly host: DeviceHost & { readonly firmware: readonly FirmwareDescriptor[] };
}

export function domainCapabilitiesElement(input: DomainCapabilitiesInput): XmlElement {
  const { capabilities, accelerator, arch, machine, host } = input;
  const guest = { capabilities, accelerator, arch, machine: machine.name, host };
  return element(
    'domainCapabilities',
    {},
    element('path', {}, capabilities.binary),
    element('domain', {}, accelerator === 'kvm' ? 'kvm' : 'qemu'),
    element('machine', {}, machine.name),
    element('arch', {}, arch),
    element('vcpu', { max: machine.cpuMax }),
    supported('iothreads', hasDevice(capabilities, 'iothread')),
    osElement(input),
    cpuElement(guest),
    memoryBackingElement(capabilities),
    devicesElement(guest),
    featuresElement(guest),
  );
}

/** Firmware that the host's descriptors offer for this machine type. */
function osElement({ arch, machine, host }: DomainCapabilitiesInput): XmlElement {
  const target = { arch: findArch(arch)?.target ?? arch, machine: machine.name };
  const fitting = host.firmware.filter((descriptor) => fitsTarget(descriptor, target));
  const offers = (type: string) => fitting.some(({ interfaceTypes }) => interfaceTypes.includes(type));
  // Firmware that is booted like a kernel is no loader.
  const loaders = fitting.filter(({ mapping }) => mapping.device !== 'kernel');
  const paths = [...new Set(loaders.map(({ mapping }) => mapping.executable.path))];
  const secure = loaders.some(({ features }) => features.includes('requires-smm'));
  return supported(
    'os',
    true,
    enumeration('firmware', chosen({ bios: offers('bios'), efi: offers('uefi') })),
    supported(
      'loader',
      true,
      ...paths.map((path) => element('value', {}, path)),
      enumeration('type', ['rom', 'pflash']),
      enumeration('readonly', ['yes', 'no']),
      enumeration('secure', chosen({ yes: secure && isX86Arch(arch), no: true })),
    ),
  );
}

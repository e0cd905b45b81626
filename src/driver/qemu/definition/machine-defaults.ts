/**
 * What libvirt fills in for the machine as a whole: emulator, machine type, clock, actions, boot device, firmware,
 * identifiers. Runs first, as everything after it asks for the machine type. Devices' defaults are elsewhere.
 */

import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import {
  findDefaultMachine,
  findMachine,
  type QemuCapabilities,
  versionAtLeast,
} from '../capabilities/capabilities.ts';
import type { DomainContext } from '../context.ts';
import { isKvm, isQ35 } from '../machine.ts';
import { fillBootDefaults } from '../sections/boot.ts';
import { fillClockDefaults } from '../sections/clock.ts';
import { fillFeatureDefaults } from '../sections/features.ts';
import { fillLifecycleDefaults } from '../sections/pm.ts';
import { fillFirmwareDefaults } from './firmware-defaults.ts';

/** From this many processors on, x86 guests need an IOMMU with extended interrupt mode. */
const MAX_CPUS_WITHOUT_EIM = 255;

/** Completes everything that is not a device's own. */
export function fillMachineDefaults(context: DomainContext): void {
  const { domain } = context;
  fillIdentifiers(context);
  devicesOf(domain).emulator ??= context.caps.binary;
  fillMachineType(context);
  fillLifecycleDefaults(context);
  fillClockDefaults(context);
  fillFeatureDefaults(context);
  fillFirmwareDefaults(context);
  fillBootDefaults(context);
  fillManyCpuDefaults(context);
}

/** UUIDs that the definition leaves to chance. */
function fillIdentifiers({ domain, randomBytes }: DomainContext): void {
  if (randomBytes === undefined) return;
  domain.uuid ??= randomUuid(randomBytes);
  if (domain.genid !== undefined) domain.genid.value ??= randomUuid(randomBytes);
}

/** A version 4 UUID. */
function randomUuid(randomBytes: (count: number) => Uint8Array): string {
  const bytes = randomBytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Buffer.from(bytes).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/**
 * The machine type, by its canonical name: an alias such as `q35` means another machine in each QEMU, and a guest
 * must keep the hardware it was defined with.
 */
function fillMachineType({ domain, caps }: DomainContext): void {
  domain.os ??= { initargs: [], initenvs: [], boots: [] };
  domain.os.type ??= {};
  const { type } = domain.os;
  type.value ??= 'hvm';
  type.arch ??= caps.arch === 'i386' ? 'i686' : caps.arch;
  type.machine ??= defaultMachineName(caps);
  if (type.machine !== undefined) {
    const accelerator = isKvm(domain) ? 'kvm' : 'tcg';
    type.machine = findMachine(caps, type.machine, accelerator)?.name ?? type.machine;
  }
}

/** QEMU's own default; targets without one (ARM, RISC-V) have a generic board. */
function defaultMachineName(caps: QemuCapabilities): string | undefined {
  return (findDefaultMachine(caps) ?? findMachine(caps, 'virt'))?.name;
}

/** More processors than an 8-bit APIC id can tell apart need interrupt remapping and its extended mode. */
function fillManyCpuDefaults({ domain, caps }: DomainContext): void {
  if (!isQ35(domain) || (domain.vcpu?.value ?? 1) <= MAX_CPUS_WITHOUT_EIM) return;
  // Under TCG the mode exists since QEMU 9.0.
  if (!isKvm(domain) && !versionAtLeast(caps, 9)) return;
  const { iommus } = devicesOf(domain);
  if (iommus.length === 0) iommus.push({ model: 'intel' });
  const [iommu] = iommus;
  if (iommu?.model !== 'intel') return;
  iommu.driver ??= {};
  iommu.driver.intremap ??= true;
  iommu.driver.eim ??= true;
  domain.features ??= {};
  domain.features.ioapic ??= { driver: 'qemu' };
}

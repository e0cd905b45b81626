/**
 * `-machine`: the board and everything that is a property of it. The memory backend and its kin are the memory
 * section's, firmware nodes the firmware section's.
 */
import { sourceOf } from '../../../model/schema/faults.ts';
import { findMachine, hasProperty } from '../capabilities/capabilities.ts';
import type { DomainContext, PlanContext } from '../context.ts';
import { fault } from '../context.ts';
import { isKvm, isVirtBoard, isX86, machineOf } from '../machine.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';
import { pflashProps } from './firmware.ts';
import { launchSecurityId } from './launch-security.ts';
import { machineMemoryProps } from './memory.ts';

/** `-machine`. */
export function planMachine(context: PlanContext): Part[] {
  const { domain } = context;
  const props: Props = {
    type: machineOf(domain),
    // Boards would otherwise make a USB controller of their own.
    usb: false,
    ...featureProps(context),
    'dump-guest-core': domain.memory?.dumpCore ?? context.config.dumpGuestCore,
    ...machineMemoryProps(context),
    iommu: domain.devices?.iommus.some(({ model }) => model === 'smmuv3') === true ? 'smmuv3' : undefined,
    ...keyWrapProps(domain),
    loadparm: loadparmOf(domain),
    'confidential-guest-support': launchSecurityId(domain),
    ...pflashProps(context),
    'pcspk-audiodev': pcspkAudiodev(domain),
    // SeaBIOS writes to the serial port where there is no screen.
    graphics: domain.os?.bios?.useserial === true ? false : undefined,
    hpet: hpetOf(context),
    acpi: acpiOf(context),
  };
  return [{ kind: 'keyval', option: 'machine', props, implied: 'type' }];
}

type Domain = PlanContext['domain'];

/** Properties that `<features>` sets, in libvirt's order. */
function featureProps({ domain }: PlanContext): Props {
  const { features = {} } = domain;
  return {
    vmport: features.vmport?.state,
    smm: features.smm?.state,
    'gic-version': isVirtBoard(domain) ? features.gic?.version : undefined,
    kernel_irqchip: irqchipOf(features.ioapic?.driver),
    'resize-hpt': features.hpt?.resizing,
    'cap-hpt-max-page-size': features.hpt?.maxpagesize === undefined ? undefined : features.hpt.maxpagesize * 1024,
    'cap-htm': features.htm?.state,
    'cap-nested-hv': features.nestedHv?.state,
    'cap-ccf-assist': features.ccfAssist?.state,
    'cap-cfpc': features.cfpc?.value,
    'cap-sbbc': features.sbbc?.value,
    'cap-ibs': features.ibs?.value,
    ras: features.ras?.state,
    aia: features.aia?.value,
    i8042: features.ps2?.state,
  };
}

function irqchipOf(driver: 'qemu' | 'kvm' | undefined): string | boolean | undefined {
  if (driver === 'qemu') return 'split';
  return driver === 'kvm' ? true : undefined;
}

/** s390x: `<keywrap>` is kept as a tree by the model. */
function keyWrapProps({ keywrap }: Domain): Props {
  const props: Record<string, string> = {};
  for (const cipher of keywrap?.elements('cipher') ?? []) {
    const name = cipher.attribute('name');
    const state = cipher.attribute('state');
    if ((name === 'aes' || name === 'dea') && (state === 'on' || state === 'off')) props[`${name}-key-wrap`] = state;
  }
  return props;
}

/** s390x: the boot entry that the first device in boot order asks for. */
function loadparmOf({ devices, os }: Domain): string | undefined {
  if (os?.type?.arch !== 's390x' || devices === undefined) return undefined;
  const boots = [...devices.disks, ...devices.interfaces].flatMap(({ boot }) => (boot === undefined ? [] : [boot]));
  const [first] = boots.sort((a, b) => (a.order ?? 0) - (b.order ?? 0));
  return first?.loadparm;
}

function pcspkAudiodev({ devices }: Domain): string | undefined {
  const speaker = devices?.sounds.find((sound) => sound.model === 'pcspk');
  return speaker === undefined ? undefined : `audio${speaker.audio?.id ?? 1}`;
}

function hpetOf({ domain, caps }: PlanContext): boolean | undefined {
  if (!isX86(domain) || !hasProperty(caps, 'generic-pc-machine', 'hpet')) return undefined;
  return domain.clock?.timers.find(({ name }) => name === 'hpet')?.present;
}

/** ACPI is switched on or off wherever the board has it; without `<acpi/>` it is off. */
function acpiOf(context: PlanContext): boolean | undefined {
  return machineHasAcpi(context) ? context.domain.features?.acpi === true : undefined;
}

/** Whether the board knows `acpi=`. QEMU tells since 8.2; before that the PC boards and `virt` are those that do. */
export function machineHasAcpi({ domain, caps }: DomainContext): boolean {
  const known = findMachine(caps, machineOf(domain))?.acpi;
  return known ?? (isX86(domain) || isVirtBoard(domain));
}

/** The machine type exists in this QEMU, for this architecture. */
export function validateMachine(context: DomainContext): void {
  const { domain, caps } = context;
  const type = domain.os?.type;
  const where = type ?? domain;
  if (type?.value !== undefined && type.value !== 'hvm') {
    fault(context, where, `QEMU runs os type 'hvm', not '${type.value}'`);
  }
  const arch = type?.arch;
  if (
    arch !== undefined &&
    arch !== caps.arch &&
    !(arch === 'i686' && (caps.arch === 'x86_64' || caps.arch === 'i386'))
  ) {
    fault(context, where, `${caps.binary} emulates ${caps.arch}, not ${arch}: give that target's <emulator>`, '@arch');
  } else if (findMachine(caps, machineOf(domain), isKvm(domain) ? 'kvm' : 'tcg') === undefined) {
    const at = sourceOf(where).line === 0 ? domain : where;
    fault(
      context,
      at,
      `${caps.binary} has no machine type '${machineOf(domain)}': see 'qemu -machine help'`,
      '@machine',
    );
  }
}

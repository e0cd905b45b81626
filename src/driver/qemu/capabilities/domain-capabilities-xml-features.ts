/** The `<features>` part of domain capabilities. Pure. */

import { chosen, element, enumeration, supported } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { type AcceleratorName, hasDevice, hasOption, type QemuCapabilities } from './capabilities.ts';
import { isArmArch, isX86Arch } from './capabilities-xml-arch.ts';

export interface FeatureInput {
  readonly capabilities: QemuCapabilities;
  readonly accelerator: AcceleratorName;
  /** libvirt's name. */
  readonly arch: string;
  /** Canonical machine type. */
  readonly machine: string;
}

export function featuresElement(input: FeatureInput): XmlElement {
  const { capabilities: caps, arch } = input;
  const s390 = arch === 's390x';
  return element(
    'features',
    {},
    gic(input),
    supported('vmcoreinfo', hasDevice(caps, 'vmcoreinfo')),
    supported('genid', hasDevice(caps, 'vmgenid')),
    supported('backingStoreInput', true),
    // The driver has no block jobs yet, whatever QEMU could do.
    supported('backup', false),
    supported('async-teardown', hasOption(caps, 'run-with', 'async-teardown')),
    s390 ? supported('s390-pv', hasDevice(caps, 's390-pv-guest')) : undefined,
    supported('ps2', isX86Arch(arch) && hasDevice(caps, 'i8042')),
    sev(caps),
    sgx(caps),
    hyperv(input),
    launchSecurity(caps),
  );
}

/** Emulation has both; which of them KVM has on this host, only a guest could tell. */
function gic({ arch, machine, accelerator }: FeatureInput): XmlElement {
  const isSupported = isArmArch(arch) && /^virt(?:-|$)/.test(machine) && accelerator === 'tcg';
  return supported('gic', isSupported, enumeration('version', ['2', '3']));
}

/** Guests with AMD's memory encryption. How many there may be is not for QEMU to know. */
function sev({ sev: found }: QemuCapabilities): XmlElement {
  if (found === undefined) return supported('sev', false);
  return supported(
    'sev',
    true,
    element('cbitpos', {}, found.cbitPos),
    element('reducedPhysBits', {}, found.reducedPhysBits),
    found.cpu0Id === undefined ? undefined : element('cpu0Id', {}, found.cpu0Id),
  );
}

function sgx({ sgx: found }: QemuCapabilities): XmlElement {
  if (found === undefined) return supported('sgx', false);
  const totalBytes = found.sections.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sections = found.sections.map(({ node, sizeBytes }) =>
    element('section', { node, size: sizeBytes / 1024, unit: 'KiB' }),
  );
  return supported(
    'sgx',
    true,
    element('flc', {}, found.flc ? 'yes' : 'no'),
    element('sgx1', {}, found.sgx1 ? 'yes' : 'no'),
    element('sgx2', {}, found.sgx2 ? 'yes' : 'no'),
    element('section_size', { unit: 'KiB' }, totalBytes / 1024),
    sections.length > 0 ? element('sections', {}, ...sections) : undefined,
  );
}

/** libvirt's name of each enlightenment, by QEMU's. */
const ENLIGHTENMENTS: Readonly<Record<string, string>> = {
  'hv-relaxed': 'relaxed',
  'hv-vapic': 'vapic',
  'hv-spinlocks': 'spinlocks',
  'hv-vpindex': 'vpindex',
  'hv-runtime': 'runtime',
  'hv-synic': 'synic',
  'hv-stimer': 'stimer',
  'hv-reset': 'reset',
  'hv-vendor-id': 'vendor_id',
  'hv-frequencies': 'frequencies',
  'hv-reenlightenment': 'reenlightenment',
  'hv-tlbflush': 'tlbflush',
  'hv-ipi': 'ipi',
  'hv-evmcs': 'evmcs',
  'hv-avic': 'avic',
  'hv-emsr-bitmap': 'emsr_bitmap',
  'hv-xmm-input': 'xmm_input',
};
/** They have values, not switches: QEMU takes them wherever it takes any. */
const WITH_VALUES = new Set(['hv-spinlocks', 'hv-vendor-id']);

/** Under emulation QEMU takes those with values and ignores them, which libvirt calls supported. */
function hyperv({ capabilities, accelerator, arch }: FeatureInput): XmlElement {
  const offered = new Set(capabilities.accelerators[accelerator]?.hostModel?.hyperv ?? []);
  const names = Object.entries(ENLIGHTENMENTS)
    .filter(([qemuName]) => offered.has(qemuName) || WITH_VALUES.has(qemuName))
    .map(([, name]) => name);
  return supported('hyperv', isX86Arch(arch), enumeration('features', names));
}

function launchSecurity(caps: QemuCapabilities): XmlElement {
  const types = chosen({
    sev: caps.sev !== undefined,
    'sev-snp': caps.sev !== undefined && hasDevice(caps, 'sev-snp-guest'),
    's390-pv': hasDevice(caps, 's390-pv-guest'),
    tdx: hasDevice(caps, 'tdx-guest') && caps.kvm.enabled,
  });
  return supported('launchSecurity', types.length > 0, enumeration('sectype', types));
}

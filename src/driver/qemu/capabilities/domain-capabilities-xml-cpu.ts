/** The `<cpu>` part of domain capabilities: which modes and models a guest may ask for. Pure. */
import type { XmlElement } from '../../../xml/node.ts';
import type { AcceleratorName, QemuCapabilities, QemuCpuDefinition, QemuCpuModel } from './capabilities.ts';
import { isX86Arch } from './capabilities-xml-arch.ts';
import {
  isNamedFeature,
  libvirtFeature,
  modelVendor,
  nearestX86Model,
  vendorName,
} from './capabilities-xml-cpu-models.ts';
import { type Content, element, enumeration } from './capabilities-xml-tree.ts';

export interface CpuInput {
  readonly capabilities: QemuCapabilities;
  readonly accelerator: AcceleratorName;
  /** libvirt's name. */
  readonly arch: string;
}

/** They stand for whatever the host or the accelerator offers: modes of their own, no models. */
const NOT_MODELS = new Set(['host', 'max', 'base']);

export function cpuElement(input: CpuInput): XmlElement {
  const { capabilities, accelerator, arch } = input;
  const { cpus = [], hostModel } = capabilities.accelerators[accelerator] ?? {};
  const models = cpus.filter(({ name }) => !NOT_MODELS.has(name));
  const hostModelContent = hostModel === undefined || !isX86Arch(arch) ? undefined : hostModelElements(hostModel, cpus);
  return element(
    'cpu',
    {},
    mode('host-passthrough', accelerator === 'kvm', enumeration('hostPassthroughMigratable', ['on', 'off'])),
    mode(
      'maximum',
      cpus.some(({ name }) => name === 'max'),
      enumeration('maximumMigratable', ['on', 'off']),
    ),
    mode('host-model', hostModelContent !== undefined, ...(hostModelContent ?? [])),
    mode('custom', models.length > 0, ...models.flatMap((cpu) => modelElements(cpu, arch))),
  );
}

function mode(name: string, isSupported: boolean, ...content: readonly Content[]): XmlElement {
  return element('mode', { name, supported: isSupported ? 'yes' : 'no' }, ...(isSupported ? content : []));
}

/**
 * The nearest model, with each feature that must be added to it or taken away. What the model brings itself is
 * required once more where QEMU does not tell what that is: that changes nothing for the guest.
 */
function hostModelElements({ props }: QemuCpuModel, cpus: readonly QemuCpuDefinition[]): XmlElement[] {
  const features = Object.keys(props).filter((name) => props[name] === true);
  const signature = {
    vendor: textOf(props['vendor']),
    family: numberOf(props['family']),
    model: numberOf(props['model']),
  };
  const nearest = nearestX86Model(signature, new Set(features));
  const definition = cpus.find(({ name }) => name === nearest) ?? cpus.find(({ name }) => name === 'qemu64');
  const missing = (definition?.unavailableFeatures ?? []).filter((name) => props[name] !== true);
  const vendor = vendorName(signature.vendor);
  return [
    element('model', { fallback: 'forbid' }, definition?.name ?? nearest),
    ...(vendor === undefined ? [] : [element('vendor', {}, vendor)]),
    ...features.filter(isNamedFeature).map((name) => featureElement('require', name)),
    ...missing.map((name) => featureElement('disable', name)),
  ];
}

function featureElement(policy: 'require' | 'disable', qemuName: string): XmlElement {
  return element('feature', { policy, name: libvirtFeature(qemuName) });
}

/** A model and, where it cannot be used, what stands in the way. */
function modelElements(cpu: QemuCpuDefinition, arch: string): XmlElement[] {
  const { name, unavailableFeatures: missing, deprecated, aliasOf } = cpu;
  const attributes = {
    usable: missing === undefined ? 'unknown' : missing.length === 0 ? 'yes' : 'no',
    deprecated: deprecated === true ? 'yes' : undefined,
    vendor: isX86Arch(arch) ? modelVendor(name) : 'unknown',
    canonical: aliasOf,
  };
  const blockers = [...new Set(missing ?? [])].map((feature) => element('feature', { name: libvirtFeature(feature) }));
  return [
    element('model', attributes, name),
    ...(blockers.length > 0 ? [element('blockers', { model: name }, ...blockers)] : []),
  ];
}

function textOf(value: boolean | number | string | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function numberOf(value: boolean | number | string | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

/** The `<cpu>` part of domain capabilities: which modes and models a guest may ask for. Pure. */

import { type Content, element, enumeration } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { type HostCpuModel, hostModelOf } from '../cpu/host-model.ts';
import type { AcceleratorName, QemuCapabilities, QemuCpuDefinition } from './capabilities.ts';
import { isX86Arch } from './capabilities-xml-arch.ts';
import { libvirtFeature, modelVendor, vendorName } from './capabilities-xml-cpu-models.ts';

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
  const named = hostModelOf(capabilities, accelerator);
  const hostModelContent = named === undefined ? undefined : hostModelElements(named, hostModel?.props['vendor']);
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

/** The model and features that `<cpu mode='host-model'>` becomes on the command line. */
function hostModelElements({ model, features }: HostCpuModel, vendorId: unknown): XmlElement[] {
  const vendor = typeof vendorId === 'string' ? vendorName(vendorId) : undefined;
  return [
    element('model', { fallback: 'forbid' }, model),
    ...(vendor === undefined ? [] : [element('vendor', {}, vendor)]),
    ...features.map(({ name, policy }) => featureElement(policy, name)),
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

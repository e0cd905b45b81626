/** What libvirt refuses in a PCI controller: index, model name and the options that belong to each model. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { machineOf } from '../../machine.ts';
import { PCI_MODEL_NAMES } from './driver-names.ts';

type Target = NonNullable<Controller['target']>;
type Option = keyof Target;

/** Which `<target>` options each model takes; the second list must be there once defaults are filled in. */
const OPTIONS: Readonly<Record<string, { readonly may: readonly Option[]; readonly must: readonly Option[] }>> = {
  'pci-root': { may: [], must: [] },
  'pcie-root': { may: [], must: [] },
  'pci-bridge': { may: ['chassisNr', 'memReserve'], must: ['chassisNr'] },
  'dmi-to-pci-bridge': { may: [], must: [] },
  'pcie-to-pci-bridge': { may: [], must: [] },
  'pcie-root-port': { may: ['chassis', 'port', 'hotplug', 'memReserve'], must: ['chassis', 'port'] },
  'pcie-switch-upstream-port': { may: [], must: [] },
  'pcie-switch-downstream-port': { may: ['chassis', 'port', 'hotplug'], must: ['chassis', 'port'] },
  'pci-expander-bus': { may: ['busNr', 'node'], must: ['busNr'] },
  'pcie-expander-bus': { may: ['busNr', 'node'], must: ['busNr'] },
};
const ALL_OPTIONS: readonly Option[] = [
  'chassisNr',
  'chassis',
  'port',
  'busNr',
  'index',
  'hotplug',
  'memReserve',
  'node',
];
const MAX_INDEX = 255;

export function validatePciController(controller: Controller, context: DomainContext): void {
  const { model, index = 0 } = controller;
  if (model === undefined) return fault(context, controller, 'a PCI controller needs a model', '@model');
  validateIndex(controller, index, context);
  validateModelElement(controller, model, context);
  validateTarget(controller, model, context);
  const bus = controller.address?.type === 'pci' ? (controller.address.bus ?? 0) : 0;
  if (model === 'pci-bridge' && bus >= index) {
    fault(context, controller, `a pci-bridge's index must be above that of its bus: ${index} is not above ${bus}`);
  }
  const isRoot = model === 'pci-root' || model === 'pcie-root';
  if (controller.pcihole64 !== undefined && !isRoot) {
    fault(context, controller, 'only the root of the PCI hierarchy has a 64-bit hole', 'pcihole64');
  }
  if (isRoot && controller.address !== undefined) {
    fault(context, controller, 'the root of the PCI hierarchy has no address', 'address');
  }
}

function validateIndex(controller: Controller, index: number, context: DomainContext): void {
  const { model } = controller;
  const isRoot = model === 'pci-root' || model === 'pcie-root';
  if (index > MAX_INDEX) fault(context, controller, `a PCI controller's index is at most ${MAX_INDEX}`, '@index');
  if (isRoot && index !== 0 && !(model === 'pci-root' && machineOf(context.domain).startsWith('pseries'))) {
    fault(context, controller, `a ${model} controller has index 0`, '@index');
  }
  if (!isRoot && index === 0) fault(context, controller, `a ${model} controller has an index above 0`, '@index');
}

function validateModelElement(controller: Controller, model: string, context: DomainContext): void {
  const name = controller.modelElement?.name;
  const known = PCI_MODEL_NAMES[model] ?? [];
  if (name === undefined || name === 'none') {
    if (known.length > 0) fault(context, controller, `QEMU has no device for a '${model}' controller`);
  } else if (known.length === 0 && !(model === 'pci-root' && name === 'spapr-pci-host-bridge')) {
    fault(context, controller, `a '${model}' controller has no <model> element`, 'model');
  } else if (known.length > 0 && !known.includes(name)) {
    fault(context, controller, `'${name}' does not implement '${model}': use ${known.join(' or ')}`, 'model/@name');
  } else if (known.length > 0 && !hasDevice(context.caps, name)) {
    fault(context, controller, `QEMU has no device '${name}'`, 'model/@name');
  }
}

function validateTarget(controller: Controller, model: string, context: DomainContext): void {
  const options = OPTIONS[model];
  if (options === undefined) return;
  for (const option of ALL_OPTIONS) {
    const present = controller.target?.[option] !== undefined;
    const pseries = model === 'pci-root' && machineOf(context.domain).startsWith('pseries');
    const accepted = options.may.includes(option) || (pseries && (option === 'index' || option === 'node'));
    if (present && !accepted) {
      fault(context, controller, `a '${model}' controller takes no target option '${option}'`, `target/${option}`);
    } else if (!present && options.must.includes(option)) {
      fault(context, controller, `a '${model}' controller needs the target option '${option}'`, 'target');
    }
  }
  const node = controller.target?.node;
  const cells = context.domain.cpu?.numa?.cells.length ?? 0;
  if (node !== undefined && node >= cells) {
    fault(context, controller, `there is no guest NUMA node ${node}: <cpu><numa> has ${cells} cells`, 'target/node');
  }
}

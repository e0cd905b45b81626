/** Options of PCI controllers that follow from their index and address: model name, chassis, port, bus number. */
import type { PciAddress } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import { hasDevice } from '../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../context.ts';
import { controllersOf } from '../definition/controller-list.ts';
import { PCI_MODEL_NAMES } from '../devices/controller/driver-names.ts';

/** Fills them in where the definition leaves them out. Runs once all PCI controllers have addresses. */
export function fillPciControllerOptions(context: DomainContext): void {
  for (const controller of controllersOf(context.domain, 'pci')) {
    fillModelName(controller, context);
    fillTarget(controller, context);
  }
}

function fillModelName(controller: Controller, { caps }: DomainContext): void {
  if (controller.modelElement !== undefined) return;
  const name = (PCI_MODEL_NAMES[controller.model ?? ''] ?? []).find((candidate) => hasDevice(caps, candidate));
  if (name !== undefined) controller.modelElement = { name: name as NonNullable<Controller['modelElement']>['name'] };
}

function fillTarget(controller: Controller, context: DomainContext): void {
  const index = controller.index ?? 0;
  const { slot = 0, function: unit = 0 } = (controller.address ?? {}) as Partial<PciAddress>;
  switch (controller.model) {
    case 'pci-bridge':
      targetOf(controller).chassisNr ??= index;
      break;
    case 'pcie-root-port':
      targetOf(controller).chassis ??= index;
      // Slot and function in one byte: unique among the ports of a root complex.
      targetOf(controller).port ??= slot * 8 + unit;
      break;
    case 'pcie-switch-downstream-port':
      targetOf(controller).chassis ??= index;
      targetOf(controller).port ??= slot;
      break;
    case 'pci-expander-bus':
    case 'pcie-expander-bus':
      if (controller.target?.busNr === undefined) targetOf(controller).busNr = newBusNumber(controller, context);
      break;
    default:
  }
}

function targetOf(controller: Controller): NonNullable<Controller['target']> {
  controller.target ??= {};
  return controller.target;
}

const END_OF_BUS_NUMBERS = 256;

/**
 * Expander buses number downwards from 254, leaving one number for the bridge inside each; the firmware numbers all
 * other buses upwards.
 */
function newBusNumber(controller: Controller, context: DomainContext): number | undefined {
  const used = controllersOf(context.domain, 'pci').map(({ target }) => target?.busNr ?? END_OF_BUS_NUMBERS);
  const number = Math.min(END_OF_BUS_NUMBERS, ...used) - 2;
  if (number >= 1) return number;
  fault(context, controller, 'no bus number below the ones in use is free: give target/@busNr', 'target');
  return undefined;
}

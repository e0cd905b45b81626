/**
 * The list of a domain's controllers: those of the definition sorted by index within each type, added ones behind them,
 * as libvirt keeps it, because the order decides which device gets which address. Which controllers a domain needs is decided in `implicit-devices.ts`,
 * `controllers.ts` and `addresses/`.
 */
import type { Controller } from '../../../model/domain/devices/controller.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../model/domain/domain.ts';

export type ControllerType = Controller['type'];
export type ControllerModel = Controller['model'];

/** More controllers of a kind than any machine has slots for are a slip of the pen, not a wish. */
export const MAX_CONTROLLERS = 1024;
/** USB controllers that make one USB 2 bus together, at one index and in one PCI slot. */
const USB2_MODELS: ReadonlySet<string> = new Set(['ich9-ehci1', 'ich9-uhci1', 'ich9-uhci2', 'ich9-uhci3']);
/** First port of the EHCI bus that each companion serves. */
const COMPANION_PORTS: Readonly<Record<string, number>> = { 'ich9-uhci1': 0, 'ich9-uhci2': 2, 'ich9-uhci3': 4 };

export function isUsb2Controller(controller: Controller): boolean {
  return controller.type === 'usb' && controller.model !== undefined && USB2_MODELS.has(controller.model);
}

/** The controllers of a domain, of one type where one is named. */
export function controllersOf(domain: Domain, type?: ControllerType): Controller[] {
  const all = domain.devices?.controllers ?? [];
  return type === undefined ? all : all.filter((controller) => controller.type === type);
}

/** The first controller of that type and index. */
export function findController(domain: Domain, type: ControllerType, index: number): Controller | undefined {
  return controllersOf(domain, type).find((controller) => controller.index === index);
}

/** Adds the controller, as the last one, unless there is one of that type and index. @returns the new one, if any. */
export function addMissingController(
  domain: Domain,
  type: ControllerType,
  index: number,
  model?: ControllerModel,
): Controller | undefined {
  if (findController(domain, type, index) !== undefined) return undefined;
  const controller: Controller = { type, index, ...(model !== undefined && { model }) };
  devicesOf(domain).controllers.push(controller);
  return controller;
}

/** Adds USB controllers at an index; an EHCI one comes with its three companions. */
export function addUsbControllers(domain: Domain, index: number, model: ControllerModel): void {
  const models: ControllerModel[] =
    model === 'ich9-ehci1' ? ['ich9-ehci1', 'ich9-uhci1', 'ich9-uhci2', 'ich9-uhci3'] : [model];
  for (const name of models) {
    const controller: Controller = { type: 'usb', index, ...(name !== undefined && { model: name }) };
    setCompanionPort(controller);
    devicesOf(domain).controllers.push(controller);
  }
}

/** Sorts what was read, gives companions their master ports and every controller an index. */
export function normalizeControllers(domain: Domain): void {
  const { devices } = domain;
  if (devices === undefined) return;
  const sorted: Controller[] = [];
  for (const controller of devices.controllers) {
    setCompanionPort(controller);
    insertController(sorted, controller);
  }
  devices.controllers = sorted;
  addHostdevControllers(domain);
  assignIndexes(sorted);
}

/** A SCSI host device brings its controllers before those without an index get theirs. */
function addHostdevControllers(domain: Domain): void {
  for (const { mode, type, address } of devicesOf(domain).hostdevs) {
    if (mode !== 'subsystem' || type !== 'scsi') continue;
    const highest = address?.type === 'drive' ? (address.controller ?? 0) : 0;
    for (let index = 0; index <= Math.min(highest, MAX_CONTROLLERS); index++)
      addMissingController(domain, 'scsi', index);
  }
}

/** The lowest index that no controller of the type has. */
export function freeControllerIndex(controllers: readonly Controller[], type: ControllerType): number {
  const used = new Set(controllers.filter((controller) => controller.type === type).map(({ index }) => index));
  let index = 0;
  while (used.has(index)) index++;
  return index;
}

/** Puts a controller of the definition where it belongs: behind its type's lower indexes, a USB master before its companions. */
function insertController(list: Controller[], controller: Controller): void {
  let place = -1;
  for (let position = list.length - 1; position >= 0; position--) {
    const current = list[position];
    if (current === undefined || current.type !== controller.type) continue;
    if (controller.index === undefined) {
      place = position + 1;
      break;
    }
    const currentIndex = current.index ?? -1;
    const precedesCompanion =
      controller.master === undefined && current.master !== undefined && currentIndex === controller.index;
    if (currentIndex > controller.index || precedesCompanion) place = position;
    else if (place === -1) place = position + 1;
  }
  list.splice(place === -1 ? list.length : place, 0, controller);
}

function setCompanionPort(controller: Controller): void {
  if (controller.type !== 'usb' || controller.master !== undefined) return;
  const startport = COMPANION_PORTS[controller.model ?? ''];
  if (startport !== undefined) controller.master = { startport };
}

/**
 * The lowest free index, except that a USB 2 controller joins the group of the one before it when that group does not
 * have its model yet.
 */
function assignIndexes(list: readonly Controller[]): void {
  list.forEach((controller, position) => {
    if (controller.index !== undefined) return;
    const previous = list[position - 1];
    if (previous?.index !== undefined && isUsb2Controller(controller) && isUsb2Controller(previous)) {
      const { index } = previous;
      const taken = list.some(
        (other) => other.type === 'usb' && other.index === index && other.model === controller.model,
      );
      if (!taken) controller.index = index;
    }
    controller.index ??= freeControllerIndex(list, controller.type);
  });
}

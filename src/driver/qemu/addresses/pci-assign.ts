/**
 * Gives every PCI device its address, as libvirt does: a counting pass finds out which bridges and ports are missing,
 * then the controllers are added and a second pass assigns for good. The bus model is in `pci-buses.ts`.
 */
import type { DeviceInfo, PciAddress } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import { sourceOf } from '../../../model/schema/faults.ts';
import { hasDevice } from '../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../context.ts';
import { addMissingController, controllersOf, isUsb2Controller } from '../definition/controller-list.ts';
import { isI440fx } from '../machine.ts';
import type { Connection, PciModel } from './pci-bus.ts';
import { formatPciAddress, isPciModel } from './pci-bus.ts';
import { PciAddressError, PciBuses } from './pci-buses.ts';
import { isPiix3Function, placeChipsetDevices } from './pci-chipset.ts';
import { fillPciControllerOptions } from './pci-controller-options.ts';
import { controllerConnection, type PciDevice, pciDevices } from './pci-devices.ts';
import { hasPciAddress, setPciAddress, wantsPciAddress } from './pci-state.ts';

/** Assigns addresses and adds the PCI controllers that they need; faults are gathered. */
export function assignPciAddresses(context: DomainContext): void {
  const highest = Math.max(-1, ...controllersOf(context.domain, 'pci').map(({ index }) => index ?? 0));
  if (highest > MAX_BUS) return;
  if (highest >= 0 && !guarded(context, () => addMissingBuses(context, highest))) {
    // What follows from indexes is filled in all the same, lest it be reported as missing too.
    fillPciControllerOptions(context);
    return;
  }
  guarded(context, () => {
    const buses = collect(context, false);
    if (buses.buses.length > 0) placeChipsetDevices(context, buses);
    assignAll(context, buses, false);
  });
  fillPciControllerOptions(context);
  setMultifunction(context);
}

const MAX_BUS = 255;
/** A conventional device that the user may plug in later. */
const SPARE_CONVENTIONAL: Connection = { connector: 'pci-endpoint', automatic: true };
const SPARE_EXPRESS: Connection = { connector: 'pcie-endpoint', automatic: true };

/** @returns whether `body` found an address for everything. */
function guarded(context: DomainContext, body: () => void): boolean {
  const before = context.faults.faults.length;
  try {
    body();
  } catch (error) {
    if (!(error instanceof PciAddressError)) throw error;
    fault(context, context.domain.devices ?? context.domain, error.message);
  }
  return context.faults.faults.length === before;
}

/** The counting pass. */
function addMissingBuses(context: DomainContext, highest: number): void {
  const { domain } = context;
  const buses = collect(context, true);
  placeChipsetDevices(context, buses);
  const conventionalRoot = buses.buses[0]?.model === 'pci-root';
  // Room for a bridge that hot plug may need, where there is room at all. Express machines get a spare port instead.
  if (conventionalRoot && buses.buses.some((bus) => !bus.isFull)) {
    buses.reserveNext(SPARE_CONVENTIONAL, { describe: 'a spare slot' });
  }
  assignAll(context, buses, true);
  // A guest whose PCI layout is left to us keeps one port free, so that something can be hot-plugged.
  if (highest <= 0 && buses.buses.length > highest + 1 && buses.buses[0]?.model === 'pcie-root') {
    buses.reserveNext(SPARE_EXPRESS, { describe: 'a spare port' });
  }
  for (let index = 1; index < buses.buses.length; index++) {
    const added = addMissingController(domain, 'pci', index, buses.buses[index]?.model);
    // A bridge to conventional PCI was added together with its port and has its place already.
    if (added !== undefined && added.model !== 'pcie-to-pci-bridge')
      buses.reserveNext(controllerConnection(added), { describe: describe('controller', added) });
  }
}

/** The buses of the controllers that there are, with all given addresses reserved. */
function collect(context: DomainContext, growable: boolean): PciBuses {
  const { domain, caps } = context;
  const models: PciModel[] = [];
  for (const { index = 0, model } of controllersOf(domain, 'pci')) {
    // A model of another type's controllers is the validation's to complain about.
    if (model !== undefined && isPciModel(model)) models[index] = model;
  }
  // Indexes that the definition skips become what the machine adds by itself.
  const filler = models[0] === 'pcie-root' ? 'pcie-root-port' : 'pci-bridge';
  for (let index = 0; index < models.length; index++) models[index] ??= index === 0 ? 'pci-root' : filler;
  const buses = new PciBuses(models, { growable, hasExpressBridge: hasDevice(caps, 'pcie-pci-bridge') });
  for (const { family, device, connection } of devicesOfPci(context)) {
    if (!hasPciAddress(device)) continue;
    if (models.length > 0 && isI440fx(domain) && isPiix3Function(device)) continue;
    const { domain: pciDomain = 0, bus = 0, slot = 0, function: unit = 0 } = device.address;
    if (pciDomain !== 0) {
      fault(context, device, `PCI address ${formatPciAddress(device.address)}: there is only PCI domain 0`, 'address');
      continue;
    }
    if (bus > MAX_BUS) {
      fault(context, device, `PCI address ${formatPciAddress(device.address)}: buses are 0 to ${MAX_BUS}`, 'address');
      continue;
    }
    reserveGiven(context, device, () => {
      const place = buses.reserve({ bus, slot, unit }, connection, { describe: describe(family, device) });
      device.address.bus = place.bus;
    });
  }
  return buses;
}

function reserveGiven(context: DomainContext, device: DeviceInfo, reserve: () => void): void {
  try {
    reserve();
  } catch (error) {
    if (!(error instanceof PciAddressError)) throw error;
    fault(context, device, error.message, 'address');
  }
}

function devicesOfPci({ domain }: DomainContext): PciDevice[] {
  return pciDevices(
    domain,
    controllersOf(domain, 'pci').some(({ index, model }) => index === 0 && model === 'pcie-root'),
  );
}

/** Gives every device without an address the next free one. In a dry run nothing is written to the definition. */
function assignAll(context: DomainContext, buses: PciBuses, dryRun: boolean): void {
  const usb2Places = new Map<number, PciAddress>();
  for (const { family, device, connection } of devicesOfPci(context)) {
    if (family === 'controller' && isUsb2Controller(device as Controller)) {
      placeUsb2(context, device as Controller, connection, buses, usb2Places);
    } else if (wantsPciAddress(device)) {
      const place = buses.reserveNext(connection, { describe: describe(family, device) });
      if (!dryRun) setPciAddress(device, place);
    }
  }
}

/** EHCI and its companions are functions of one slot. */
const USB2_FUNCTIONS: Readonly<Record<string, number>> = {
  'ich9-uhci1': 0,
  'ich9-uhci2': 1,
  'ich9-uhci3': 2,
  'ich9-ehci1': 7,
};

function placeUsb2(
  { domain }: DomainContext,
  controller: Controller,
  connection: Connection,
  buses: PciBuses,
  places: Map<number, PciAddress>,
): void {
  if (!wantsPciAddress(controller)) return;
  const index = controller.index ?? 0;
  const unit = USB2_FUNCTIONS[controller.model ?? ''] ?? 0;
  const user = { describe: describe('controller', controller) };
  const placed = controllersOf(domain, 'usb').find(
    (other) => isUsb2Controller(other) && other.index === index && hasPciAddress(other),
  );
  const known = places.get(index) ?? (placed?.address as PciAddress | undefined);
  let place = { bus: known?.bus ?? 0, slot: known?.slot ?? 0, unit };
  if (known === undefined) place = buses.reserveNext(connection, user, unit);
  else buses.reserve(place, connection, user);
  places.set(index, { type: 'pci', ...place });
  if (!buses.growable) setPciAddress(controller, place, unit === 0 ? true : undefined);
}

/** Function 0 says that its slot has more. */
function setMultifunction(context: DomainContext): void {
  const addresses = devicesOfPci(context).flatMap(({ device }) => (hasPciAddress(device) ? [device.address] : []));
  const shared = new Set(addresses.filter((address) => (address.function ?? 0) > 0).map(slotKey));
  for (const address of addresses) {
    if ((address.function ?? 0) === 0 && shared.has(slotKey(address))) address.multifunction ??= true;
  }
}

function slotKey({ bus = 0, slot = 0 }: PciAddress): string {
  return `${bus}:${slot}`;
}

/** How an error names a device: by its alias where the user gave one, else by what tells it from others. */
function describe(family: string, device: DeviceInfo & { type?: string; index?: number | undefined }): string {
  if (device.alias !== undefined) return `<${family}> '${device.alias.name}'`;
  if (family === 'controller') return `the ${device.type ?? ''} controller with index ${device.index ?? 0}`;
  const { line } = sourceOf(device);
  return line === 0 ? `a <${family}>` : `the <${family}> in line ${line}`;
}

/**
 * USB ports: hubs first, then devices, each on the first free port of the first bus, nested in hubs where the
 * controller's own ports are used up; hubs are added when ports are too few.
 */
import type { DeviceInfo, UsbAddress } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { type DomainContext, fault } from '../context.ts';
import { controllersOf } from '../definition/controller-list.ts';
import { hostdevAddressNeed } from '../devices/hostdev/addresses.ts';
import { interfaceAddressNeed } from '../devices/interface/addresses.ts';

const HUB_PORTS = 8;
/** Tiers of hubs that a port path can name. */
const MAX_DEPTH = 4;

/** Ports of the controllers that have any of their own; companions serve those of their master. */
const CONTROLLER_PORTS: Readonly<Record<string, number>> = {
  'piix3-uhci': 2,
  'piix4-uhci': 2,
  'vt82c686b-uhci': 2,
  'ich9-uhci1': 2,
  'ich9-uhci2': 2,
  'ich9-uhci3': 2,
  ehci: 6,
  'ich9-ehci1': 6,
  'pci-ohci': 3,
  'nec-xhci': 4,
  'qemu-xhci': 4,
};

/** Assigns ports to all USB devices, adding hubs where needed. */
export function assignUsbPorts(context: DomainContext): void {
  const { domain } = context;
  const tree = new UsbTree(context);
  for (const hub of devicesOf(domain).hubs) if (hasPort(hub)) tree.reserve(hub, hub.address, HUB_PORTS);
  const devices = usbDevices(domain);
  for (const device of devices) if (hasPort(device)) tree.reserve(device, device.address, 0);
  addHubs(domain, devices);
  for (const hub of devicesOf(domain).hubs) if (!hasPort(hub)) tree.assign(hub, HUB_PORTS);
  for (const device of devices) if (!hasPort(device)) tree.assign(device, 0);
}

/** All USB devices but hubs, in libvirt's order. */
function usbDevices(domain: Domain): DeviceInfo[] {
  const devices = devicesOf(domain);
  const found: DeviceInfo[] = [
    ...devices.hostdevs.filter((device) => hostdevAddressNeed(device)?.type === 'usb'),
    ...devices.disks.filter(({ target }) => target?.bus === 'usb'),
    ...devices.interfaces.filter((device) => interfaceAddressNeed(device).type === 'usb'),
    ...devices.controllers.filter(({ type }) => type === 'ccid'),
    ...devices.inputs.filter(({ bus }) => bus === 'usb'),
    ...devices.serials.filter(({ target }) => target?.type === 'usb-serial'),
    ...devices.sounds.filter(({ model }) => model === 'usb'),
    ...devices.redirdevs,
  ];
  // An address of another kind is the validation's to complain about.
  return found.filter(({ address }) => address === undefined || address.type === 'usb');
}

function hasPort(device: DeviceInfo): device is DeviceInfo & { address: UsbAddress } {
  return device.address?.type === 'usb' && (device.address.port ?? '') !== '';
}

function addHubs(domain: Domain, devices: readonly DeviceInfo[]): void {
  const { hubs } = devicesOf(domain);
  const ports = usbControllers(domain).reduce((sum, controller) => sum + portsOf(controller), 0);
  const missing = devices.length + hubs.length - (ports + hubs.length * HUB_PORTS);
  if (ports === 0 || missing <= 0) return;
  // Each hub takes one port and offers eight; libvirt adds one where they would just suffice.
  for (let count = Math.ceil((missing + 1) / (HUB_PORTS - 1)); count > 0; count--) hubs.push({ type: 'usb' });
}

function usbControllers(domain: Domain): Controller[] {
  return controllersOf(domain, 'usb').filter(({ model, master }) => model !== 'none' && master === undefined);
}

function portsOf({ model, ports }: Controller): number {
  const isXhci = model === 'nec-xhci' || model === 'qemu-xhci';
  return (isXhci ? ports : undefined) ?? CONTROLLER_PORTS[model ?? ''] ?? 0;
}

/** A controller or hub: which of its ports are in use, and by which hubs. */
class UsbNode {
  readonly count: number;
  readonly used = new Set<number>();
  readonly hubs = new Map<number, UsbNode>();

  constructor(count: number) {
    this.count = count;
  }

  /** The first free port below this node, own ports before those of its hubs. */
  findFree(depth = 1): number[] | undefined {
    if (depth > MAX_DEPTH) return undefined;
    for (let port = 1; port <= this.count; port++) if (!this.used.has(port)) return [port];
    for (const [port, hub] of [...this.hubs].sort(([a], [b]) => a - b)) {
      const path = hub.findFree(depth + 1);
      if (path !== undefined) return [port, ...path];
    }
    return undefined;
  }
}

class UsbTree {
  readonly #context: DomainContext;
  readonly #buses = new Map<number, UsbNode>();
  readonly #disabled: boolean;

  constructor(context: DomainContext) {
    this.#context = context;
    for (const controller of usbControllers(context.domain)) {
      this.#buses.set(controller.index ?? 0, new UsbNode(portsOf(controller)));
    }
    this.#disabled = controllersOf(context.domain, 'usb').some(({ model }) => model === 'none');
  }

  /** Takes a given port; a hub (`ports` > 0) opens its own. */
  reserve(device: DeviceInfo, { bus = 0, port = '' }: UsbAddress, ports: number): void {
    const root = this.#buses.get(bus);
    if (root === undefined) return this.#missingBus(device, bus);
    const path = port.split('.').map(Number);
    const last = path.pop() ?? 0;
    let node: UsbNode | undefined = root;
    for (const step of path) node = node?.hubs.get(step);
    if (node === undefined) {
      return fault(
        this.#context,
        device,
        `USB port ${port} of bus ${bus} is behind a hub that does not exist`,
        'address/@port',
      );
    }
    if (!(last >= 1 && last <= node.count)) {
      return fault(
        this.#context,
        device,
        `USB port ${port} of bus ${bus} does not exist: there are ${node.count} ports`,
        'address/@port',
      );
    }
    if (node.used.has(last)) {
      return fault(this.#context, device, `USB port ${port} of bus ${bus} is taken`, 'address/@port');
    }
    node.used.add(last);
    if (ports > 0) node.hubs.set(last, new UsbNode(ports));
  }

  /** Chooses a port, on the bus that the device names if it names one. */
  assign(device: DeviceInfo, ports: number): void {
    const named = device.address?.type === 'usb' ? device.address.bus : undefined;
    if (this.#buses.size === 0 || (named !== undefined && !this.#buses.has(named))) {
      return this.#missingBus(device, named ?? 0);
    }
    const buses = named === undefined ? [...this.#buses.keys()].sort((a, b) => a - b) : [named];
    for (const bus of buses) {
      const path = this.#buses.get(bus)?.findFree();
      if (path === undefined) continue;
      const address: UsbAddress = { type: 'usb', bus, port: path.join('.') };
      this.reserve(device, address, ports);
      device.address = address;
      return;
    }
    fault(this.#context, device, 'no USB port is free: add a USB controller or hub', 'address');
  }

  #missingBus(device: DeviceInfo, bus: number): void {
    const message = this.#disabled
      ? 'USB is disabled in this guest (controller model none): remove the device or the controller'
      : `there is no USB controller with index ${bus}`;
    fault(this.#context, device, message, 'address');
  }
}

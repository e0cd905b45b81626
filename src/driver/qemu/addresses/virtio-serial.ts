/** Ports of virtio-serial controllers. Port 0 is for a console, so channels start at 1. */
import type { DeviceInfo, VirtioSerialAddress } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { type DomainContext, fault } from '../context.ts';
import { addMissingController, controllersOf, freeControllerIndex } from '../definition/controller-list.ts';

const DEFAULT_PORTS = 31;

/** Gives a port to every channel, adding controllers when all are full. Consoles leave theirs to QEMU. */
export function assignVirtioSerialPorts(context: DomainContext): void {
  const { domain } = context;
  const { channels, consoles } = devicesOf(domain);
  const ports = new PortMap();
  for (const { index = 0, ports: count } of controllersOf(domain, 'virtio-serial')) ports.addController(index, count);
  const virtioConsoles = consoles.filter(({ target }) => target?.type === 'virtio');
  const virtioChannels = channels.filter(({ target }) => target?.type === 'virtio');
  for (const device of [...virtioConsoles, ...virtioChannels]) {
    if (isComplete(device.address)) reserve(context, device, device.address, ports);
  }
  for (const { address } of virtioConsoles) {
    // A console that names only its controller gets a port from QEMU: leave it one.
    if (address?.type === 'virtio-serial' && (address.port ?? 0) === 0) ports.next(address.controller ?? 0);
  }
  for (const channel of virtioChannels) if (!isComplete(channel.address)) assign(context, channel, ports);
}

function isComplete(address: DeviceInfo['address']): address is VirtioSerialAddress {
  return address?.type === 'virtio-serial' && (address.port ?? 0) !== 0;
}

function reserve(context: DomainContext, device: DeviceInfo, address: VirtioSerialAddress, ports: PortMap): void {
  const { controller = 0, port = 0, bus = 0 } = address;
  const free = ports.take(controller, port);
  if (bus !== 0) fault(context, device, 'a virtio-serial controller has only bus 0', 'address/@bus');
  if (free === 'unknown') {
    fault(context, device, `port ${port} does not exist on virtio-serial controller ${controller}`, 'address/@port');
  } else if (free === 'taken') {
    fault(context, device, `port ${port} of virtio-serial controller ${controller} is taken`, 'address/@port');
  }
}

function assign(context: DomainContext, device: DeviceInfo, ports: PortMap): void {
  const given = device.address?.type === 'virtio-serial' ? device.address.controller : undefined;
  let place = ports.next(given);
  if (place === undefined && given === undefined) {
    const index = freeControllerIndex(controllersOf(context.domain), 'virtio-serial');
    addMissingController(context.domain, 'virtio-serial', index);
    ports.addController(index, undefined);
    place = ports.next(index);
  }
  if (place === undefined) {
    fault(context, device, `virtio-serial controller ${given ?? 0} has no free port`, 'address');
    return;
  }
  device.address = { type: 'virtio-serial', bus: 0, ...place };
}

/** Which ports are free, by controller index. */
class PortMap {
  readonly #controllers = new Map<number, { readonly count: number; readonly used: Set<number> }>();

  addController(index: number, count: number | undefined): void {
    this.#controllers.set(index, { count: count ?? DEFAULT_PORTS, used: new Set() });
  }

  take(index: number, port: number): 'ok' | 'taken' | 'unknown' {
    const controller = this.#controllers.get(index);
    if (controller === undefined || port >= controller.count) return 'unknown';
    if (controller.used.has(port)) return 'taken';
    controller.used.add(port);
    return 'ok';
  }

  /** The next free port from 1 on, of one controller or of the first that has one. */
  next(index: number | undefined): { controller: number; port: number } | undefined {
    const indexes = index === undefined ? [...this.#controllers.keys()].sort((a, b) => a - b) : [index];
    for (const controller of indexes) {
      const count = this.#controllers.get(controller)?.count ?? 0;
      for (let port = 1; port < count; port++) if (this.take(controller, port) === 'ok') return { controller, port };
    }
    return undefined;
  }
}

/**
 * An assigned guest address as the properties that QEMU's device takes. Which address a device has was decided
 * before (`assign.ts`); drive addresses are not here, as each disk bus spells them differently (disk family).
 */
import type { Address, DeviceInfo, PciAddress, UsbAddress } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { DomainContext } from '../context.ts';
import { controllerAliasName, isBuiltin } from '../devices/controller/alias.ts';
import type { Props } from '../plan/props.ts';

/** `bus`, `addr`, `port`, … of a device; empty where the device has no address or QEMU is not told of it. */
export function addressProps(device: DeviceInfo, context: Pick<DomainContext, 'domain'>): Props {
  const { address } = device;
  if (address === undefined) return {};
  const props = propsOf(address, context.domain);
  const index = device.acpi?.index;
  return address.type === 'pci' && index !== undefined && index > 0 ? { ...props, 'acpi-index': index } : props;
}

function propsOf(address: Address, domain: Domain): Props {
  switch (address.type) {
    case 'pci':
      return { bus: pciBusName(domain, address.bus ?? 0), ...pciSlotProps(address) };
    case 'usb':
      return usbProps(address, domain);
    case 'ccw': {
      const numbers = [address.cssid ?? 0, address.ssid ?? 0].map((number) => number.toString(16));
      return { devno: `${numbers.join('.')}.${(address.devno ?? 0).toString(16).padStart(4, '0')}` };
    }
    case 'spapr-vio':
      return address.reg === undefined ? {} : { reg: address.reg };
    case 'isa':
      return { iobase: address.iobase, irq: address.irq };
    case 'dimm':
      return { slot: address.slot, addr: address.base === undefined ? undefined : numberOf(address.base) };
    case 'virtio-serial':
      return { bus: `${controllerAlias(domain, 'virtio-serial', address.controller ?? 0)}.0`, nr: address.port ?? 0 };
    case 'ccid':
      return { bus: `${controllerAlias(domain, 'ccid', address.controller ?? 0)}.0` };
    default:
      return {};
  }
}

/** QEMU's name of the PCI bus behind the controller of that index: its alias (`pcie.0`, `pci.3`). */
export function pciBusName(domain: Domain, bus: number): string {
  return controllerAlias(domain, 'pci', bus);
}

/** QEMU's id of the controller of that type and index; what libvirt would call it where there is none. */
export function controllerAlias(domain: Domain, type: Controller['type'], index: number): string {
  const controllers = (domain.devices?.controllers ?? []).filter(
    (controller) => controller.type === type && (controller.index ?? 0) === index,
  );
  // Companions of a USB controller share its index; the bus is that of the one without a master.
  const main = controllers.find((controller) => controller.master === undefined) ?? controllers[0];
  if (main === undefined) return controllerAliasName({ type, index }, domain);
  // Whatever the user calls a controller of the chipset, its bus has QEMU's own name.
  return isBuiltin(main, domain)
    ? controllerAliasName(main, domain)
    : (main.alias?.name ?? controllerAliasName(main, domain));
}

/** `addr` (and `multifunction`) of a PCI address, without its bus. */
export function pciSlotProps(address: PciAddress): Props {
  const slot = `0x${(address.slot ?? 0).toString(16)}`;
  const unit = address.function ?? 0;
  return { multifunction: address.multifunction, addr: unit === 0 ? slot : `${slot}.0x${unit.toString(16)}` };
}

function usbProps(address: UsbAddress, domain: Domain): Props {
  return { bus: `${controllerAlias(domain, 'usb', address.bus ?? 0)}.0`, port: address.port };
}

function numberOf(base: bigint): number | bigint {
  return base <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(base) : base;
}

/** Reading and setting the PCI address of one device. */
import type { DeviceInfo, PciAddress } from '../../../model/domain/devices/address.ts';
import type { PciPlace } from './pci-buses.ts';

/** Whether the device has a PCI address that says something. All zeros mean "choose one". */
export function hasPciAddress(device: DeviceInfo): device is DeviceInfo & { address: PciAddress } {
  const { address } = device;
  if (address?.type !== 'pci') return false;
  return (address.domain ?? 0) !== 0 || (address.bus ?? 0) !== 0 || (address.slot ?? 0) !== 0;
}

/** Whether a PCI address is to be chosen. */
export function wantsPciAddress(device: DeviceInfo): boolean {
  return device.address === undefined || (device.address.type === 'pci' && !hasPciAddress(device));
}

/** Sets the place, keeping what else the address says (zPCI numbers). */
export function setPciAddress(device: DeviceInfo, { bus, slot, unit }: PciPlace, multifunction?: boolean): void {
  const kept = device.address?.type === 'pci' ? device.address : undefined;
  device.address = { ...kept, type: 'pci', domain: 0, bus, slot, function: unit };
  if (multifunction !== undefined) device.address.multifunction = multifunction;
}

/** A PCI device of the host as `vfio-pci`: for `<hostdev>` and for interfaces that are such a device. */
import type { DeviceInfo } from '../../../../model/domain/devices/address.ts';
import type { HostdevAddress } from '../../../../model/domain/devices/hostdev.ts';
import { addressProps } from '../../addresses/props.ts';
import type { DomainContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { romProps } from '../rom.ts';

/** What a device must tell to be planned as VFIO. */
export interface VfioDevice extends DeviceInfo {
  readonly teaming?: { readonly type: string; readonly persistent?: string | undefined } | undefined;
  readonly display?: boolean | undefined;
  readonly ramfb?: boolean | undefined;
}

/** The device's parts; none where its address is `unassigned`: it is kept from the host and not given to the guest. */
export function planVfioPci(device: VfioDevice, source: HostdevAddress, context: DomainContext): Part[] {
  if (device.address?.type === 'unassigned') return [];
  const props = {
    // A frame buffer of the device's own cannot come and go.
    driver: device.ramfb === true ? 'vfio-pci-nohotplug' : 'vfio-pci',
    host: formatPciAddress(source),
    id: device.alias?.name,
    failover_pair_id: device.teaming?.type === 'transient' ? device.teaming.persistent : undefined,
    display: formatDisplay(device.display),
    ramfb: device.ramfb === true ? true : undefined,
    bootindex: bootIndexOf(device, context),
    ...addressProps(device, context),
    ...romProps(device),
  };
  return [{ kind: 'device', props }];
}

/** `display` is an on/off/auto property, which takes text. */
export function formatDisplay(display: boolean | undefined): string | undefined {
  return display === undefined ? undefined : display ? 'on' : 'off';
}

/** `dddd:bb:ss.f`. */
export function formatPciAddress(address: HostdevAddress): string {
  const { domain = 0, bus = 0, slot = 0, function: unit = 0 } = address;
  return `${toHex(domain, 4)}:${toHex(bus, 2)}:${toHex(slot, 2)}.${unit.toString(16)}`;
}

function toHex(number: number, digits: number): string {
  return number.toString(16).padStart(digits, '0');
}

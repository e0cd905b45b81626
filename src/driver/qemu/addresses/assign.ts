/** Gives every device its guest address, in libvirt's order of kinds. */

import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { DomainContext } from '../context.ts';
import { assignMemorySlots } from './memory-slots.ts';
import { normalizeAddresses } from './normalize.ts';
import { assignPciAddresses } from './pci-assign.ts';
import { assignSpaprVioAddresses } from './spapr-vio.ts';
import { assignUsbPorts } from './usb.ts';
import { assignVirtioMmio } from './virtio-mmio.ts';
import { assignVirtioSerialPorts } from './virtio-serial.ts';

/** Completes the addresses of a definition whose devices and controllers are all there. */
export function assignAddresses(context: DomainContext): void {
  assignVirtioSerialPorts(context);
  assignSpaprVioAddresses(context);
  assignVirtioMmio(context);
  assignPciAddresses(context);
  assignUsbPorts(context);
  assignMemorySlots(context);
  normalizeAddresses(context.domain);
}

/** Smartcards have a place of their own that nobody chooses; their controller follows from it. */
export function assignCcidSlots({ domain }: DomainContext): void {
  devicesOf(domain).smartcards.forEach((smartcard, slot) => {
    smartcard.address ??= { type: 'ccid', controller: 0, slot };
  });
}

/** What a device needs as its guest address; the assigners in this folder turn needs into addresses. */

/** A PCI slot: what kind of slot it plugs into, as libvirt's connect flags. */
export interface PciNeed {
  readonly type: 'pci';
  /**
   * `pci`: conventional slot; `pcie`: PCI Express where the machine has it; `either`: as `pcie`, for devices that
   * would work in both (virtio).
   */
  readonly bus: 'pci' | 'pcie' | 'either';
  /** Must sit on the root bus (integrated endpoint). */
  readonly integrated?: boolean;
}

/** A PCI controller: the slots that accept it are named after it. */
export interface PciControllerNeed {
  readonly type: 'pci-controller';
}

export type AddressNeed =
  | PciNeed
  | PciControllerNeed
  | { readonly type: 'usb' }
  | { readonly type: 'drive' }
  | { readonly type: 'virtio-serial'; readonly allowZero: boolean }
  | { readonly type: 'ccid' }
  | { readonly type: 'isa' }
  | { readonly type: 'dimm' };

/** A conventional PCI slot. */
export const PCI_NEED: PciNeed = { type: 'pci', bus: 'pci' };
/** A PCI Express slot where there are any. */
export const PCIE_NEED: PciNeed = { type: 'pci', bus: 'pcie' };
/** A virtio device's slot. */
export const VIRTIO_NEED: PciNeed = { type: 'pci', bus: 'either' };
export const USB_NEED: AddressNeed = { type: 'usb' };

/** A virtio device's slot by its model: the transitional ones have I/O ports, which only conventional slots route. */
export function virtioNeed(model: string | undefined): PciNeed {
  return model === 'virtio-transitional' ? PCI_NEED : VIRTIO_NEED;
}

/** What a device needs as its guest address; the assigners in this folder turn needs into addresses. */

/** A PCI slot: what kind of slot it plugs into, as libvirt's connect flags. */
export interface PciNeed {
  readonly type: 'pci';
  /** `pci`: conventional slot; `pcie`: PCI Express; `either`: Express where the machine has it (virtio). */
  readonly bus: 'pci' | 'pcie' | 'either';
  readonly hotpluggable: boolean;
  /** Must sit on the root bus (integrated endpoint). */
  readonly integrated?: boolean;
}

export type AddressNeed =
  | PciNeed
  | { readonly type: 'usb' }
  | { readonly type: 'drive' }
  | { readonly type: 'virtio-serial'; readonly allowZero: boolean }
  | { readonly type: 'ccid' }
  | { readonly type: 'virtio-mmio' }
  | { readonly type: 'isa' }
  | { readonly type: 'dimm' };

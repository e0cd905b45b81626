/** Devices of the host. Part of the driver contract; devices are named as libvirt names them (`pci_0000_00_02_0`). */
import type { Waiting } from './driver.ts';

export interface NodeDeviceIdentity {
  readonly name: string;
  readonly parent?: string | undefined;
}

/** In the order of virNodeDevCapType; flags of lists are bits in this order. */
export const NODE_DEVICE_CAPABILITIES = [
  'system',
  'pci',
  'usb_device',
  'usb',
  'net',
  'scsi_host',
  'scsi_target',
  'scsi',
  'storage',
  'fc_host',
  'vports',
  'scsi_generic',
  'drm',
  'mdev_types',
  'mdev',
  'ccw',
  'css',
  'vdpa',
  'ap_card',
  'ap_queue',
  'ap_matrix',
  'vpd',
] as const;
export type NodeDeviceCapability = (typeof NODE_DEVICE_CAPABILITIES)[number];

export interface NodeDeviceFilter {
  /** With any of these. */
  readonly capabilities?: readonly string[] | undefined;
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
}

export type NodeDeviceEvent =
  | {
      readonly kind: 'lifecycle';
      readonly device: string;
      readonly type: 'created' | 'deleted' | 'defined' | 'undefined';
    }
  | { readonly kind: 'update'; readonly device: string };

export interface NodeDeviceOperations {
  list(filter?: NodeDeviceFilter & Waiting): Promise<readonly NodeDeviceIdentity[]>;
  lookupByName(name: string, options?: Waiting): Promise<NodeDeviceIdentity>;
  lookupScsiHostByWwn(wwnn: string, wwpn: string, options?: Waiting): Promise<NodeDeviceIdentity>;
  xmlDesc(name: string, options?: Waiting): Promise<string>;
  /** Undefined for the root of the tree. */
  parent(name: string, options?: Waiting): Promise<string | undefined>;
  capabilities(name: string, options?: Waiting): Promise<readonly string[]>;
  /** Takes a PCI device from its host driver for guests; `driver`: `vfio` where not said. */
  detach(name: string, options?: { readonly driver?: string | undefined } & Waiting): Promise<void>;
  reattach(name: string, options?: Waiting): Promise<void>;
  reset(name: string, options?: Waiting): Promise<void>;
  isActive(name: string, options?: Waiting): Promise<boolean>;
  isPersistent(name: string, options?: Waiting): Promise<boolean>;
  autostart(name: string, options?: Waiting): Promise<boolean>;
  events(options?: Waiting): AsyncIterable<NodeDeviceEvent>;
}

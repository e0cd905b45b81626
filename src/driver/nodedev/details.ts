/** What a device of the host is to libvirt: one function for each kind of device, from the kernel's facts to `<capability>`. */
import type { ReadNetFeatures } from '../../host/ethtool.ts';
import { netLinkOf } from '../../host/net-link.ts';
import type { NodeDeviceDetails } from '../../model/node-device.ts';
import { describeMdev, mdevTypesOf } from './details-mdev.ts';
import { describePci } from './details-pci.ts';
import { describeScsi, describeScsiHost, describeScsiTarget } from './details-scsi.ts';
import { describeStorage } from './details-storage.ts';
import type { PciIds } from './pci-ids.ts';
import { parseNumber, type SysDevice } from './sys-device.ts';

/** What describing takes besides the device. */
export interface DetailSources {
  /** Folder of sysfs. */
  readonly sys: string;
  readonly pciIds: PciIds;
  readonly netFeatures: ReadNetFeatures;
}

/** A device's details, and what its name ends with where the kernel's name does not tell it from others. */
export interface Described {
  readonly details: NodeDeviceDetails;
  readonly suffix?: string | undefined;
  /** In place of subsystem and kernel name. */
  readonly name?: string;
}

type Describe = (device: SysDevice, sources: DetailSources) => Described | undefined;

/** By the kernel's type of device. */
const BY_TYPE: Readonly<Record<string, Describe>> = {
  usb_device: describeUsbDevice,
  usb_interface: describeUsbInterface,
  scsi_host: describeScsiHost,
  scsi_target: describeScsiTarget,
  scsi_device: describeScsi,
  disk: describeStorage,
  wlan: describeNet,
  drm_minor: describeDrm,
  ap_card: describeApCard,
  ap_queue: describeApQueue,
};

/** Of devices without a type, by their subsystem. */
const BY_SUBSYSTEM: Readonly<Record<string, Describe>> = {
  pci: describePci,
  net: describeNet,
  scsi_generic: describeScsiGeneric,
  mdev: describeMdev,
  ccw: describeCcw,
  css: describeCss,
  vdpa: describeVdpa,
  matrix: (device) => ({
    name: 'ap_matrix',
    details: { type: 'ap_matrix', capability: mdevTypesOf(device) },
  }),
};

/** Undefined: libvirt shows no such devices (bridges, partitions, consoles, …), or this one is not ready. */
export function describeDevice(device: SysDevice, sources: DetailSources): Described | undefined {
  const type = device.deviceType;
  return (type === undefined ? BY_SUBSYSTEM[device.subsystem] : BY_TYPE[type])?.(device, sources);
}

function describeUsbDevice(device: SysDevice): Described {
  const hex = (property: string, attribute: string): number =>
    parseNumber(device.property(property), 16) ?? device.number(attribute, 16) ?? 0;
  const decimal = (name: string): number => Number.parseInt(device.property(name) ?? '0', 10);
  return {
    details: {
      type: 'usb_device',
      bus: decimal('BUSNUM'),
      device: decimal('DEVNUM'),
      product: {
        id: hex('ID_MODEL_ID', 'idProduct'),
        name: device.property('ID_MODEL_FROM_DATABASE') ?? device.attribute('product'),
      },
      vendor: {
        id: hex('ID_VENDOR_ID', 'idVendor'),
        name: device.property('ID_VENDOR_FROM_DATABASE') ?? device.attribute('manufacturer'),
      },
    },
  };
}

function describeUsbInterface(device: SysDevice): Described {
  const read = (name: string): number => device.number(name, 16) ?? 0;
  return {
    details: {
      type: 'usb',
      number: read('bInterfaceNumber'),
      class: read('bInterfaceClass'),
      subclass: read('bInterfaceSubClass'),
      protocol: read('bInterfaceProtocol'),
    },
  };
}

function describeNet(device: SysDevice, { netFeatures }: DetailSources): Described | undefined {
  const name = device.property('INTERFACE');
  if (name === undefined) return undefined;
  const address = device.attribute('address');
  return {
    suffix: address,
    details: {
      type: 'net',
      interface: name,
      address,
      link: netLinkOf((attribute) => device.attribute(attribute)),
      feature: netFeatures(name).map((feature) => ({ name: feature })),
      capability: [{ type: device.deviceType === 'wlan' ? '80211' : '80203' }],
    },
  };
}

const DRM_TYPES = ['primary', 'control', 'render'] as const;

function describeDrm(device: SysDevice): Described | undefined {
  const drmType = DRM_TYPES[(parseNumber(device.property('MINOR')) ?? -1) >> 6];
  return drmType === undefined ? undefined : { details: { type: 'drm', drmType } };
}

function describeScsiGeneric(device: SysDevice): Described | undefined {
  return device.node === undefined ? undefined : { details: { type: 'scsi_generic', char: device.node } };
}

function describeVdpa(device: SysDevice): Described | undefined {
  const node = device.entries().find((name) => name.startsWith('vhost-vdpa'));
  return node === undefined ? undefined : { details: { type: 'vdpa', chardev: `/dev/${node}` } };
}

interface CcwAddress {
  readonly cssid: number;
  readonly ssid: number;
  readonly devno: number;
}

function ccwAddress(text: string | undefined): CcwAddress | undefined {
  const [, ...parts] = /^([0-9a-f]+)\.([0-9a-f]+)\.([0-9a-f]+)$/i.exec(text ?? '') ?? [];
  const [cssid, ssid, devno] = parts.map((part) => Number.parseInt(part, 16));
  return cssid === undefined || ssid === undefined || devno === undefined ? undefined : { cssid, ssid, devno };
}

/** Devices that are off are not shown. */
function describeCcw(device: SysDevice): Described | undefined {
  const address = ccwAddress(device.name);
  if (address === undefined || device.number('online') !== 1) return undefined;
  return { details: { type: 'ccw', ...address } };
}

/** Of the subchannels only those of I/O, which can be given to guests. */
const CSS_DRIVERS = ['io_subchannel', 'vfio_ccw'];

function describeCss(device: SysDevice): Described | undefined {
  const address = ccwAddress(device.name);
  if (address === undefined || !CSS_DRIVERS.includes(device.property('DRIVER') ?? '')) return undefined;
  const channel = ccwAddress(device.attribute('dev_busid'));
  return { details: { type: 'css', ...address, channel_dev_addr: channel, capability: mdevTypesOf(device) } };
}

function describeApCard(device: SysDevice): Described | undefined {
  const [, adapter] = /^card([0-9a-f]+)$/i.exec(device.name) ?? [];
  return adapter === undefined ? undefined : { details: { type: 'ap_card', apAdapter: Number.parseInt(adapter, 16) } };
}

function describeApQueue(device: SysDevice): Described | undefined {
  const [, adapter, domain] = /^([0-9a-f]+)\.([0-9a-f]+)$/i.exec(device.name) ?? [];
  if (adapter === undefined || domain === undefined) return undefined;
  return {
    details: { type: 'ap_queue', apAdapter: Number.parseInt(adapter, 16), apDomain: Number.parseInt(domain, 16) },
  };
}

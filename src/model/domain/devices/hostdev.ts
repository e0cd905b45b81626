/** `<hostdev>`: a device of the host given to the guest (PCI, USB, SCSI, vhost-scsi, mediated). */
import type { XmlElement } from '../../../xml/node.ts';
import { attr, child, children, type ElementCodec, flag, type Infer, required, struct } from '../../schema/schema.ts';
import { hex, oneOf, onOff, text, uint, uint64, uuid, yesNo } from '../../schema/values.ts';
import { bootField, deviceInfoFields } from './address.ts';
import { storageAuth } from './encryption.ts';
import { ip, route } from './ip-config.ts';

/** Ways of handing a PCI device to the guest. */
export const HOSTDEV_DRIVERS = ['kvm', 'vfio', 'xen'] as const;

const anyAddress = struct(() => ({
  type: attr(oneOf('pci', 'usb')),
  domain: attr(hex(4, 0xffff_ffff)),
  bus: attr(hex(2, 0xffff_ffff)),
  slot: attr(hex(2, 0xffff_ffff)),
  function: attr(hex(1, 0xffff_ffff)),
  device: attr(uint),
  port: attr(text),
  target: attr(uint),
  unit: attr(uint64),
  uuid: attr(uuid),
}));
const decimalAddress = struct(() => ({
  type: attr(oneOf('pci', 'usb')),
  bus: attr(uint),
  port: attr(text),
  device: attr(uint),
  target: attr(uint),
  unit: attr(uint64),
  uuid: attr(uuid),
}));

/** Address on the host: which members are there says of which kind (PCI slot, USB bus, SCSI unit, mdev UUID). */
export interface HostdevAddress extends Infer<typeof anyAddress> {}

/** PCI numbers are written in hexadecimal, those of USB and SCSI in decimal, as libvirt does. */
export const hostdevAddress: ElementCodec<HostdevAddress> = {
  readElement: (element, context) => anyAddress.readElement(element, context),
  writeElement: (name, value): XmlElement => {
    const isPci = (value.domain ?? value.slot ?? value.function) !== undefined;
    return (isPci ? anyAddress : decimalAddress).writeElement(name, value);
  },
};

const usbId = struct(() => ({ id: required(attr(hex(4, 0xffff))) }));

const source = struct(() => ({
  protocol: attr(oneOf('adapter', 'iscsi', 'vhost', 'none')),
  name: attr(text),
  wwpn: attr(text),
  startupPolicy: attr(oneOf('mandatory', 'requisite', 'optional')),
  guestReset: attr(oneOf('off', 'uninitialized', 'on')),
  writeFiltering: attr(yesNo),
  missing: attr(yesNo),
  vendor: child(usbId),
  product: child(usbId),
  adapter: child(struct({ name: required(attr(text)) })),
  address: child(hostdevAddress),
  hosts: children(
    struct({ name: attr(text), port: attr(text), transport: attr(oneOf('tcp', 'unix', 'rdma')), socket: attr(text) }),
    'host',
  ),
  auth: child(storageAuth),
  initiator: child(struct({ iqn: child(struct({ name: required(attr(text)) })) })),
  /** mode='capabilities', of containers. */
  block: child(text),
  char: child(text),
  interface: child(text),
}));
export interface HostdevSource extends Infer<typeof source> {}

/** `<teaming>`: the other half of a failover pair. */
export const teaming = struct(() => ({
  type: required(attr(oneOf('persistent', 'transient'))),
  persistent: attr(text),
}));

/** `<driver>` of a PCI device: how it is handed over, and the host driver it is bound to meanwhile. */
export const hostdevDriver = struct(() => ({ name: attr(oneOf(...HOSTDEV_DRIVERS)), model: attr(text) }));

export const hostdev = struct(() => ({
  mode: attr(oneOf('subsystem', 'capabilities')),
  type: required(attr(oneOf('usb', 'pci', 'scsi', 'scsi_host', 'mdev', 'storage', 'misc', 'net'))),
  managed: attr(yesNo),
  sgio: attr(oneOf('filtered', 'unfiltered')),
  rawio: attr(yesNo),
  model: attr(oneOf('vfio-pci', 'vfio-ccw', 'vfio-ap', 'virtio', 'virtio-transitional', 'virtio-non-transitional')),
  display: attr(onOff),
  ramfb: attr(onOff),
  missing: attr(yesNo),
  driver: child(hostdevDriver),
  source: required(child(source)),
  /** mode='capabilities' type='net', of containers. */
  ips: children(ip, 'ip'),
  routes: children(route, 'route'),
  teaming: child(teaming),
  readonly: flag(),
  shareable: flag(),
  ...bootField,
  ...deviceInfoFields,
}));
export interface Hostdev extends Infer<typeof hostdev> {}

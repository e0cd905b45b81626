/**
 * `<device>`: a device of the host as node device drivers describe it. What it is comes from the kernel; this file knows only how it is
 * written, and read again by whoever gets it.
 */
import { formatXml } from '../xml/format.ts';
import { XmlElement } from '../xml/node.ts';
import { parseXml } from '../xml/parse.ts';
import { FaultList } from './schema/faults.ts';
import { attr, child, children, content, type Infer, ReadContext, required, struct } from './schema/schema.ts';
import { hex, int, oneOf, text, uint, ulong } from './schema/values.ts';
import { variant, variants } from './schema/variants.ts';

/** A place on the PCI bus. */
const address = struct(() => ({
  domain: required(attr(hex(4, 0xffff_ffff))),
  bus: required(attr(hex(2, 0xff))),
  slot: required(attr(hex(2, 0x1f))),
  function: required(attr(hex(1, 7))),
}));

/** A number of the vendor's with the name that a database gives it. */
const identified = struct(() => ({ id: required(attr(hex(4, 0xffff))), name: content(text) }));

const mdevType = struct(() => ({
  id: required(attr(text)),
  name: child(text),
  deviceAPI: child(text),
  availableInstances: child(uint),
}));
const mdevTypes = variant('mdev_types', { types: children(mdevType, 'type') });

const vpdField = struct(() => ({ index: required(attr(text)), value: content(text) }));
const vpd = variant('vpd', {
  name: child(text),
  fields: children(
    struct(() => ({
      access: required(attr(oneOf('readonly', 'readwrite'))),
      change_level: child(text),
      manufacture_id: child(text),
      part_number: child(text),
      serial_number: child(text),
      asset_tag: child(text),
      vendor_field: children(vpdField),
      system_field: children(vpdField),
    })),
  ),
});

const pciCapability = variants(
  variant('phys_function', { address: children(address) }),
  variant('virt_functions', { maxCount: attr(uint), address: children(address) }),
  variant('pci-bridge', {}),
  variant('cardbus-bridge', {}),
  mdevTypes,
  vpd,
);

const pciLink = struct(() => ({
  validity: required(attr(oneOf('cap', 'sta'))),
  port: attr(uint),
  /** GT/s. */
  speed: attr(text),
  width: required(attr(uint)),
}));

const ccw = { cssid: child(hex(1, 0xff)), ssid: child(hex(1, 0xff)), devno: child(hex(4, 0xffff)) };

const capability = variants(
  variant('system', {
    product: child(text),
    hardware: child(
      struct(() => ({ vendor: child(text), version: child(text), serial: child(text), uuid: child(text) })),
    ),
    firmware: child(struct(() => ({ vendor: child(text), version: child(text), release_date: child(text) }))),
  }),
  variant('pci', {
    class: child(hex(6, 0xff_ffff)),
    domain: child(uint),
    bus: child(uint),
    slot: child(uint),
    function: child(uint),
    product: child(identified),
    vendor: child(identified),
    capability: children(pciCapability),
    iommuGroup: child(struct(() => ({ number: required(attr(uint)), address: children(address) }))),
    numa: child(struct(() => ({ node: required(attr(uint)) }))),
    pciExpress: child(
      struct(() => ({ link: children(pciLink) })),
      'pci-express',
    ),
  }),
  variant('usb_device', {
    bus: child(uint),
    device: child(uint),
    product: child(identified),
    vendor: child(identified),
  }),
  variant('usb', { number: child(uint), class: child(uint), subclass: child(uint), protocol: child(uint) }),
  variant('net', {
    interface: child(text),
    address: child(text),
    link: child(struct(() => ({ speed: attr(uint), state: attr(text) }))),
    feature: children(struct(() => ({ name: required(attr(text)) }))),
    capability: children(variants(variant('80203', {}), variant('80211', {}))),
  }),
  variant('scsi_host', {
    host: child(uint),
    unique_id: child(int),
    capability: children(
      variants(
        variant('fc_host', { wwnn: child(text), wwpn: child(text), fabric_wwn: child(text) }),
        variant('vport_ops', { max_vports: child(uint), vports: child(uint) }),
      ),
    ),
  }),
  variant('scsi_target', {
    target: child(text),
    capability: children(variants(variant('fc_remote_port', { rport: child(text), wwpn: child(text) }))),
  }),
  variant('scsi', {
    host: child(uint),
    bus: child(uint),
    target: child(uint),
    lun: child(ulong),
    scsiType: child(text, 'type'),
  }),
  variant('storage', {
    block: child(text),
    bus: child(text),
    drive_type: child(text),
    model: child(text),
    vendor: child(text),
    serial: child(text),
    /** Bytes. */
    size: child(ulong),
    logical_block_size: child(ulong),
    num_blocks: child(ulong),
    capability: children(
      variants(
        variant('removable', {
          media_available: child(uint),
          media_size: child(ulong),
          media_label: child(text),
          logical_block_size: child(ulong),
          num_blocks: child(ulong),
        }),
      ),
    ),
  }),
  variant('scsi_generic', { char: child(text) }),
  variant('drm', { drmType: child(oneOf('primary', 'control', 'render'), 'type') }),
  variant('mdev', {
    mdevType: child(
      struct(() => ({ id: required(attr(text)) })),
      'type',
    ),
    uuid: child(text),
    parent_addr: child(text),
    iommuGroup: child(struct(() => ({ number: required(attr(uint)) }))),
    attr: children(struct(() => ({ name: required(attr(text)), value: required(attr(text)) }))),
  }),
  variant('ccw', ccw),
  variant('css', { ...ccw, channel_dev_addr: child(struct(ccw)), capability: children(variants(mdevTypes)) }),
  variant('vdpa', { chardev: child(text) }),
  variant('ap_card', { apAdapter: child(hex(2, 0xff), 'ap-adapter') }),
  variant('ap_queue', { apAdapter: child(hex(2, 0xff), 'ap-adapter'), apDomain: child(hex(4, 0xffff), 'ap-domain') }),
  variant('ap_matrix', { capability: children(variants(mdevTypes)) }),
);

const nodeDevice = struct(() => ({
  name: required(child(text)),
  path: child(text),
  devnode: children(struct({ type: required(attr(oneOf('dev', 'link'))), path: content(text) })),
  parent: child(text),
  driver: child(struct({ name: child(text) })),
  capability: children(capability),
}));

/** A device as `<device>` describes it. */
export interface NodeDevice extends Infer<typeof nodeDevice> {}
/** What a device is: one of the variants, by `type`. */
export type NodeDeviceDetails = Infer<typeof capability>;
export type PciAddressXml = Infer<typeof address>;
export type PciCapabilityXml = Infer<typeof pciCapability>;
export type PciLinkXml = Infer<typeof pciLink>;
export type MdevTypesXml = Infer<(typeof mdevTypes)['codec']>;
export type VpdXml = Infer<(typeof vpd)['codec']>;

/** Writes it as libvirt does. */
export function formatNodeDevice(device: NodeDevice): string {
  return formatXml(nodeDevice.writeElement('device', device));
}

/** Reads a device's description. @throws XmlSyntaxError, DefinitionError */
export function parseNodeDevice(source: string | XmlElement): NodeDevice {
  const root = source instanceof XmlElement ? source : parseXml(source).root;
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const device = context.inside(root.name, () => {
    if (root.name !== 'device') context.fault(root, `the root element is <${root.name}>, not <device>`);
    return nodeDevice.readElement(root, context);
  });
  faults.throwIfAny('node device XML');
  return device;
}

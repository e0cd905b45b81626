/**
 * `<address>`: where a device sits in the guest, a union told apart by `type`. PCI numbers are written in
 * hexadecimal, the others in decimal, as libvirt does. Assigning addresses is the drivers' work.
 */
import { XmlElement } from '../../../xml/node.ts';
import type { ElementCodec, Infer } from '../../schema/schema.ts';
import { attr, child, required, struct } from '../../schema/schema.ts';
import { bareHex, hex, integer, oneOf, onOff, text, uint, type ValueCodec, yesNo } from '../../schema/values.ts';

/** A 32-bit number whose digits are hexadecimal with or without 0x; written with so many digits at least. */
function base16(digits: number): ValueCodec<number> {
  const bounded = hex(digits, 0xffff_ffff);
  return { ...bounded, parse: (value) => bounded.parse(bareHex.format(bareHex.parse(value))) };
}

const zpci = struct(() => ({ uid: attr(hex(4, 0xffff)), fid: attr(hex(8, 0xffff_ffff)) }));

/** Parts of a PCI address. */
export const pciFields = {
  domain: attr(hex(4, 0xffff)),
  bus: attr(hex(2, 0xffff_ffff)),
  slot: attr(hex(2, 0xffff_ffff)),
  function: attr(hex(1, 7)),
  multifunction: attr(onOff),
};
const pci = struct(() => ({ ...pciFields, zpci: child(zpci) }));
const drive = struct(() => ({ controller: attr(uint), bus: attr(uint), target: attr(uint), unit: attr(uint) }));
const virtioSerial = struct(() => ({ controller: attr(uint), bus: attr(uint), port: attr(uint) }));
const ccid = struct(() => ({ controller: attr(uint), slot: attr(uint) }));
const usb = struct(() => ({ bus: attr(uint), port: attr(text), device: attr(uint) }));
const spaprVio = struct(() => ({ reg: attr(base16(8)) }));
const ccw = struct(() => ({ cssid: attr(hex(1, 0xfe)), ssid: attr(hex(1, 3)), devno: attr(hex(4, 0xffff)) }));
const isa = struct(() => ({ iobase: attr(base16(1)), irq: attr(base16(1)) }));
const dimm = struct(() => ({ slot: attr(uint), base: attr(bareHex) }));
const bare = struct(() => ({}));

const CODECS = {
  pci,
  drive,
  'virtio-serial': virtioSerial,
  ccid,
  usb,
  'spapr-vio': spaprVio,
  ccw,
  isa,
  dimm,
  'virtio-mmio': bare,
  unassigned: bare,
} as const;

export type AddressType = keyof typeof CODECS;
type OfType<T extends AddressType> = { type: T } & Infer<(typeof CODECS)[T]>;
/** A guest address of any kind. */
export type Address = { [T in AddressType]: OfType<T> }[AddressType];
export type PciAddress = OfType<'pci'>;
export type DriveAddress = OfType<'drive'>;
export type UsbAddress = OfType<'usb'>;
export type VirtioSerialAddress = OfType<'virtio-serial'>;
export type IsaAddress = OfType<'isa'>;
export type CcidAddress = OfType<'ccid'>;
export type DimmAddress = OfType<'dimm'>;

const addressType = oneOf(...(Object.keys(CODECS) as AddressType[]));

/** Codec of `<address type='…' …/>` of a device. */
export const address: ElementCodec<Address> = {
  readElement: (element, context) => {
    const type = readAddressType(element, context);
    if (type === undefined) return undefined;
    // `type` is read here; the rest of the attributes belong to the kind.
    const rest = new XmlElement(element.name, {
      attributes: element.attributes.filter((attribute) => attribute.name !== 'type'),
      children: element.children,
      line: element.line,
      column: element.column,
    });
    const value: object = Object.assign(CODECS[type].readElement(rest, context), { type });
    return value as Address;
  },
  writeElement: (name, value) => {
    const element = new XmlElement(name);
    element.setAttribute('type', value.type);
    const codec: ElementCodec<object> = CODECS[value.type];
    const body = codec.writeElement(name, value);
    element.attributes.push(...body.attributes);
    element.children.push(...body.children);
    return element;
  },
};

function readAddressType(
  element: XmlElement,
  context: Parameters<ElementCodec<Address>['readElement']>[1],
): AddressType | undefined {
  const written = element.attribute('type');
  if (written === undefined) {
    context.fault(element, "<address> lacks attribute 'type'");
    return undefined;
  }
  try {
    return addressType.parse(written);
  } catch (error) {
    context.fault(element, `value '${written}' ${(error as Error).message}`, '/@type');
    return undefined;
  }
}

const alias = struct(() => ({ name: required(attr(text)) }));
const acpi = struct(() => ({ index: attr(uint) }));
const rom = struct(() => ({ bar: attr(onOff), file: attr(text), enabled: attr(yesNo) }));
const boot = struct(() => ({ order: attr(integer({ min: 1, max: 0xffff_ffff })), loadparm: attr(text) }));

/** `<boot order='N'/>` of a device. */
export const bootField = { boot: child(boot) };
/** What nearly every device ends with, in libvirt's order. Spread it last. */
export const deviceInfoFields = { rom: child(rom), alias: child(alias), acpi: child(acpi), address: child(address) };

/** The part that every device object has. */
export interface DeviceInfo {
  alias?: { name: string } | undefined;
  address?: Address | undefined;
  acpi?: { index?: number | undefined } | undefined;
  rom?: Infer<typeof rom> | undefined;
  boot?: Infer<typeof boot> | undefined;
}

/** Attributes of a virtio device's `<driver>`. */
export const virtioDriverFields = {
  iommu: attr(onOff),
  ats: attr(onOff),
  packed: attr(onOff),
  pagePerVq: attr(onOff, 'page_per_vq'),
};

/** A device's `<driver>` where it has nothing but the virtio options. */
export const virtioDriver = struct(virtioDriverFields);
export type VirtioOptions = Infer<typeof virtioDriver>;

/** A PCI host device's source address, or `vendor/product` parts elsewhere. */
export const pciSourceAddress = struct(pciFields);

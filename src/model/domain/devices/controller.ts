/**
 * `<controller>`: buses of the guest. One table for all types; which attributes and models go with which type is
 * checked by the drivers.
 */
import { attr, child, children, type Infer, required, struct } from '../../schema/schema.ts';
import { sizeKiB } from '../../schema/sizes.ts';
import { hex, integer, oneOf, onOff, text, uint, ulong } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriverFields } from './address.ts';

/** Types of `<controller type='…'>`. */
export const CONTROLLER_TYPES = [
  'ide',
  'fdc',
  'scsi',
  'sata',
  'virtio-serial',
  'ccid',
  'usb',
  'pci',
  'xenbus',
  'isa',
  'nvme',
] as const;

/** The models of each type. A type without any takes no `model`. */
export const CONTROLLER_MODELS = {
  ide: ['piix3', 'piix4', 'ich6'],
  scsi: [
    'auto',
    'buslogic',
    'lsilogic',
    'lsisas1068',
    'vmpvscsi',
    'ibmvscsi',
    'virtio-scsi',
    'lsisas1078',
    'virtio-transitional',
    'virtio-non-transitional',
    'ncr53c90',
    'dc390',
    'am53c974',
  ],
  usb: [
    'piix3-uhci',
    'piix4-uhci',
    'ehci',
    'ich9-ehci1',
    'ich9-uhci1',
    'ich9-uhci2',
    'ich9-uhci3',
    'vt82c686b-uhci',
    'pci-ohci',
    'nec-xhci',
    'qusb1',
    'qusb2',
    'qemu-xhci',
    'none',
  ],
  pci: [
    'pci-root',
    'pcie-root',
    'pci-bridge',
    'dmi-to-pci-bridge',
    'pcie-to-pci-bridge',
    'pcie-root-port',
    'pcie-switch-upstream-port',
    'pcie-switch-downstream-port',
    'pci-expander-bus',
    'pcie-expander-bus',
  ],
  'virtio-serial': ['virtio', 'virtio-transitional', 'virtio-non-transitional'],
} as const;

const controllerModel = oneOf(
  ...CONTROLLER_MODELS.pci,
  ...CONTROLLER_MODELS.usb,
  ...CONTROLLER_MODELS.scsi,
  ...CONTROLLER_MODELS.ide,
  'virtio',
);

/** Implementations of the PCI controller models. */
const pciModelName = oneOf(
  'none',
  'pci-bridge',
  'i82801b11-bridge',
  'ioh3420',
  'x3130-upstream',
  'xio3130-downstream',
  'pxb',
  'pxb-pcie',
  'pcie-root-port',
  'spapr-pci-host-bridge',
  'pcie-pci-bridge',
);

/** 0 to 255; the meaning of 0 and 255 differs between attributes and is checked by the drivers. */
const byte = integer({ max: 0xff });

const target = struct(() => ({
  chassisNr: attr(integer({ min: 1, max: 0xff })),
  chassis: attr(byte),
  port: attr(hex(1, 0xff)),
  busNr: attr(integer({ min: 1, max: 254 })),
  index: attr(integer({ max: 30 })),
  hotplug: attr(onOff),
  /** In KiB. */
  memReserve: attr(ulong),
  node: child(uint),
}));

const iothreadQueue = struct(() => ({ id: required(attr(uint)) }));
const iothread = struct(() => ({
  id: required(attr(integer({ min: 1, max: 0xffff_ffff }))),
  queues: children(iothreadQueue, 'queue'),
}));

const driver = struct(() => ({
  queues: attr(uint),
  cmdPerLun: attr(uint, 'cmd_per_lun'),
  maxSectors: attr(uint, 'max_sectors'),
  ioeventfd: attr(onOff),
  iothread: attr(uint),
  ...virtioDriverFields,
  iothreads: child(struct({ iothreads: children(iothread, 'iothread') })),
}));

export const controller = struct(() => ({
  type: required(attr(oneOf(...CONTROLLER_TYPES))),
  index: attr(uint),
  model: attr(controllerModel),
  ports: attr(uint),
  vectors: attr(uint),
  maxGrantFrames: attr(uint),
  maxEventChannels: attr(uint),
  master: child(struct({ startport: attr(uint) })),
  /** The element `<model name='…'/>` of a PCI controller; the attribute `model` is the abstract kind. */
  modelElement: child(struct({ name: required(attr(pciModelName)) }), 'model'),
  target: child(target),
  serial: child(text),
  driver: child(driver),
  ...deviceInfoFields,
  pcihole64: child(sizeKiB()),
}));
export interface Controller extends Infer<typeof controller> {}

/** `<serial>`, `<parallel>`, `<console>`, `<channel>`: the guest's end; the host's is in `chardev-source.ts`. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { integer, oneOf, text, uint } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';
import { chardevFields, chardevTypeField } from './chardev-source.ts';

/** `target/@type` of a serial port. */
export const SERIAL_TARGETS = [
  'isa-serial',
  'usb-serial',
  'pci-serial',
  'spapr-vio-serial',
  'system-serial',
  'sclp-serial',
  'isa-debug',
] as const;

/** `target/model/@name` of a serial port. */
export const SERIAL_MODELS = [
  'isa-serial',
  'usb-serial',
  'pci-serial',
  'spapr-vty',
  'pl011',
  'sclpconsole',
  'sclplmconsole',
  '16550a',
  'isa-debugcon',
] as const;

/** `target/@type` of a console. */
export const CONSOLE_TARGETS = ['serial', 'xen', 'uml', 'virtio', 'lxc', 'openvz', 'sclp', 'sclplm'] as const;

const port = attr(integer({ max: 0x7fff_ffff }));

const serialTarget = struct(() => ({
  type: attr(oneOf(...SERIAL_TARGETS)),
  port,
  model: child(struct({ name: attr(oneOf(...SERIAL_MODELS)) })),
}));
export const serial = struct(() => ({
  ...chardevTypeField,
  ...chardevFields,
  target: child(serialTarget),
  ...deviceInfoFields,
}));
export interface Serial extends Infer<typeof serial> {}

export const parallel = struct(() => ({
  ...chardevTypeField,
  ...chardevFields,
  target: child(struct({ port })),
  ...deviceInfoFields,
}));
export interface Parallel extends Infer<typeof parallel> {}

export const console = struct(() => ({
  ...chardevTypeField,
  /** Path of the pseudo-terminal of a running guest; ignored in a new definition. */
  tty: attr(text),
  ...chardevFields,
  target: child(struct({ type: attr(oneOf(...CONSOLE_TARGETS)), port })),
  ...deviceInfoFields,
}));
export interface Console extends Infer<typeof console> {}

const channelTarget = struct(() => ({
  type: required(attr(oneOf('guestfwd', 'virtio', 'xen'))),
  /** guestfwd: the address and port in the guest's network. */
  address: attr(text),
  port: attr(uint),
  name: attr(text),
  /** Of a running guest. */
  state: attr(oneOf('connected', 'disconnected')),
}));
export const channel = struct(() => ({
  ...chardevTypeField,
  ...chardevFields,
  target: required(child(channelTarget)),
  ...deviceInfoFields,
}));
export interface Channel extends Infer<typeof channel> {}

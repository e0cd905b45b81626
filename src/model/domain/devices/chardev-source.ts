/**
 * The host end of a character device: shared by serial ports, consoles, channels, smart cards, redirected USB
 * devices, and the sockets of other devices (rng, TPM, vhost-user). What the guest sees is in their own files.
 */
import { attr, child, children, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, onOff, text, uint, yesNo } from '../../schema/values.ts';
import { deviceSeclabel } from '../seclabel.ts';

/** Every kind of host end that libvirt's format has. */
export const CHARDEV_TYPES = [
  'null',
  'vc',
  'pty',
  'dev',
  'file',
  'pipe',
  'stdio',
  'udp',
  'tcp',
  'unix',
  'spicevmc',
  'spiceport',
  'nmdm',
  'qemu-vdagent',
  'dbus',
] as const;
export type ChardevType = (typeof CHARDEV_TYPES)[number];

/** `<reconnect enabled= timeout=/>`; the timeout is in seconds. */
export const reconnect = struct(() => ({ enabled: required(attr(yesNo)), timeout: attr(uint) }));

const source = struct(() => ({
  mode: attr(oneOf('connect', 'bind')),
  path: attr(text),
  host: attr(text),
  service: attr(text),
  channel: attr(text),
  master: attr(text),
  slave: attr(text),
  append: attr(onOff),
  tls: attr(yesNo),
  reconnect: child(reconnect),
  seclabels: children(deviceSeclabel, 'seclabel'),
  clipboard: child(struct({ copypaste: required(attr(yesNo)) })),
  mouse: child(struct({ mode: required(attr(oneOf('server', 'client'))) })),
}));
export type ChardevSourceElement = Infer<typeof source>;

const protocol = struct(() => ({ type: attr(oneOf('raw', 'telnet', 'telnets', 'tls')) }));
const log = struct(() => ({ file: required(attr(text)), append: attr(onOff) }));

/** What stands inside a device with a host end; UDP alone has two sources (bind, connect). Spread it. */
export const chardevFields = {
  sources: children(source, 'source'),
  protocol: child(protocol),
  log: child(log),
};

/** `type` of a device with a host end. Spread it among the attributes. */
export const chardevTypeField = { type: attr(oneOf(...CHARDEV_TYPES)) };

const chardevSource = struct(() => ({ ...chardevTypeField, ...chardevFields }));
/** The host end of a character device, wherever it is declared. */
export interface ChardevSource extends Infer<typeof chardevSource> {}

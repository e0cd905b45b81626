/**
 * `<os>`: what boots and how: machine type, firmware, direct kernel boot, boot order, and what containers run.
 * Which firmware a guest gets is decided in the QEMU driver.
 */
import { attr, child, children, content, type Infer, lazy, required, struct } from '../schema/schema.ts';
import { integer, oneOf, text, yesNo } from '../schema/values.ts';
import { storageSource } from './devices/storage-source.ts';

const osType = struct(() => ({
  arch: attr(text),
  machine: attr(text),
  value: content(oneOf('hvm', 'xen', 'xenpvh', 'linux', 'exe', 'uml')),
}));

const firmwareFeature = struct(() => ({
  enabled: required(attr(yesNo)),
  name: required(attr(oneOf('enrolled-keys', 'secure-boot'))),
}));
const firmwareFeatures = struct(() => ({ features: children(firmwareFeature, 'feature') }));

const loader = struct(() => ({
  readonly: attr(yesNo),
  secure: attr(yesNo),
  type: attr(oneOf('rom', 'pflash')),
  stateless: attr(yesNo),
  format: attr(oneOf('raw', 'qcow2')),
  value: content(text),
}));
export interface Loader extends Infer<typeof loader> {}

const nvram = struct(() => ({
  template: attr(text),
  templateFormat: attr(oneOf('raw', 'qcow2')),
  type: attr(oneOf('file', 'block', 'network')),
  format: attr(oneOf('raw', 'qcow2')),
  source: child(lazy(() => storageSource)),
  value: content(text),
}));
/** Where a guest's UEFI variables are: a path as `value`, or a typed `source`. */
export interface OsNvram extends Infer<typeof nvram> {}

const bootmenu = struct(() => ({ enable: attr(yesNo), timeout: attr(integer({ max: 0xffff })) }));
const bios = struct(() => ({ useserial: attr(yesNo), rebootTimeout: attr(integer({ min: -1, max: 0xffff })) }));
const acpiTable = struct(() => ({
  type: required(attr(oneOf('raw', 'rawset', 'slic', 'msdm'))),
  value: content(text),
}));
const initenv = struct(() => ({ name: required(attr(text)), value: content(text) }));

/** Devices that `<boot dev='…'/>` names. */
export const BOOT_DEVICES = ['fd', 'hd', 'cdrom', 'network'] as const;

export const os = struct(() => ({
  firmware: attr(oneOf('bios', 'efi')),
  type: child(osType),
  firmwareFeatures: child(firmwareFeatures, 'firmware'),
  init: child(text),
  initargs: children(text, 'initarg'),
  initenvs: children(initenv, 'initenv'),
  initdir: child(text),
  inituser: child(text),
  initgroup: child(text),
  loader: child(loader),
  nvram: child(nvram),
  kernel: child(text),
  initrd: child(text),
  cmdline: child(text),
  dtb: child(text),
  shim: child(text),
  root: child(text),
  acpi: child(struct({ tables: children(acpiTable, 'table') })),
  boots: children(struct({ dev: required(attr(oneOf(...BOOT_DEVICES))) }), 'boot'),
  bootmenu: child(bootmenu),
  bios: child(bios),
  smbios: child(struct({ mode: attr(oneOf('emulate', 'host', 'sysinfo')) })),
}));
export interface Os extends Infer<typeof os> {}

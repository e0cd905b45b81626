/** Refuses host devices that libvirt or QEMU does not take. */
import type { Hostdev, HostdevAddress } from '../../../../model/domain/devices/hostdev.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { hasDevice, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { validateRom } from '../rom.ts';
import { scsiControllerModel } from './plan-scsi.ts';

/** Units that one LSI target bus has. */
const LSI_UNIT_MAX = 7;

export function validateHostdev(device: Hostdev, context: DomainContext): void {
  if (device.mode === 'capabilities') {
    fault(context, device, "QEMU takes no hostdev of mode 'capabilities'", '@mode');
    return;
  }
  if (device.type !== 'scsi' && device.rawio !== undefined) {
    fault(context, device, "'rawio' is only for host devices of type 'scsi'", '@rawio');
  }
  if (device.type !== 'scsi' && device.sgio !== undefined) {
    fault(context, device, "'sgio' is only for host devices of type 'scsi'", '@sgio');
  }
  if (device.type !== 'usb' && device.source.startupPolicy !== undefined) {
    fault(context, device, 'startupPolicy is for USB host devices only', 'source/@startupPolicy');
  }
  if (device.teaming !== undefined) validateTeaming(device, context);
  validateRom(device, context);
  VALIDATORS[device.type]?.(device, context);
  validateUnique(device, context);
}

const VALIDATORS: Partial<Record<Hostdev['type'], (device: Hostdev, context: DomainContext) => void>> = {
  pci: validatePci,
  usb: validateUsb,
  scsi: validateScsi,
  scsi_host: validateVhostScsi,
  mdev: validateMdev,
};

/** Refuses a PCI source that is no address, for `<hostdev>` and for interfaces of type hostdev. */
export function validatePciSource(where: object, address: HostdevAddress | undefined, context: DomainContext): void {
  if (address?.slot === undefined && address?.bus === undefined) {
    fault(context, where, 'a PCI host device needs <source><address domain= bus= slot= function=/></source>', 'source');
    return;
  }
  const { domain = 0, bus = 0, slot = 0, function: unit = 0 } = address;
  const limits = [
    ['domain', domain, 0xffff_ffff],
    ['bus', bus, 0xff],
    ['slot', slot, 0x1f],
    ['function', unit, 7],
  ] as const;
  for (const [name, value, max] of limits) {
    const words = `PCI ${name} 0x${value.toString(16)} is above 0x${max.toString(16)}`;
    if (value > max) fault(context, where, words, `source/address/@${name}`);
  }
  if (domain === 0 && bus === 0 && slot === 0) {
    fault(context, where, "the host's PCI device 0000:00:00 is its root; name another", 'source/address');
  }
}

function validatePci(device: Hostdev, context: DomainContext): void {
  validatePciSource(device, device.source.address, context);
  const name = device.driver?.name;
  if (name === 'kvm' || name === 'xen') {
    fault(context, device, `QEMU has no PCI assignment of kind '${name}'; use 'vfio'`, 'driver/@name');
  }
  if (device.source.writeFiltering !== undefined) {
    fault(context, device, 'QEMU does not filter writes to the configuration space', 'source/@writeFiltering');
  }
  if (!hasDevice(context.caps, 'vfio-pci')) fault(context, device, "this QEMU has no device 'vfio-pci'");
  validateDisplay(device, context);
}

function validateUsb(device: Hostdev, context: DomainContext): void {
  const { address, vendor, product, guestReset } = device.source;
  const named = address?.bus !== undefined && address.device !== undefined;
  if (!named && (vendor === undefined || product === undefined)) {
    fault(context, device, 'a USB host device needs a vendor and product, or an address with bus and device', 'source');
  }
  if (guestReset !== undefined && !hasProperty(context.caps, 'usb-host', 'guest-reset')) {
    fault(context, device, "this QEMU's usb-host has no 'guest-reset'", 'source/@guestReset');
  }
}

function validateScsi(device: Hostdev, context: DomainContext): void {
  const { source } = device;
  if (source.protocol === 'iscsi') {
    if (source.name === undefined) fault(context, device, "an iSCSI source needs 'name'", 'source');
    else if (!/^[^/]+(?:\/\d+)?$/.test(source.name)) {
      fault(context, device, `iSCSI target '${source.name}' does not end with /LUN, a number`, 'source/@name');
    }
    if (source.hosts.length !== 1) fault(context, device, 'an iSCSI source needs one <host>', 'source/host');
  } else if (source.adapter === undefined || source.address === undefined) {
    fault(context, device, 'a SCSI host device needs <adapter name=> and <address bus= target= unit=>', 'source');
  }
  if (device.sgio === 'unfiltered') fault(context, device, "kernels no longer have sgio='unfiltered'", '@sgio');
  const secret = source.auth?.secret.type ?? 'iscsi';
  if (secret !== 'iscsi') {
    fault(
      context,
      device,
      `an iSCSI source takes secrets of type 'iscsi', not '${secret}'`,
      'source/auth/secret/@type',
    );
  }
  const { address } = device;
  if (address === undefined) return;
  if (address.type !== 'drive') {
    fault(context, device, `a SCSI host device takes a drive address, not '${address.type}'`, 'address');
  } else if (scsiControllerModel(device, context.domain) === 'lsilogic') {
    if ((address.target ?? 0) !== 0) fault(context, device, 'the lsilogic controller takes target 0 only', 'address');
    if ((address.unit ?? 0) > LSI_UNIT_MAX) {
      fault(context, device, `the lsilogic controller takes units up to ${LSI_UNIT_MAX}`, 'address');
    }
  }
}

function validateVhostScsi(device: Hostdev, context: DomainContext): void {
  const { protocol, wwpn } = device.source;
  if (protocol !== 'vhost') fault(context, device, "a scsi_host device needs protocol='vhost'", 'source/@protocol');
  if (wwpn === undefined || !/^naa\.[0-9a-fA-F]{16}$/.test(wwpn)) {
    fault(context, device, `'${wwpn ?? ''}' is not a WWPN (naa. and 16 hexadecimal digits)`, 'source/@wwpn');
  }
  if (device.boot !== undefined) {
    fault(context, device, 'guests cannot boot from vhost-scsi targets; leave <boot> out', 'boot');
  }
}

/** Address type that each kind of mediated device takes in the guest; an AP matrix takes none. */
const MDEV_ADDRESS: Readonly<Partial<Record<string, string>>> = { 'vfio-pci': 'pci', 'vfio-ccw': 'ccw' };

function validateMdev(device: Hostdev, context: DomainContext): void {
  const { model, address } = device;
  if (model === undefined || !model.startsWith('vfio-')) {
    fault(context, device, "a mediated device needs model='vfio-pci', 'vfio-ccw' or 'vfio-ap'", '@model');
    return;
  }
  if (device.source.address?.uuid === undefined) {
    fault(context, device, "a mediated device needs <source><address uuid='…'/></source>", 'source');
  }
  if (address !== undefined && address.type !== 'unassigned' && address.type !== MDEV_ADDRESS[model]) {
    fault(context, device, `a mediated device of model '${model}' takes no ${address.type} address`, 'address');
  }
  if (!hasDevice(context.caps, model)) fault(context, device, `this QEMU has no device '${model}'`, '@model');
  if (model !== 'vfio-pci' && (device.display !== undefined || device.ramfb !== undefined)) {
    fault(context, device, "'display' and 'ramfb' are only for model 'vfio-pci'", '@display');
  }
  const same = hostdevsOf(context.domain).filter((other) => other.type === 'mdev' && other.model === 'vfio-ap');
  if (model === 'vfio-ap' && same[0] !== device) fault(context, device, 'a guest takes one vfio-ap device only');
  validateDisplay(device, context);
}

function validateDisplay(device: Hostdev, context: DomainContext): void {
  const { domain } = context;
  if (device.display === true && (domain.devices?.graphics ?? []).length === 0) {
    fault(context, device, "display='on' needs a <graphics> device to show it", '@display');
  }
  if (device.ramfb !== true) return;
  if (hostdevsOf(domain).find(({ ramfb }) => ramfb === true) !== device) {
    fault(context, device, "only one host device can have ramfb='on'", '@ramfb');
  }
  if (!hasDevice(context.caps, 'vfio-pci-nohotplug')) {
    fault(context, device, "this QEMU has no frame buffer for host devices ('ramfb')", '@ramfb');
  }
}

function validateTeaming(device: Hostdev, context: DomainContext): void {
  if (device.type !== 'pci') fault(context, device, 'teaming is only for PCI host devices', 'teaming');
  if (device.teaming?.type === 'transient' && device.teaming.persistent === undefined) {
    fault(context, device, "teaming type 'transient' needs 'persistent', the other device's alias", 'teaming');
  }
  if (device.teaming?.type === 'persistent') {
    fault(context, device, "a host device is the 'transient' half of a team", 'teaming/@type');
  }
}

function validateUnique(device: Hostdev, context: DomainContext): void {
  const key = identityOf(device);
  if (key === undefined) return;
  const earlier = sourcesOf(context.domain).find((other) => identityOf(other) === key);
  if (earlier !== undefined && earlier.source !== device.source) {
    fault(context, device, `the domain has this host device already (${key})`, 'source');
  }
}

type Sourced = Pick<Hostdev, 'type' | 'source'>;

/** All host devices, those in the guise of interfaces first. */
function sourcesOf(domain: Domain): Sourced[] {
  const interfaces = (domain.devices?.interfaces ?? []).filter(({ type }) => type === 'hostdev');
  const disguised = interfaces.map(
    ({ source }): Sourced => ({ type: 'pci', source: { hosts: [], address: source?.hostAddress } }),
  );
  return [...disguised, ...hostdevsOf(domain)];
}

function hostdevsOf(domain: Domain): Hostdev[] {
  return domain.devices?.hostdevs ?? [];
}

/** What makes two host devices the same one. */
function identityOf({ type, source }: Sourced): string | undefined {
  const { address } = source;
  switch (type) {
    case 'pci':
      return address && `PCI ${address.domain ?? 0}:${address.bus ?? 0}:${address.slot ?? 0}.${address.function ?? 0}`;
    case 'usb':
      if (address?.bus !== undefined) return `USB bus ${address.bus} device ${address.device ?? 0}`;
      return source.vendor && `USB ${source.vendor.id}:${source.product?.id ?? 0}`;
    case 'scsi':
      if (source.protocol === 'iscsi') return `iSCSI ${source.hosts[0]?.name ?? ''} ${source.name ?? ''}`;
      return `SCSI ${source.adapter?.name ?? ''} ${address?.bus ?? 0}:${address?.target ?? 0}:${address?.unit ?? 0}`;
    case 'scsi_host':
      return source.wwpn;
    case 'mdev':
      return address?.uuid && `mdev ${address.uuid}`;
    default:
      return undefined;
  }
}

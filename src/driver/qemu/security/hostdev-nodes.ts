/** Device nodes of the host's devices that a guest is given, as sysfs tells them. Reads only; what is not there has none. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Hostdev, HostdevAddress } from '../../../model/domain/devices/hostdev.ts';

export function hostdevNodes({ type, source }: Hostdev, sys = '/sys'): string[] {
  const { address } = source;
  switch (type) {
    case 'pci':
      return address === undefined ? [] : vfioGroup(`${sys}/bus/pci/devices/${pciName(address)}`);
    case 'mdev':
      return vfioGroup(`${sys}/bus/mdev/devices/${address?.uuid ?? ''}`);
    case 'usb':
      return usbNodes(source, sys);
    case 'scsi':
      return scsiNodes(source, sys);
    default:
      return [];
  }
}

function pciName({ domain = 0, bus = 0, slot = 0, function: number = 0 }: HostdevAddress): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(slot, 2)}.${hex(number, 1)}`;
}

function vfioGroup(device: string): string[] {
  try {
    return [`/dev/vfio/${basename(readlinkSync(join(device, 'iommu_group')))}`];
  } catch {
    // No such device, or no IOMMU: QEMU says which.
    return [];
  }
}

function usbNodes({ address, vendor, product }: Hostdev['source'], sys: string): string[] {
  const three = (value: number): string => String(value).padStart(3, '0');
  if (address?.bus !== undefined && address.device !== undefined) {
    return [`/dev/bus/usb/${three(address.bus)}/${three(address.device)}`];
  }
  if (vendor === undefined || product === undefined) return [];
  const devices = `${sys}/bus/usb/devices`;
  if (!existsSync(devices)) return [];
  return readdirSync(devices).flatMap((name) => {
    const read = (file: string): string => readOrEmpty(join(devices, name, file));
    if (Number.parseInt(read('idVendor'), 16) !== vendor.id || Number.parseInt(read('idProduct'), 16) !== product.id) {
      return [];
    }
    return [`/dev/bus/usb/${three(Number(read('busnum')))}/${three(Number(read('devnum')))}`];
  });
}

function scsiNodes({ adapter, address }: Hostdev['source'], sys: string): string[] {
  const host = /^scsi_host(\d+)$/.exec(adapter?.name ?? '')?.[1];
  if (host === undefined || address === undefined) return [];
  const { bus = 0, target = 0, unit = 0n } = address;
  const generic = `${sys}/bus/scsi/devices/${host}:${bus}:${target}:${unit}/scsi_generic`;
  return existsSync(generic) ? readdirSync(generic).map((name) => `/dev/${name}`) : [];
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    // Interfaces have no such files.
    return '';
  }
}

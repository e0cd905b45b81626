/**
 * One device as XML: read as a definition's, put into one, found in one again. Which device an XML means when it is to be changed or
 * removed follows libvirt: disks by target, interfaces by MAC, everything else by all that the XML says.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { memberOf } from '../core/members.ts';
import { type DeviceInfo } from '../model/domain/devices/address.ts';
import { type Devices } from '../model/domain/devices/devices.ts';
import { devicesOf } from '../model/domain/devices/devices-of.ts';
import { type Domain, parseDomain } from '../model/domain/domain.ts';
import { parseXml } from '../xml/parse.ts';

/** A device with the list of `<devices>` that it belongs to. */
export interface SingleDevice {
  /** Element name: `disk`. */
  readonly name: string;
  readonly list: keyof Devices;
  readonly device: DeviceInfo;
}

/** @throws XmlSyntaxError, DefinitionError, VirtError XML_ERROR for what is no device */
export function parseDevice(xml: string, type: Domain['type']): SingleDevice {
  const { root } = parseXml(xml);
  const { domain } = parseDomain(`<domain type='${type ?? 'qemu'}'><devices>${xml}</devices></domain>`);
  for (const [list, value] of Object.entries(domain.devices ?? {})) {
    const devices: unknown[] = Array.isArray(value) ? value : [value];
    const [device] = devices;
    if (typeof device === 'object' && device !== null) {
      return { name: root.name, list: list as keyof Devices, device };
    }
  }
  throw new VirtError(`unknown device type '${root.name}'`, { code: ErrorCode.XML_ERROR, domain: ErrorDomain.DOMAIN });
}

/** Puts a device behind the others of its kind. @throws VirtError where there can be one only */
export function addDevice(domain: Domain, { list, name, device }: SingleDevice): void {
  const devices = devicesOf(domain);
  const all: unknown = devices[list];
  if (Array.isArray(all)) {
    all.push(device);
    return;
  }
  if (all !== undefined) {
    throw new VirtError(`domain has a ${name} already`, {
      code: ErrorCode.OPERATION_INVALID,
      domain: ErrorDomain.QEMU,
    });
  }
  Object.assign(devices, { [list]: device });
}

export function removeDevice(domain: Domain, list: keyof Devices, device: DeviceInfo): void {
  const devices = devicesOf(domain);
  const all: unknown = devices[list];
  if (Array.isArray(all)) all.splice(all.indexOf(device), 1);
  else Reflect.deleteProperty(devices, list);
}

/** The device of a definition that an XML means. @throws VirtError DEVICE_MISSING, or OPERATION_FAILED where several could be meant */
export function findDevice(domain: Domain, wanted: SingleDevice): DeviceInfo {
  const all = listOf(domain, wanted.list);
  const found = all.filter((candidate) => isMeant(wanted, candidate));
  if (found.length > 1) {
    throw new VirtError(`multiple ${wanted.name} devices match: give its address or alias too`, {
      code: ErrorCode.OPERATION_FAILED,
      domain: ErrorDomain.QEMU,
    });
  }
  const [device] = found;
  if (device !== undefined) return device;
  throw missing(`no ${wanted.name} matches the given XML`);
}

/** By alias, whatever it is. @throws VirtError DEVICE_MISSING */
export function findByAlias(domain: Domain, alias: string): { list: keyof Devices; device: DeviceInfo } {
  for (const list of Object.keys(devicesOf(domain)) as (keyof Devices)[]) {
    const device = listOf(domain, list).find((candidate) => candidate.alias?.name === alias);
    if (device !== undefined) return { list, device };
  }
  throw missing(`no device found with alias '${alias}'`);
}

function listOf(domain: Domain, list: keyof Devices): DeviceInfo[] {
  const value: unknown = devicesOf(domain)[list];
  const all: unknown[] = Array.isArray(value) ? value : [value];
  return all.filter((one): one is DeviceInfo => typeof one === 'object' && one !== null);
}

function isMeant({ list, device }: SingleDevice, candidate: DeviceInfo): boolean {
  const { alias } = device;
  if (alias?.name !== undefined && candidate.alias?.name !== undefined) return alias.name === candidate.alias.name;
  if (list === 'disks') return memberOf(device, 'target', 'dev') === memberOf(candidate, 'target', 'dev');
  if (list === 'interfaces' && memberOf(device, 'mac', 'address') !== undefined) {
    const same = String(memberOf(device, 'mac', 'address')).toLowerCase();
    if (same !== String(memberOf(candidate, 'mac', 'address')).toLowerCase()) return false;
    return device.address === undefined || contains(candidate.address, device.address);
  }
  return contains(candidate, device);
}

/** Everything that `part` says, `whole` says too. Empty lists say nothing. */
function contains(whole: unknown, part: unknown): boolean {
  if (part === undefined) return true;
  if (Array.isArray(part)) {
    return part.every((item, index) => contains(Array.isArray(whole) ? whole[index] : undefined, item));
  }
  if (typeof part !== 'object' || part === null) return whole === part;
  if (typeof whole !== 'object' || whole === null) return Object.keys(part).length === 0;
  return Object.entries(part).every(([key, value]) => contains(Reflect.get(whole, key), value));
}

function missing(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.DEVICE_MISSING, domain: ErrorDomain.QEMU });
}

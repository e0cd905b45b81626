/**
 * Names of devices, which are QEMU's ids: libvirt's own scheme, kept unique; names that the user chose (`ua-…`) stay.
 * How each kind is named is its family's.
 */
import type { DeviceInfo } from '../../model/domain/devices/address.ts';
import { type DomainContext, fault } from './context.ts';
import { FAMILIES } from './devices/families.ts';
import type { DeviceFamily } from './devices/family.ts';

/** Names that a user may choose; libvirt passes over others in silence. */
const USER_ALIAS = /^ua-[A-Za-z0-9_-]*$/;

/** Sets `alias.name` of every device. */
export function assignAliases(context: DomainContext): void {
  // First, because some kinds count on from the names that are there.
  const seen = new Set<string>();
  for (const family of FAMILIES) keepUserAliases(family, context, seen);
  for (const family of FAMILIES) {
    family.select(context.domain).forEach((device, index) => {
      device.alias ??= { name: family.alias(device, index, context) };
    });
  }
}

/** Forgets names that are not the user's: those of an earlier start, or of another hypervisor. */
function keepUserAliases(family: DeviceFamily<DeviceInfo>, context: DomainContext, seen: Set<string>): void {
  for (const device of family.select(context.domain)) {
    const name = device.alias?.name;
    if (name === undefined) continue;
    if (!USER_ALIAS.test(name)) {
      delete device.alias;
      continue;
    }
    // The first console may be the first serial port under its other name.
    if (seen.has(name) && family.name !== 'console') {
      fault(context, device, `the alias '${name}' is another device's: each needs its own`, 'alias/@name');
    }
    seen.add(name);
  }
}

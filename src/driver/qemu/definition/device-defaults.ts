/** Runs the families' `fillDefaults` once per device, in libvirt's order. */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { DomainContext } from '../context.ts';
import { FAMILIES } from '../devices/families.ts';

/** Fills in the defaults of every device that was not given any yet. @param done devices that have been. */
export function fillDeviceDefaults(context: DomainContext, done: WeakSet<DeviceInfo>): void {
  for (const family of FAMILIES) {
    if (family.fillDefaults === undefined) continue;
    for (const device of Array.from(family.select(context.domain))) {
      if (done.has(device)) continue;
      done.add(device);
      family.fillDefaults(device, context);
    }
  }
}

/**
 * From a parsed definition to one that says everything: defaults, implied devices and controllers, addresses; then
 * its validation. The order of steps is libvirt's, because later ones look at what earlier ones filled in.
 */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { assignAddresses, assignCcidSlots } from '../addresses/assign.ts';
import { validateDriveAddresses } from '../addresses/drive.ts';
import type { DomainContext } from '../context.ts';
import { FAMILIES } from '../devices/families.ts';
import { normalizeControllers } from './controller-list.ts';
import { addImpliedControllers } from './controllers.ts';
import { fillDeviceDefaults } from './device-defaults.ts';
import { addDefaultDevices, addDefaultVideo } from './implicit-devices.ts';
import { DEFAULT_STEPS, LATE_DEFAULT_STEPS, VALIDATION_STEPS } from './steps.ts';

/** Completes `context.domain` in place; faults are gathered in the context. */
export function completeDefinition(context: DomainContext): void {
  devicesOf(context.domain);
  const done = new WeakSet<DeviceInfo>();
  normalizeControllers(context.domain);
  for (const step of DEFAULT_STEPS) step(context);
  addDefaultDevices(context);
  fillDeviceDefaults(context, done);
  assignCcidSlots(context);
  addImpliedControllers(context);
  addDefaultVideo(context);
  for (const step of LATE_DEFAULT_STEPS) step(context);
  // Again for the devices that the steps since then have added; filled in ones do not change.
  fillDeviceDefaults(context, done);
  assignAddresses(context);
}

/** Reports everything in a completed definition that QEMU, or libvirt for QEMU, does not accept. */
export function validateDefinition(context: DomainContext): void {
  for (const step of VALIDATION_STEPS) step(context);
  for (const family of FAMILIES) {
    if (family.validate === undefined) continue;
    for (const device of family.select(context.domain)) family.validate(device, context);
  }
  validateDriveAddresses(context);
}

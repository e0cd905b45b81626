/**
 * The sections that are about the machine as a whole, in libvirt's order, so that who plans a guest need not know
 * each of them. Memory, processors, devices and tuning have their own.
 */
import type { DomainContext, PlanContext } from '../context.ts';
import { validateFirmware } from '../definition/firmware-validate.ts';
import type { Part } from '../plan/parts.ts';
import { planAccel, validateAccel } from './accel.ts';
import { planBoot, validateBoot } from './boot.ts';
import { planClock, validateClock } from './clock.ts';
import { planFeatures, validateFeatures } from './features.ts';
import { planFirmware } from './firmware.ts';
import { planLaunchSecurity, validateLaunchSecurity } from './launch-security.ts';
import { planMachine, validateMachine } from './machine.ts';
import { planGenid, planName, planUuid, validateName } from './name.ts';
import { planLifecycle, planPowerManagement, validateLifecycle } from './pm.ts';
import { planDeprecation, planMessages, planNoDefaults, planSandbox, validateProcess } from './process.ts';
import { planQemuCommandline, validateQemuCommandline } from './qemu-commandline.ts';
import { validateSeclabels } from './seclabel.ts';
import { planSysinfo, validateSysinfo } from './sysinfo.ts';

/** What comes before processors, memory and devices. */
export function planMachineStart(context: PlanContext): Part[] {
  return [planName, planDeprecation, planFirmware, planMachine, planAccel].flatMap((plan) => plan(context));
}

/** What comes after processors and memory, and before devices. */
export function planMachineMiddle(context: PlanContext): Part[] {
  return [
    ...planUuid(context),
    ...planGenid(context),
    ...planSysinfo(context),
    ...planNoDefaults(),
    ...planClock(context),
    ...planLifecycle(context),
    ...planPowerManagement(context),
    ...planBoot(context),
    ...planFeatures(context),
  ];
}

/** What comes after devices; the user's own arguments are the very last. */
export function planMachineEnd(context: PlanContext): Part[] {
  return [planLaunchSecurity, planSandbox, planMessages, planQemuCommandline].flatMap((plan) => plan(context));
}

/** Everything about the machine as a whole that is refused. Runs on the completed definition. */
export function validateMachineLevel(context: DomainContext): void {
  for (const validate of VALIDATIONS) validate(context);
}

const VALIDATIONS: readonly ((context: DomainContext) => void)[] = [
  validateName,
  validateAccel,
  validateMachine,
  validateFirmware,
  validateBoot,
  validateFeatures,
  validateClock,
  validateLifecycle,
  validateSysinfo,
  validateLaunchSecurity,
  validateSeclabels,
  validateProcess,
  validateQemuCommandline,
];

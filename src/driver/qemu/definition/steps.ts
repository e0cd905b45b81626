/** The whole-guest steps of completing and validating a definition, in order. Devices have theirs in their families. */
import type { DomainContext } from '../context.ts';
import { fillAudioDefaults, validateAudio } from '../devices/audio/index.ts';
import { validateControllerList } from '../devices/controller/validate-list.ts';
import { fillGraphicsDefaults, validateGraphics } from '../devices/graphics/index.ts';
import { fillDisksOrder } from '../sections/disks.ts';
import { validateMachineLevel } from '../sections/machine-level.ts';
import { fillResourceDefaults, validateResources } from '../sections/resources.ts';
import { validateSeclabels } from '../sections/seclabel.ts';
import { validateThrottleGroups } from '../sections/throttle-groups.ts';
import { fillConsoleDefaults } from './console-defaults.ts';
import { fillMachineDefaults } from './machine-defaults.ts';

type Step = (context: DomainContext) => void;

/** Before any device: what they depend on. */
export const DEFAULT_STEPS: readonly Step[] = [
  fillDisksOrder,
  fillMachineDefaults,
  fillResourceDefaults,
  fillConsoleDefaults,
  fillGraphicsDefaults,
];

/** Once the devices that the definition names, or implies, are there. */
export const LATE_DEFAULT_STEPS: readonly Step[] = [fillAudioDefaults];

export const VALIDATION_STEPS: readonly Step[] = [
  validateMachineLevel,
  validateResources,
  validateControllerList,
  validateThrottleGroups,
  validateSeclabels,
  validateAudio,
  validateGraphics,
];

/** The whole-guest sections of a plan, in the order in which QEMU meets them; devices come in between. */
import type { PlanContext } from '../context.ts';
import { planAudio } from '../devices/audio/index.ts';
import { planGraphics } from '../devices/graphics/index.ts';
import { planMachineEnd, planMachineMiddle, planMachineStart } from '../sections/machine-level.ts';
import { planMasterKey, planMonitor } from '../sections/monitor.ts';
import { planResources } from '../sections/resources.ts';
import { planThrottleGroups } from '../sections/throttle-groups.ts';
import type { Part } from './parts.ts';

type Section = (context: PlanContext) => Part[];

/** Before the devices. */
export const SECTIONS: readonly Section[] = [
  planMachineStart,
  planResources,
  planThrottleGroups,
  planMachineMiddle,
  planAudio,
  planGraphics,
];

/**
 * How the embedding program reaches QEMU. Planned last, so that the guest's own descriptors have the numbers they have
 * in every plan; placed first, because secrets refer to the master key.
 */
export const FIRST_SECTIONS: readonly Section[] = [planMonitor, planMasterKey];

/** After the devices. The user's own arguments are the last word. */
export const LAST_SECTIONS: readonly Section[] = [planMachineEnd];

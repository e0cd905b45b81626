/** `<throttlegroups>`: one object per group, which the throttle filters of disks refer to. */
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { hasLimits, limitsProblem, planThrottleGroup } from '../devices/disk/throttle.ts';
import type { Part } from '../plan/parts.ts';

export function planThrottleGroups(context: PlanContext): Part[] {
  return (context.domain.throttleGroups?.throttlegroups ?? []).map(planThrottleGroup);
}

export function validateThrottleGroups(context: DomainContext): void {
  const seen = new Set<string>();
  for (const group of context.domain.throttleGroups?.throttlegroups ?? []) {
    const name = group.groupName;
    if (name === undefined) fault(context, group, 'a throttle group needs a <group_name>', 'group_name');
    else if (seen.has(name)) fault(context, group, `throttle group '${name}' is defined twice`, 'group_name');
    else seen.add(name);
    const problem = limitsProblem(group);
    if (problem !== undefined) fault(context, group, problem);
    if (!hasLimits(group)) fault(context, group, 'a throttle group needs at least one limit');
  }
}

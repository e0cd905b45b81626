/** The cgroup of a container that a user without root starts: where that user may make one, with what limits it can have. */
import { CgroupError } from '../../../cgroup/action.ts';
import type { CgroupHost } from '../../../cgroup/host.ts';
import type { GuestCgroups } from '../../../guest/cgroups/guest-cgroups.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { ContainerCgroup } from '../plan/container-cgroup.ts';
import type { Person } from '../plan/person.ts';
import { goesWithoutLimits, withinGroup, withoutGroup } from '../plan/person-limits.ts';

/** `make`: makes the group, or with `hasGroup` false what stands for none. */
export type MakeGroups = (wanted: ContainerCgroup, hasGroup?: boolean) => Promise<GuestCgroups>;

/** Limits that nobody asked for do not keep it from starting. @throws VirtError, CgroupError for those that somebody did */
export async function makePersonGroups(
  domain: Domain,
  person: Person,
  planned: ContainerCgroup,
  { make, host }: { readonly make: MakeGroups; readonly host: CgroupHost },
): Promise<GuestCgroups> {
  const mayMake = host.hierarchies.some(({ writable, ownDirectory }) => writable && ownDirectory !== undefined);
  if (!mayMake) return await make(withoutGroup(domain, person, planned), false);
  try {
    return await make(withinGroup(planned));
  } catch (error) {
    if (!(error instanceof CgroupError) || !goesWithoutLimits(domain)) throw error;
    const notes = [`memory and processes are not limited: ${error.message}`];
    return await make({ tuning: {}, notes, memoryNotes: [] });
  }
}

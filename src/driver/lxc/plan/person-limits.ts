/**
 * Limits of a container that a user without rights starts: the kernel keeps them in cgroups, and a user has such only where root, or systemd, has
 * given it some. What the definition asks for is kept or refused; what every container gets besides is left out where it must be. Pure.
 */
import type { Domain } from '../../../model/domain/domain.ts';
import type { ContainerCgroup } from './container-cgroup.ts';
import { refuse } from './container-context.ts';
import { AS_ROOT, type Person } from './person.ts';

/** Elements that ask for limits; memory and processes of every container are limited besides. */
function explicitLimits({ memtune, cputune, blkiotune, numatune, vcpu, resource }: Domain): string[] {
  const asked = {
    memtune,
    cputune,
    blkiotune,
    numatune: numatune?.memory?.nodeset,
    'vcpu cpuset=…': vcpu?.cpuset,
    resource: resource?.partition,
  };
  return Object.entries(asked).flatMap(([name, value]) => (value === undefined ? [] : [`<${name}>`]));
}

/** Whether its definition says nothing that only a group could keep. */
export function goesWithoutLimits(domain: Domain): boolean {
  return explicitLimits(domain).length === 0;
}

/** It has no group. @throws VirtError CONFIG_UNSUPPORTED where it asks for limits */
export function withoutGroup(domain: Domain, { name, uid }: Person, { notes }: ContainerCgroup): ContainerCgroup {
  const asked = explicitLimits(domain);
  if (asked.length > 0) {
    refuse(
      `${asked.join(', ')}: limits are kept in a cgroup, and user ${name ?? uid} may make none here: start it below ` +
        `'systemd-run --user --scope -p Delegate=yes', or ${AS_ROOT}`,
    );
  }
  const unlimited = 'memory and processes are not limited: this user may make no cgroup here';
  return { tuning: {}, notes: [...notes, unlimited], memoryNotes: [] };
}

/** In a group of the user's own. Nodes need no rules: it can neither make nor open any that the user could not open. */
export function withinGroup({ tuning, ...told }: ContainerCgroup): ContainerCgroup {
  const { devices: _devices, ...kept } = tuning;
  return { tuning: kept, ...told };
}

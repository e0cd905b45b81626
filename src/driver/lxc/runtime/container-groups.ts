/** The groups of one container: its own, those that its init may make groups in, and where its processes join them. */
import { type CgroupHost, type CgroupPlace, v1Hierarchy } from '../../../cgroup/host.ts';
import { machineGroupName } from '../../../cgroup/layout.ts';
import type { DisposalStack } from '../../../core/dispose.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { GuestCgroups } from '../../../guest/cgroups/guest-cgroups.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import {
  guardedControllers,
  type InitGroupsPlan,
  makeInitGroups,
  planInitGroups,
  showLimits,
} from '../host/init-groups.ts';
import { type ContainerCgroup, planContainerCgroup } from '../plan/container-cgroup.ts';
import type { ContainerFacts } from '../plan/container-context.ts';
import { placesContainers, RULES_OF_PLACED } from '../plan/oci-runtime.ts';
import { type MakeGroups, makePersonGroups } from './person-groups.ts';
import type { ContainerStart, StartFacts } from './start-container.ts';

/** Where a container's processes are, and what it sees of that. */
export interface InPlace extends Pick<ContainerFacts, 'initGroup' | 'placement'> {
  /** `cgroup.procs` files that its outermost process joins. */
  readonly joins: readonly string[];
  /** Group of cgroup v2 that all of its processes are in or below. */
  readonly v2Group: string | undefined;
}

/**
 * A container is stopped, ended and counted by its group; without limits it can do without one where this process may make none.
 * @throws CgroupError
 */
export async function makeGroups(
  start: ContainerStart,
  host: StartFacts,
  ledger: Ledger,
  undo: DisposalStack,
): Promise<{ readonly cgroups: GuestCgroups; readonly place: InPlace }> {
  const { id, domain, root, cgroups: init } = start;
  const { person } = host.facts;
  const planned = planGroups(domain, host);
  const detect = (): CgroupHost => host.cgroups;
  const make: MakeGroups = async ({ tuning, notes, memoryNotes }, hasGroup = true) => {
    const controllers = hasGroup ? init.controllers : [];
    const given = { ...init, id, root: root.path, ledger, always: true, tuning, controllers, detect };
    const made = undo.use(new GuestCgroups(given));
    await made.make(domain);
    for (const note of [...notes, ...memoryNotes]) init.onNote?.(`container '${domain.name ?? ''}': ${note}`);
    return made;
  };
  const cgroups =
    person === undefined
      ? await make(planned)
      : await makePersonGroups(domain, person, planned, { make, host: host.cgroups });
  for (const note of notesOfPlace(cgroups.place, host.facts.runtime)) {
    init.onNote?.(`container '${domain.name ?? ''}': ${note}`);
  }
  const plan = initGroupsOf(start, cgroups, host);
  undo.use(makeInitGroups(plan, ledger));
  if (cgroups.place !== undefined) showLimits(cgroups.place);
  return { cgroups, place: inPlace(plan, cgroups, planned) };
}

/** Where v1 limits devices, what the runtime is to allow has to be allowed above. */
function planGroups(domain: Domain, { facts, cgroups }: StartFacts): ContainerCgroup {
  const planned = planContainerCgroup(domain, facts);
  const { devices = [] } = planned.tuning;
  if (!placesContainers(facts.runtime) || v1Hierarchy(cgroups, 'devices') === undefined) return planned;
  // Groups of v1 limit their own I/O alone, and the container is in one below.
  const isVain = planned.tuning.blkio !== undefined && v1Hierarchy(cgroups, 'blkio') !== undefined;
  return {
    ...planned,
    tuning: { ...planned.tuning, devices: [...devices, ...RULES_OF_PLACED] },
    notes: [...planned.notes, ...(isVain ? ['<blkiotune> has no effect on cgroup v1 with runc; install crun'] : [])],
  };
}

/** A limit that is none is told: the container is below the group that has it. */
export function notesOfPlace(place: CgroupPlace | undefined, runtime: string): string[] {
  if (place?.v1['memory'] === undefined || !placesContainers(runtime)) return [];
  if (guardedControllers(place).includes('memory')) return [];
  return ['memory is not limited with runc where memory.use_hierarchy is 0 (before Linux 5.11); install crun'];
}

function initGroupsOf({ id, domain, root }: ContainerStart, { place, joins }: GuestCgroups, host: StartFacts) {
  const name = machineGroupName({ driver: 'lxc', id, name: domain.name ?? '', root: root.path });
  const guarded = place === undefined ? [] : guardedControllers(place);
  // Without a group of its own it is where this process is, and the runtime does what it may.
  const isPlaced = place !== undefined && placesContainers(host.facts.runtime);
  return planInitGroups(host.cgroups, place, { name, joins, guarded, isPlaced });
}

function inPlace(
  { joins, initGroup, cgroupsPath, v2Group }: InitGroupsPlan,
  { place }: GuestCgroups,
  { tuning }: ContainerCgroup,
): InPlace {
  if (cgroupsPath === undefined) return { joins, initGroup, v2Group };
  // Where v2 limits, or nothing does, that is done above.
  const devices = place?.v1['devices'] === undefined ? undefined : tuning.devices;
  return { joins, initGroup, v2Group, placement: { cgroupsPath, devices } };
}

/** Of a container that runs already. */
export function placeOfRunning(start: ContainerStart, cgroups: GuestCgroups, host: StartFacts): InPlace {
  return inPlace(initGroupsOf(start, cgroups, host), cgroups, planGroups(start.domain, host));
}

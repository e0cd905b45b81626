/** Containers of ours, in this process and in the daemon, and of libvirt's, from the same XML: how long creating and destroying one takes. */
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { startDaemon } from '../../tests/support/daemon.ts';
import { interleave, type Result, shareRow } from '../figures.ts';
import {
  type ContainerDaemon,
  containersOf,
  embeddedContainers,
  missingForLibvirtLxc,
  startLibvirtLxc,
} from '../sides/libvirt-lxc.ts';
import { NESTLING } from '../workplace.ts';

const OWN_CREATE = "library: `createDomain` of a busybox container, over libvirt's LXC driver";
const CREATE = "daemon: `createDomain` of a busybox container, over libvirt's LXC driver";
const DESTROY = "daemon: destroying it, over libvirt's LXC driver";
/** Three times faster. */
const CREATE_GOAL_PERCENT = 100 / 3;
/** Twenty times. */
const DESTROY_GOAL_PERCENT = 100 / 20;
const MEMORY = '/dev/shm';
/** Before each. */
const REST_MS = 500;
const OTHER = "libvirt's LXC driver";

type Side = 'embedded' | 'ours' | 'theirs';

/** `definition`: of a container with that name. */
export async function measureAgainstLibvirt(definition: (name: string) => string, rounds: number): Promise<Result[]> {
  const missing = missingForLibvirtLxc();
  if (missing !== undefined) return [OWN_CREATE, CREATE, DESTROY].map((what) => ({ what, skipped: missing }));
  // What is known of running containers is in memory, as /run is, and as it is for libvirtd here.
  const own = await startDaemon([], { cli: NESTLING, ...(existsSync(MEMORY) ? { parent: MEMORY } : {}) });
  await using ours = await containersOf(own.socket, own);
  await using theirs = await startLibvirtLxc();
  await using embedded = await embeddedContainers();
  const destroyed: Record<Side, number[]> = { embedded: [], ours: [], theirs: [] };
  const side = (name: Side, daemon: ContainerDaemon) => async (): Promise<number> => {
    // Theirs takes long to end one, in which this machine rests: each begins from the same rest.
    await pause(REST_MS);
    const startedMs = performance.now();
    const guest = await daemon.create(definition(`${name}-${destroyed[name].length}`));
    const createdMs = performance.now();
    await guest.destroy();
    destroyed[name].push(performance.now() - createdMs);
    return createdMs - startedMs;
  };
  const sides = { embedded: side('embedded', embedded), ours: side('ours', ours), theirs: side('theirs', theirs) };
  const created = await interleave(sides, { rounds });
  const measured = (times: number[]): number[] => times.slice(-rounds);
  return [
    shareRow(OWN_CREATE, { other: OTHER, ours: created.embedded, theirs: created.theirs, goal: CREATE_GOAL_PERCENT }),
    shareRow(CREATE, { other: OTHER, ours: created.ours, theirs: created.theirs, goal: CREATE_GOAL_PERCENT }),
    shareRow(DESTROY, {
      other: OTHER,
      ours: measured(destroyed.ours),
      theirs: measured(destroyed.theirs),
      goal: DESTROY_GOAL_PERCENT,
    }),
  ];
}

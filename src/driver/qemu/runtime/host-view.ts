/**
 * The host as the planner sees it, read as late as possible: a start that needs no NUMA topology does not pay for
 * reading it. What needs a program to run (KVM's verdict, helpers' versions) is fetched beforehand when asked for.
 */
import {
  hostArch,
  readHostCpu,
  readMemoryKiB,
  readNumaNodes,
  readPageSizesKiB,
  readTopology,
} from '../../../host/cpu.ts';
import { firmwareDirs, readFirmwareDescriptors } from '../../../host/firmware.ts';
import { type HostFacts, readHostFacts } from '../../../host/host-facts.ts';
import { readWhoAmI } from '../../../host/who-am-i.ts';

/** Facts that cost a process. */
export interface SlowFacts {
  readonly kvm?: HostFacts['kvm'];
  readonly helpers?: HostFacts['helpers'];
}

const READERS: { readonly [K in Exclude<keyof HostFacts, keyof SlowFacts>]: () => HostFacts[K] } = {
  arch: hostArch,
  cpu: readHostCpu,
  topology: readTopology,
  numaNodes: readNumaNodes,
  pageSizesKiB: readPageSizesKiB,
  memoryKiB: readMemoryKiB,
  whoAmI: readWhoAmI,
  firmware: () => readFirmwareDescriptors(firmwareDirs()),
};

/** Host facts whose parts are read at their first use and kept; what is given is not read. */
export function viewHost(slow: SlowFacts, given: Partial<HostFacts> = {}): HostFacts {
  const facts = {
    kvm: slow.kvm ?? { usable: false, reason: 'absent', detail: 'nobody asked for it' },
    helpers: slow.helpers ?? {},
  };
  for (const [name, read] of Object.entries(READERS)) {
    Object.defineProperty(facts, name, {
      enumerable: true,
      configurable: true,
      get: () => {
        const value: unknown = read();
        Object.defineProperty(facts, name, { value, enumerable: true });
        return value;
      },
    });
  }
  for (const [name, value] of Object.entries(given)) {
    Object.defineProperty(facts, name, { value, enumerable: true, configurable: true });
  }
  // Every other property was defined above, from a table that names them all.
  return facts as HostFacts;
}

/** Fetches the slow facts that were asked for. */
export async function readSlowFacts(
  wanted: { kvm: boolean; helpers: boolean; qemu: string },
  signal?: AbortSignal,
): Promise<SlowFacts> {
  const names = [...(wanted.kvm ? (['kvm'] as const) : []), ...(wanted.helpers ? (['helpers'] as const) : [])];
  if (names.length === 0) return {};
  return await readHostFacts(names, { kvm: { qemu: wanted.qemu }, signal });
}

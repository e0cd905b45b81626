/**
 * Everything about this host that planning a guest may depend on, as plain data in one type, so that a planner takes it
 * as an input and a test can make it up. Parts are read only when asked for; none is remembered here.
 */
import type { KvmVerdict } from './accelerator.ts';
import { type KvmCacheOptions, readKvmVerdict } from './accelerator-cache.ts';
import {
  type HostCpu,
  type HostTopology,
  hostArch,
  type NumaNode,
  readHostCpu,
  readMemoryKiB,
  readNumaNodes,
  readPageSizesKiB,
  readTopology,
  type SystemRoots,
} from './cpu.ts';
import { type FirmwareDescriptors, firmwareDirs, readFirmwareDescriptors } from './firmware.ts';
import { type HelperPrograms, type HelperRoots, readHelperPrograms } from './helper-programs.ts';
import { readWhoAmI, type WhoAmI, type WhoAmIRoots } from './who-am-i.ts';

/** The host, as far as it was read. */
export interface HostFacts {
  /** QEMU's name for the host's architecture. */
  readonly arch: string;
  readonly cpu: HostCpu;
  readonly topology: HostTopology;
  readonly numaNodes: readonly NumaNode[];
  /** Base page first, then huge pages in ascending order. */
  readonly pageSizesKiB: readonly number[];
  readonly memoryKiB: number;
  readonly kvm: KvmVerdict;
  readonly whoAmI: WhoAmI;
  readonly firmware: FirmwareDescriptors;
  readonly helpers: HelperPrograms;
}

export type HostFactName = keyof HostFacts;

/** Where to look; every default is the real host. */
export interface HostRoots extends SystemRoots {
  readonly arch?: string;
  readonly who?: WhoAmIRoots;
  readonly firmwareDirs?: readonly string[];
  readonly helpers?: HelperRoots;
  /** How to probe KVM; without `qemu`, the host architecture's `qemu-system-…`. */
  readonly kvm?: Partial<KvmCacheOptions>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads the named facts, and only those. `kvm` may run QEMU (a tenth of a second, once a boot), `helpers` runs programs
 * with `--version`; the rest are small files.
 * @throws what the single readers throw, or the signal's reason
 */
export async function readHostFacts<const N extends HostFactName>(
  names: readonly N[],
  roots: HostRoots = {},
): Promise<Pick<HostFacts, N>> {
  const facts = await Promise.all(names.map(async (name) => [name, await READERS[name](roots)] as const));
  roots.signal?.throwIfAborted();
  // Object.fromEntries forgets which name has which type; READERS is checked against HostFacts.
  return Object.fromEntries(facts) as Pick<HostFacts, N>;
}

const READERS: { readonly [N in HostFactName]: (roots: HostRoots) => HostFacts[N] | Promise<HostFacts[N]> } = {
  arch: (roots) => roots.arch ?? hostArch(),
  cpu: readHostCpu,
  topology: readTopology,
  numaNodes: readNumaNodes,
  pageSizesKiB: readPageSizesKiB,
  memoryKiB: readMemoryKiB,
  kvm: ({ kvm, arch = hostArch(), signal }) =>
    readKvmVerdict({ qemu: `qemu-system-${arch}`, arch, ...(signal && { signal }), ...kvm }),
  whoAmI: ({ who, proc }) => readWhoAmI({ ...(proc !== undefined && { proc }), ...who }),
  firmware: (roots) => readFirmwareDescriptors(roots.firmwareDirs ?? firmwareDirs()),
  helpers: ({ helpers, signal }) => readHelperPrograms({ ...(signal && { signal }), ...helpers }),
};

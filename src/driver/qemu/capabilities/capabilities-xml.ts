/**
 * The document of `virsh capabilities` (virConnectGetCapabilities): this host, and what every installed QEMU can run on
 * it. It probes each binary through the cache; what a single machine offers is `domain-capabilities-xml.ts`.
 */
import type { KvmVerdict } from '../../../host/accelerator.ts';
import { hostArch } from '../../../host/cpu.ts';
import { readHostFacts } from '../../../host/host-facts.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { element } from '../../../xml/element.ts';
import { formatXml } from '../../../xml/format.ts';
import type { CapabilitiesCache } from './cache.ts';
import type { QemuCapabilities } from './capabilities.ts';
import { GUEST_ARCHS, isX86Arch } from './capabilities-xml-arch.ts';
import { type GuestInput, guestElement } from './capabilities-xml-guests.ts';
import { hostElement } from './capabilities-xml-host.ts';
import { type CapabilitiesRoots, readCapabilitiesHost } from './capabilities-xml-host-facts.ts';

export interface CapabilitiesXmlOptions {
  readonly roots?: CapabilitiesRoots;
  /** Path of the emulator for a QEMU target; default: `qemu-system-TARGET` in PATH. */
  readonly findEmulator?: (target: string) => string | undefined;
  /** Whether KVM runs guests with that emulator; default: the host's remembered verdict. */
  readonly readKvm?: (emulator: string, signal: AbortSignal | undefined) => Promise<KvmVerdict>;
}

/** Probes at a time: each keeps a processor busy. */
const PROBES_AT_ONCE = 2;

/**
 * The capabilities as XML text. A binary that cannot be probed is left out, as it could run nothing.
 * @throws the signal's reason
 */
export async function formatCapabilities(
  cache: CapabilitiesCache,
  signal?: AbortSignal,
  options: CapabilitiesXmlOptions = {},
): Promise<string> {
  const { findEmulator = findSystemEmulator, readKvm = readHostKvm } = options;
  const [host, probed] = await Promise.all([
    readCapabilitiesHost(options.roots),
    probeInstalled(cache, findEmulator, signal),
  ]);
  const own = probed.get(hostArch());
  const kvm = own?.kvm.present === true && (await readKvm(own.binary, signal)).usable;
  signal?.throwIfAborted();
  const guests = GUEST_ARCHS.flatMap((arch): GuestInput[] => {
    const capabilities = probed.get(arch.target);
    if (capabilities === undefined) return [];
    return [{ arch, capabilities, kvm: kvm && capabilities.kvm.present && runsNatively(host.arch, arch.name) }];
  });
  return formatXml(element('capabilities', {}, hostElement(host), ...guests.map(guestElement)));
}

/** Whether KVM of the host can run such guests: the architecture itself and, on x86, its 32-bit half. */
export function runsNatively(host: string, guest: string): boolean {
  return host === guest || (isX86Arch(host) && guest === 'i686');
}

async function probeInstalled(
  cache: CapabilitiesCache,
  findEmulator: (target: string) => string | undefined,
  signal: AbortSignal | undefined,
): Promise<Map<string, QemuCapabilities>> {
  const targets = [...new Set(GUEST_ARCHS.map(({ target }) => target))];
  const waiting = targets.flatMap((target) => {
    const emulator = findEmulator(target);
    return emulator === undefined ? [] : [{ target, emulator }];
  });
  const probed = new Map<string, QemuCapabilities>();
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { target, emulator } = next;
      try {
        probed.set(target, (await cache.get(emulator, 'tcg', { signal })).capabilities);
      } catch (error) {
        // A broken emulator says nothing about the others; asked for by name, it reports its fault itself.
        if (signal?.aborted === true) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: PROBES_AT_ONCE }, work));
  return probed;
}

/** The emulator for a target: QEMU's own name, else what Red Hat installs for the host's architecture. */
export function findSystemEmulator(target: string): string | undefined {
  const found = lookUpProgram(`qemu-system-${target}`);
  if (found !== undefined || target !== hostArch()) return found;
  return lookUpProgram('/usr/libexec/qemu-kvm') ?? lookUpProgram('qemu-kvm');
}

async function readHostKvm(qemu: string, signal: AbortSignal | undefined): Promise<KvmVerdict> {
  return (await readHostFacts(['kvm'], { kvm: { qemu }, signal })).kvm;
}

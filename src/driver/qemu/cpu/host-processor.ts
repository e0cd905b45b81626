/** This host's x86 processor: its maker and all its features. The one place that capabilities and comparisons ask. */
import { type HostCpu, readHostCpu, type SystemRoots } from '../../../host/cpu.ts';
import { readCpuidFeatures } from '../../../host/cpuid.ts';
import { fromKernelFlags, vendorName } from '../capabilities/capabilities-xml-cpu-models.ts';
import { KNOWN_FEATURES, type NamedProcessor, nameProcessor, type ProcessorSignature } from './name-processor.ts';

export interface HostProcessorFacts {
  /** libvirt's word; undefined where it has none. */
  readonly vendor: string | undefined;
  readonly signature: ProcessorSignature;
  /** QEMU's names. */
  readonly features: ReadonlySet<string>;
}

/** From CPUID where the kernel gives it out, else from what the kernel says itself. */
export function readHostProcessor(roots: SystemRoots & { readonly dev?: string } = {}): HostProcessorFacts {
  return hostProcessorOf(readHostCpu(roots), readCpuidFeatures(roots));
}

export function hostProcessorOf(cpu: HostCpu, cpuid: readonly string[] | undefined): HostProcessorFacts {
  const { vendor, family, model, stepping } = cpu;
  const features = new Set(cpuid ?? fromKernelFlags(cpu.flags, new Set(KNOWN_FEATURES)));
  // The kernel does not list what follows from its own use of the other.
  if (features.has('xsave')) features.add('osxsave');
  return { vendor: vendorName(vendor), signature: { family, model, stepping }, features };
}

/** How libvirt calls it. Every 64-bit processor is at least a kvm64, every other a 486. */
export function nameHost({ vendor, signature, features }: HostProcessorFacts): NamedProcessor {
  const named = nameProcessor(features, { vendor, signature, isHost: true });
  return named ?? { model: '486', extra: KNOWN_FEATURES.filter((name) => features.has(name)), missing: [] };
}

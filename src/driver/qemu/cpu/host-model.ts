/**
 * The host's processor as a named model plus features, which is what `host-model` guests get so that they can move to
 * other hosts: the closest of QEMU's models, what the host has beyond it, and what the host lacks of it. Which models
 * there are is in `x86-models.ts`.
 */
import type { AcceleratorName, QemuCapabilities, QemuCpuModel } from '../capabilities/capabilities.ts';
import { X86_FEATURES } from './x86-features.ts';
import { type X86Model, x86Models } from './x86-models.ts';

/** A processor in terms of a named model. Feature names are QEMU's. */
export interface HostCpuModel {
  readonly model: string;
  readonly features: readonly { readonly name: string; readonly policy: 'require' | 'disable' }[];
}

/** Undefined: QEMU cannot tell of its host for this target, or it is no x86. */
export function hostModelOf(caps: QemuCapabilities, accelerator: AcceleratorName): HostCpuModel | undefined {
  const found = caps.accelerators[accelerator];
  if (found?.hostModel === undefined || !['x86_64', 'i386'].includes(caps.arch)) return undefined;
  const host = readProcessor(found.hostModel);
  const lacking = new Map(found.cpus.map(({ name, unavailableFeatures }) => [name, unavailableFeatures ?? []]));
  return nameProcessor(host, lacking);
}

/** A processor's features and what identifies it. */
export interface Processor {
  readonly vendor: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly features: ReadonlySet<string>;
}

function readProcessor({ props }: QemuCpuModel): Processor {
  const number = (name: string): number => Number(props[name] ?? 0);
  return {
    vendor: String(props['vendor'] ?? ''),
    family: number('family'),
    model: number('model'),
    stepping: number('stepping'),
    features: new Set(X86_FEATURES.filter((name) => props[name] === true)),
  };
}

/**
 * The model with which a processor is described most briefly; one made for its family and model number goes before
 * all others.
 * @param lacking the models that may be named, each with the features that keep it from running as it is
 */
export function nameProcessor(
  processor: Processor,
  lacking: ReadonlyMap<string, readonly string[]>,
): HostCpuModel | undefined {
  let best: Candidate | undefined;
  // Newest first: of equals the newer one is named.
  for (const model of x86Models().reverse()) {
    const blockers = lacking.get(model.name);
    if (blockers === undefined || model.vendor !== processor.vendor) continue;
    const candidate = describe(processor, model, blockers);
    if (best === undefined || isBetter(candidate, best)) best = candidate;
  }
  return best === undefined ? undefined : { model: best.model.name, features: best.features };
}

interface Candidate {
  readonly model: X86Model;
  readonly matches: boolean;
  readonly features: HostCpuModel['features'];
  readonly disabled: number;
}

function describe(processor: Processor, model: X86Model, blockers: readonly string[]): Candidate {
  const extra = X86_FEATURES.filter((name) => processor.features.has(name) && !model.features.has(name));
  const missing = X86_FEATURES.filter(
    (name) => !processor.features.has(name) && (model.features.has(name) || blockers.includes(name)),
  );
  const features = [
    ...extra.map((name) => ({ name, policy: 'require' as const })),
    ...missing.map((name) => ({ name, policy: 'disable' as const })),
  ];
  return { model, features, disabled: missing.length, matches: isMadeFor(model, processor) };
}

function isMadeFor({ family, models = [], steppings }: X86Model, processor: Processor): boolean {
  if (family !== processor.family || !models.includes(processor.model)) return false;
  return steppings === undefined || (processor.stepping >= steppings[0] && processor.stepping <= steppings[1]);
}

function isBetter(candidate: Candidate, best: Candidate): boolean {
  if (candidate.matches !== best.matches) return candidate.matches;
  const difference = candidate.features.length - best.features.length;
  return difference < 0 || (difference === 0 && candidate.disabled < best.disabled);
}

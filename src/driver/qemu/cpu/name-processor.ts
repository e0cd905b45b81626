/**
 * A set of x86 features as one of libvirt's names and the differences from it: how libvirt calls this host, and what several processors have in
 * common. Names of guests' processors follow QEMU's own models (`host-model.ts`). Pure.
 */
import { CPUID_FEATURES } from '../../../host/cpuid.ts';
import { type LibvirtModel, libvirtModels } from './libvirt-models.ts';
import { X86_FEATURES } from './x86-features.ts';

/** What identifies a processor besides its features. */
export interface ProcessorSignature {
  readonly family: number | undefined;
  readonly model: number | undefined;
  readonly stepping: number | undefined;
}

export interface NameOptions {
  /** libvirt's word; undefined: anybody's. */
  readonly vendor?: string | undefined;
  readonly signature?: ProcessorSignature | undefined;
  /** Taken whatever else fits better. */
  readonly preferred?: string | undefined;
  /** A host's name has nothing that the host lacks. */
  readonly isHost?: boolean;
  /** Names that may be used; default all. */
  readonly among?: ReadonlySet<string> | undefined;
}

/** Names are QEMU's, in the order of CPUID's bits. */
export interface NamedProcessor {
  readonly model: string;
  readonly extra: readonly string[];
  readonly missing: readonly string[];
}

/** Every feature that has a name, in the order of libvirt's documents. */
export const KNOWN_FEATURES: readonly string[] = [...new Set([...CPUID_FEATURES, ...X86_FEATURES])];
const ORDER = new Map(KNOWN_FEATURES.map((name, index) => [name, index]));

export function inOrder(features: Iterable<string>): string[] {
  return [...features].toSorted((a, b) => (ORDER.get(a) ?? 0) - (ORDER.get(b) ?? 0));
}

/** The name from which the features differ least; of equals the newest. Undefined where none fits. */
export function nameProcessor(features: ReadonlySet<string>, options: NameOptions = {}): NamedProcessor | undefined {
  const { vendor, preferred, isHost = false, among } = options;
  let best: Candidate | undefined;
  for (const model of libvirtModels().reverse()) {
    if (model.names === 'none' || (model.names === 'hosts' && !isHost)) continue;
    if (among !== undefined && !among.has(model.name)) continue;
    if (vendor !== undefined && model.vendor !== undefined && model.vendor !== vendor) continue;
    const candidate = describe(features, model, options.signature);
    if (isHost && candidate.missing.length > 0) continue;
    if (model.name === preferred) return { model: model.name, extra: candidate.extra, missing: candidate.missing };
    if (best === undefined || isBetter(candidate, best)) best = candidate;
  }
  return best === undefined ? undefined : { model: best.name, extra: best.extra, missing: best.missing };
}

interface Candidate {
  readonly name: string;
  readonly isMade: boolean;
  readonly extra: string[];
  readonly missing: string[];
}

function describe(
  features: ReadonlySet<string>,
  { name, features: own, removed, ...made }: LibvirtModel,
  signature: ProcessorSignature | undefined,
): Candidate {
  const extra = inOrder([...features].filter((feature) => !own.has(feature) && !removed.has(feature)));
  const lacking = (all: ReadonlySet<string>): string[] => inOrder([...all].filter((feature) => !features.has(feature)));
  const missing = [...lacking(own), ...lacking(removed)];
  return { name, extra, missing, isMade: signature !== undefined && isMadeFor(made, signature) };
}

function isMadeFor(
  { family, models = [], steppings = [0, 15] }: Pick<LibvirtModel, 'family' | 'models' | 'steppings'>,
  signature: ProcessorSignature,
): boolean {
  const { model = -1, stepping = 0 } = signature;
  if (family === undefined || family !== signature.family || !models.includes(model)) return false;
  return stepping >= steppings[0] && stepping <= steppings[1];
}

function isBetter(candidate: Candidate, best: Candidate): boolean {
  if (candidate.isMade !== best.isMade) return candidate.isMade;
  const [one, other] = [costOf(candidate), costOf(best)];
  return one.all < other.all || (one.all === other.all && one.penalties < other.penalties);
}

/** A word for each feature that the model lacks; of those that it has in excess every other one costs more than the one before: libvirt's measure. */
function costOf({ extra, missing }: Candidate): { all: number; penalties: number } {
  const dear = Math.ceil(missing.length / 2);
  const penalties = (dear * (dear + 3)) / 2;
  return { all: extra.length + missing.length - dear + penalties, penalties };
}

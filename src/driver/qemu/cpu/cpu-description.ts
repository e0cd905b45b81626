/** `<cpu>` as processors are compared: a host's (it names its architecture) or a guest's. Reads only; a guest's own definition is in the model. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { parseXml } from '../../../xml/parse.ts';
import { GUEST_ARCHS } from '../capabilities/capabilities-xml-arch.ts';
import { libvirtModels } from './libvirt-models.ts';
import { KNOWN_FEATURES } from './name-processor.ts';
import { qemuFeatureName } from './x86-features.ts';

const POLICIES = ['force', 'require', 'optional', 'disable', 'forbid'] as const;
export type FeaturePolicy = (typeof POLICIES)[number];
const MATCHES: readonly string[] = ['exact', 'minimum', 'strict'];

export interface CpuDescription {
  readonly arch: string | undefined;
  readonly match: string;
  readonly model: string | undefined;
  readonly vendor: string | undefined;
  /** As they are written: libvirt's names. */
  readonly features: readonly { readonly name: string; readonly policy: FeaturePolicy }[];
}

/** @throws XmlSyntaxError, VirtError XML_ERROR, CONFIG_UNSUPPORTED */
export function parseCpuDescription(xml: string, { hostOnly = false } = {}): CpuDescription {
  const { root } = parseXml(xml);
  if (root.name !== 'cpu') throw xmlError(`the root element is <${root.name}>, not <cpu>`);
  const arch = root.element('arch')?.text.trim();
  if (hostOnly) requireHost(root, arch);
  if (arch !== undefined && !GUEST_ARCHS.some(({ name }) => name === arch)) {
    throw failure(ErrorCode.CONFIG_UNSUPPORTED, `Unknown architecture ${arch}`);
  }
  const match = root.attribute('match') ?? 'exact';
  if (!MATCHES.includes(match)) throw xmlError(`Invalid value for attribute 'match' in element 'cpu': '${match}'.`);
  const model = root.element('model')?.text.trim();
  const features = root.elements('feature').map((feature) => readFeature(feature, arch !== undefined));
  if ((arch !== undefined || features.length > 0) && (model ?? '') === '') throw xmlError('Missing CPU model name');
  const names = features.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw xmlError(`CPU feature '${twice}' specified more than once`);
  const vendor = root.element('vendor')?.text.trim();
  return { arch, match, model: model === '' ? undefined : model, vendor, features };
}

function requireHost(root: XmlElement, arch: string | undefined): void {
  if (root.attribute('mode') !== undefined)
    throw failure(ErrorCode.CONFIG_UNSUPPORTED, 'Attribute mode is only allowed for guest CPU');
  if (arch === undefined) throw xmlError('Missing CPU architecture');
}

function readFeature(feature: XmlElement, ofHost: boolean): CpuDescription['features'][number] {
  const name = feature.attribute('name') ?? '';
  if (name === '') throw xmlError('Invalid CPU feature name');
  const written = ofHost ? undefined : feature.attribute('policy');
  const policy = POLICIES.find((known) => known === (written ?? 'require'));
  if (policy === undefined) throw failure(ErrorCode.CONFIG_UNSUPPORTED, 'Invalid CPU feature policy');
  return { name, policy };
}

/** Features of a model's name, QEMU's names. @throws VirtError INTERNAL_ERROR */
export function featuresOfModel(name: string): ReadonlySet<string> {
  const found = libvirtModels().find((model) => model.name === name);
  if (found === undefined) throw failure(ErrorCode.INTERNAL_ERROR, `Unknown CPU model ${name}`);
  return found.features;
}

/** The features with a policy, QEMU's names. @throws VirtError INTERNAL_ERROR */
export function featuresWith(cpu: CpuDescription, ...policies: readonly FeaturePolicy[]): string[] {
  return cpu.features
    .filter(({ policy }) => policies.includes(policy))
    .map(({ name }) => {
      const known = qemuFeatureName(name, true);
      if (!KNOWN_FEATURES.includes(known)) throw failure(ErrorCode.INTERNAL_ERROR, `Unknown CPU feature ${name}`);
      return known;
    });
}

export function failure(code: ErrorCode, message: string): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.CPU });
}

function xmlError(message: string): VirtError {
  return failure(ErrorCode.XML_ERROR, message);
}

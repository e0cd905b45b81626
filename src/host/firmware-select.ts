/**
 * Chooses a firmware for a guest among descriptors: pure, and the first that meets every requirement wins, as under
 * libvirt. It fills in nothing in the domain and looks at no file.
 */
import type { FirmwareDescriptor, FirmwareMapping } from './firmware.ts';

/** What a guest asks of its firmware; what is undefined does not matter. */
export interface FirmwareRequest {
  readonly type: 'bios' | 'efi';
  /** QEMU target name. */
  readonly arch: string;
  /** Canonical machine type, for instance `pc-q35-7.2`, never an alias. */
  readonly machine: string;
  /** `<feature name='secure-boot'/>` and `enrolled-keys`: wanted, unwanted, or either. */
  readonly secureBoot?: boolean;
  readonly enrolledKeys?: boolean;
  /** Further features that it must have: `acpi-s3`, `acpi-s4`, `amd-sev`, `amd-sev-es`, `amd-sev-snp`, `intel-tdx`, … */
  readonly features?: readonly string[];
  /** Whether `<smm state='off'/>` rules out firmware that needs it. */
  readonly smm?: boolean;
  readonly loader?: {
    readonly path?: string;
    readonly format?: string;
    readonly type?: 'rom' | 'pflash';
    readonly stateless?: boolean;
    readonly readonly?: boolean;
    readonly secure?: boolean;
  };
  readonly nvram?: { readonly template?: string; readonly templateFormat?: string; readonly format?: string };
}

/** The choice. `mapping` holds executable and NVRAM template with their formats. */
export interface FirmwareChoice {
  readonly descriptor: FirmwareDescriptor;
  readonly mapping: FirmwareMapping;
  readonly secureBoot: boolean;
  readonly enrolledKeys: boolean;
  readonly requiresSmm: boolean;
}

/** No descriptor meets all requirements. `requirement` is the one at which the last of them fell out. */
export class FirmwareSelectionError extends Error {
  override readonly name = 'FirmwareSelectionError';
  readonly requirement: string;
  /** Descriptors that met everything before it. */
  readonly rejected: readonly string[];

  constructor(request: FirmwareRequest, requirement: string, rejected: readonly string[]) {
    const left = rejected.length === 0 ? 'no firmware descriptor was found' : `of ${rejected.join(', ')} none meets it`;
    super(
      `choosing '${request.type}' firmware for ${request.arch} ${request.machine}: requirement '${requirement}': ${left}; ` +
        'install a firmware package that offers it (ovmf, qemu-efi-aarch64) or relax the requirement',
    );
    this.requirement = requirement;
    this.rejected = rejected;
  }
}

interface Requirement {
  readonly text: string;
  readonly met: (descriptor: FirmwareDescriptor) => boolean;
}

/** The first descriptor, in the given order, that meets the request. @throws FirmwareSelectionError */
export function selectFirmware(descriptors: readonly FirmwareDescriptor[], request: FirmwareRequest): FirmwareChoice {
  let left = descriptors;
  for (const requirement of requirementsOf(request)) {
    const before = left;
    left = left.filter((descriptor) => requirement.met(descriptor));
    if (left.length > 0) continue;
    const rejected = before.map(({ source }) => source);
    throw new FirmwareSelectionError(request, requirement.text, rejected);
  }
  const [descriptor] = preferRaw(left, request);
  if (descriptor === undefined) throw new FirmwareSelectionError(request, 'a descriptor', []);
  return {
    descriptor,
    mapping: descriptor.mapping,
    secureBoot: has(descriptor, 'secure-boot'),
    enrolledKeys: has(descriptor, 'enrolled-keys'),
    requiresSmm: has(descriptor, 'requires-smm'),
  };
}

/** Other image formats are for those who ask: libvirt before 9.2, and much else, handles raw firmware only. */
function preferRaw(left: readonly FirmwareDescriptor[], request: FirmwareRequest): readonly FirmwareDescriptor[] {
  const { loader, nvram } = request;
  if (loader?.format !== undefined || loader?.path !== undefined) return left;
  if (nvram?.format !== undefined || nvram?.templateFormat !== undefined) return left;
  const raw = left.filter(({ mapping }) => mapping.executable.format === 'raw');
  return raw.length > 0 ? raw : left;
}

function requirementsOf(request: FirmwareRequest): Requirement[] {
  const interfaceType = request.type === 'efi' ? 'uefi' : 'bios';
  return [
    { text: `interface ${interfaceType}`, met: ({ interfaceTypes }) => interfaceTypes.includes(interfaceType) },
    { text: `machine ${request.arch} ${request.machine}`, met: (descriptor) => fitsTarget(descriptor, request) },
    ...featureRequirements(request),
    ...loaderRequirements(request.loader ?? {}),
    ...nvramRequirements(request.nvram ?? {}),
  ];
}

function featureRequirements({ secureBoot, enrolledKeys, smm, features }: FirmwareRequest): Requirement[] {
  return [
    ...tristate('secure-boot', secureBoot),
    ...tristate('enrolled-keys', enrolledKeys),
    ...(smm === false ? tristate('requires-smm', false) : []),
    ...(features ?? []).flatMap((feature) => tristate(feature, true)),
  ];
}

function tristate(feature: string, wanted: boolean | undefined): Requirement[] {
  if (wanted === undefined) return [];
  return [{ text: `${wanted ? '' : 'no '}${feature}`, met: (descriptor) => has(descriptor, feature) === wanted }];
}

function loaderRequirements(loader: NonNullable<FirmwareRequest['loader']>): Requirement[] {
  const all: Requirement[] = [
    // Firmware that is booted like a kernel is for `<kernel>`, not for automatic choice.
    { text: 'loader type', met: ({ mapping }) => mapping.device !== 'kernel' && fitsType(mapping, loader.type) },
    // Without a wish for `stateless`, flash means code plus variables of their own; ROM has no variables anyway.
    {
      text: flashModeText(loader),
      met: ({ mapping }) => mapping.device !== 'flash' || mapping.mode === flashMode(loader),
    },
  ];
  if (loader.stateless === false) all.push({ text: 'stateless=no', met: ({ mapping }) => mapping.device === 'flash' });
  if (loader.path !== undefined)
    all.push({ text: `loader ${loader.path}`, met: ({ mapping }) => mapping.executable.path === loader.path });
  if (loader.format !== undefined)
    all.push({
      text: `loader format ${loader.format}`,
      met: ({ mapping }) => mapping.executable.format === loader.format,
    });
  if (loader.secure !== undefined)
    all.push({
      text: `secure=${loader.secure ? 'yes' : 'no'}`,
      met: (descriptor) => has(descriptor, 'requires-smm') === loader.secure,
    });
  return all;
}

function nvramRequirements({ template, templateFormat, format }: NonNullable<FirmwareRequest['nvram']>): Requirement[] {
  const ofTemplate = (text: string, met: (file: { path: string; format: string }) => boolean): Requirement => ({
    text,
    met: ({ mapping }) =>
      mapping.device === 'flash' && mapping.nvramTemplate !== undefined && met(mapping.nvramTemplate),
  });
  const all: Requirement[] = [];
  if (template !== undefined) all.push(ofTemplate(`NVRAM template ${template}`, (file) => file.path === template));
  if (templateFormat !== undefined)
    all.push(ofTemplate(`NVRAM template format ${templateFormat}`, (file) => file.format === templateFormat));
  // A template of the guest's own can be converted; one that the descriptor names is copied as it is.
  if (format !== undefined && template === undefined)
    all.push(ofTemplate(`NVRAM format ${format}`, (file) => file.format === format));
  return all;
}

function flashMode({
  stateless,
  readonly,
}: NonNullable<FirmwareRequest['loader']>): 'split' | 'combined' | 'stateless' {
  if (stateless === true) return 'stateless';
  return readonly === false ? 'combined' : 'split';
}

function flashModeText(loader: NonNullable<FirmwareRequest['loader']>): string {
  return { split: 'variables in a file of their own', combined: 'readonly=no', stateless: 'stateless=yes' }[
    flashMode(loader)
  ];
}

function fitsType(mapping: FirmwareMapping, type: 'rom' | 'pflash' | undefined): boolean {
  return type === undefined || (mapping.device === 'flash') === (type === 'pflash');
}

/** Whether the descriptor is meant for that QEMU target and canonical machine type. */
export function fitsTarget(
  { targets }: FirmwareDescriptor,
  { arch, machine }: Pick<FirmwareRequest, 'arch' | 'machine'>,
): boolean {
  return targets.some(
    (target) => target.architecture === arch && target.machines.some((pattern) => matchesGlob(machine, pattern)),
  );
}

/** `*` and `?`, as in fnmatch(3); machine names hold nothing else that descriptors use. */
function matchesGlob(name: string, pattern: string): boolean {
  const source = pattern.replaceAll(/[.*+?^${}()|[\]\\]/g, (char) =>
    char === '*' ? '.*' : char === '?' ? '.' : `\\${char}`,
  );
  return new RegExp(`^${source}$`, 's').test(name);
}

function has(descriptor: FirmwareDescriptor, feature: string): boolean {
  return descriptor.features.includes(feature);
}

/** Which combinations of firmware, loader and variables make no sense, or cannot work with QEMU. */
import { type DomainContext, fault } from '../context.ts';
import { archOf, isQ35, isX86 } from '../machine.ts';

type Domain = DomainContext['domain'];

/** One contradiction: what is wrong, and at which part of `<os>`. */
interface Contradiction {
  readonly message: string;
  readonly field: string;
}

/** Contradictions within `<os>` itself. Empty for a definition from which a firmware can be chosen. */
export function firmwareContradictions(domain: Domain): Contradiction[] {
  const { os } = domain;
  if (os === undefined) return [];
  const found: Contradiction[] = [];
  const add = (field: string, message: string): number => found.push({ field, message });
  const features = new Map((os.firmwareFeatures?.features ?? []).map(({ name, enabled }) => [name, enabled]));
  if (features.get('enrolled-keys') === true && features.get('secure-boot') === false) {
    add('firmware', 'enrolled-keys needs secure-boot: enable it, or disable both');
  }
  if (os.firmware === undefined && features.size > 0 && os.loader === undefined) {
    add('firmware', "firmware features choose a firmware: add firmware='efi' to <os>");
  }
  if (os.firmware === undefined && os.loader !== undefined && os.loader.value === undefined) {
    add('loader', "<loader> names no file and no firmware is to be chosen: give its path, or <os firmware='efi'>");
  }
  if (os.firmware === 'bios' && os.nvram !== undefined) add('nvram', 'a BIOS keeps no variables: remove <nvram>');
  if (os.loader !== undefined) addLoaderContradictions(os, add);
  return found;
}

function addLoaderContradictions(os: NonNullable<Domain['os']>, add: (field: string, message: string) => void): void {
  const { loader, nvram } = os;
  if (loader === undefined) return;
  const hasVariables = nvram?.value !== undefined || nvram?.source !== undefined;
  const isRom = loader.type === 'rom' || (loader.type === undefined && os.firmware !== 'efi');
  if (isRom && (loader.stateless === false || (nvram !== undefined && os.firmware !== 'bios'))) {
    add('loader', "only a loader of type='pflash' keeps variables: set that type, or remove <nvram>");
  }
  if (isRom && loader.readonly === false) {
    add('loader', "a loader of type='rom' cannot be written to: use readonly='yes' or type='pflash'");
  }
  if (loader.stateless === true && nvram?.template !== undefined) {
    add('nvram', "a loader with stateless='yes' has no use for a template of variables: remove it");
  } else if (loader.stateless === true && hasVariables) {
    add('nvram', "a loader with stateless='yes' keeps no variables: remove <nvram>");
  }
  if (!isRom && loader.readonly === false && (nvram?.template !== undefined || hasVariables)) {
    add('nvram', "a loader with readonly='no' keeps its variables in itself: remove <nvram>");
  }
}

/** Everything about firmware that is refused. Runs on the completed definition. */
export function validateFirmware(context: DomainContext): void {
  const { domain } = context;
  const { os } = domain;
  if (os === undefined) return;
  for (const { message, field } of firmwareContradictions(domain)) fault(context, os, message, field);
  const isUefi = os.firmware === 'efi' || os.loader?.type === 'pflash';
  if (isUefi && domain.features?.acpi !== true && (isX86(domain) || archOf(domain) === 'aarch64')) {
    fault(context, os, 'UEFI needs ACPI here: add <acpi/> to <features>');
  }
  if (os.nvram?.type === 'network' && os.nvram.source === undefined) {
    fault(context, os, "<nvram type='network'> needs a <source>", 'nvram');
  }
  if (os.loader?.secure === true) {
    if (!isQ35(domain)) fault(context, os, 'secure boot needs a q35 machine', 'loader/@secure');
    else if (archOf(domain) !== 'x86_64') fault(context, os, 'secure boot needs an x86_64 guest', 'loader/@secure');
    else if (domain.features?.smm?.state !== true) {
      fault(context, os, "secure boot needs <smm state='on'/> in <features>", 'loader/@secure');
    }
  }
}

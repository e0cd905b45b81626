/**
 * Completes `<os>` with a firmware: chosen among the host's descriptors where the definition asks for a kind, and
 * described in the same way where it names a file that a descriptor knows. Also where UEFI variables are kept.
 */

import {
  type FirmwareChoice,
  type FirmwareRequest,
  FirmwareSelectionError,
  selectFirmware,
} from '../../../host/firmware-select.ts';
import type { OsNvram } from '../../../model/domain/os.ts';
import { type DomainContext, fault } from '../context.ts';
import { archOf, machineOf } from '../machine.ts';
import { firmwareContradictions } from './firmware-validate.ts';

type Domain = DomainContext['domain'];
type Os = NonNullable<Domain['os']>;

/** Code images that were in use before descriptors existed, with the variables that belong to them. */
const LEGACY_TEMPLATES: Readonly<Record<string, string>> = {
  '/usr/share/OVMF/OVMF_CODE.fd': '/usr/share/OVMF/OVMF_VARS.fd',
  '/usr/share/OVMF/OVMF_CODE.secboot.fd': '/usr/share/OVMF/OVMF_VARS.fd',
  '/usr/share/OVMF/OVMF_CODE.ms.fd': '/usr/share/OVMF/OVMF_VARS.ms.fd',
  '/usr/share/AAVMF/AAVMF_CODE.fd': '/usr/share/AAVMF/AAVMF_VARS.fd',
  '/usr/share/AAVMF/AAVMF32_CODE.fd': '/usr/share/AAVMF/AAVMF32_VARS.fd',
};

/** SEV policy bit that demands encrypted register state. */
const SEV_ES = 0x4n;

/** Fills in loader, variables and what the chosen firmware is; a fault where none fits what was asked for. */
export function fillFirmwareDefaults(context: DomainContext): void {
  const { os } = context.domain;
  if (os === undefined || (os.firmware === undefined && os.loader === undefined)) return;
  // What contradicts itself is reported by validation; choosing would only bury the reason.
  if (firmwareContradictions(context.domain).length > 0) return;
  const requested = os.firmware;
  if (requested === undefined && os.loader !== undefined) os.loader.type ??= 'rom';
  const choice = choose(context, os);
  if (choice instanceof FirmwareSelectionError) {
    if (requested !== undefined) {
      fault(context, os, choice.message, '@firmware');
      return;
    }
    fillLegacyTemplate(os, templatesOf(context));
  } else {
    applyChoice(choice, context.domain, os);
  }
  if (os.loader !== undefined) os.loader.format ??= 'raw';
  fillVariables(context, os);
}

function choose(context: DomainContext, os: Os): FirmwareChoice | FirmwareSelectionError {
  try {
    return selectFirmware(context.host.firmware.descriptors, requestFor(context.domain, os));
  } catch (error) {
    if (error instanceof FirmwareSelectionError) return error;
    throw error;
  }
}

function requestFor(domain: Domain, os: Os): FirmwareRequest {
  const wanted = new Map((os.firmwareFeatures?.features ?? []).map(({ name, enabled }) => [name, enabled]));
  const { loader, nvram } = os;
  return withoutUndefined({
    type: os.firmware ?? (loader?.type === 'pflash' ? 'efi' : 'bios'),
    arch: archOf(domain) === 'i686' ? 'i386' : archOf(domain),
    machine: machineOf(domain),
    secureBoot: wanted.get('secure-boot'),
    enrolledKeys: wanted.get('enrolled-keys'),
    features: demandedFeatures(domain),
    smm: domain.features?.smm?.state,
    loader:
      loader &&
      withoutUndefined({
        path: loader.value,
        format: loader.format,
        type: loader.type,
        stateless: loader.stateless,
        readonly: loader.readonly,
        secure: loader.secure,
      }),
    nvram:
      nvram &&
      withoutUndefined({ template: nvram.template, templateFormat: nvram.templateFormat, format: nvram.format }),
  });
}

/** Descriptor features without which this guest would not work. */
function demandedFeatures({ pm, launchSecurity }: Domain): string[] {
  const features: string[] = [];
  if (pm?.suspendToMem?.enabled === true) features.push('acpi-s3');
  if (pm?.suspendToDisk?.enabled === true) features.push('acpi-s4');
  if (launchSecurity?.type === 'sev') {
    features.push('amd-sev');
    if (((launchSecurity.policy ?? 0n) & SEV_ES) !== 0n) features.push('amd-sev-es');
  }
  if (launchSecurity?.type === 'sev-snp') features.push('amd-sev-snp');
  if (launchSecurity?.type === 'tdx') features.push('intel-tdx');
  return features;
}

function applyChoice({ mapping, ...choice }: FirmwareChoice, domain: Domain, os: Os): void {
  os.firmware ??= os.loader?.type === 'pflash' ? 'efi' : 'bios';
  os.loader ??= {};
  const { loader } = os;
  loader.value = mapping.executable.path;
  loader.format = mapping.executable.format === 'qcow2' ? 'qcow2' : 'raw';
  if (mapping.device === 'flash') {
    loader.type = 'pflash';
    loader.readonly = mapping.mode !== 'combined';
    if (mapping.mode === 'split' && mapping.nvramTemplate !== undefined) applyTemplate(mapping.nvramTemplate, os);
  } else {
    loader.type = 'rom';
  }
  if (choice.requiresSmm) {
    loader.secure = true;
    domain.features ??= {};
    domain.features.smm ??= {};
    domain.features.smm.state = true;
  }
  os.firmwareFeatures = {
    features: [
      // Whether variables on another machine have keys in them is not ours to say.
      ...(isRemote(os.nvram) ? [] : [{ name: 'enrolled-keys', enabled: choice.enrolledKeys } as const]),
      { name: 'secure-boot', enabled: choice.secureBoot },
    ],
  };
}

function applyTemplate(template: { readonly path: string; readonly format: string }, os: Os): void {
  os.nvram ??= {};
  const { nvram } = os;
  const format = template.format === 'qcow2' ? 'qcow2' : 'raw';
  if (!isRemote(nvram)) {
    nvram.template ??= template.path;
    if (nvram.template === template.path) nvram.templateFormat ??= format;
  }
  nvram.format ??= format;
}

/** As under libvirt, the setting counts only where no descriptor says what the host has. */
function templatesOf({ host, config }: DomainContext): Readonly<Record<string, string>> {
  return host.firmware.descriptors.length === 0 ? (config.firmwares ?? LEGACY_TEMPLATES) : LEGACY_TEMPLATES;
}

function fillLegacyTemplate({ loader, nvram, ...os }: Os, templates: Readonly<Record<string, string>>): void {
  const template = templates[loader?.value ?? ''];
  if (template === undefined || loader?.type !== 'pflash' || isRemote(nvram)) return;
  if (loader.readonly !== true || loader.stateless === true || os.firmware !== undefined) return;
  if (nvram !== undefined) nvram.template ??= template;
}

/** Flash that is not written to needs a file for its variables, by default one of the guest's own. */
function fillVariables(context: DomainContext, os: Os): void {
  const { loader } = os;
  if (loader?.type !== 'pflash' || loader.readonly !== true || loader.stateless === true) return;
  os.nvram ??= legacyNvram(loader.value);
  const { nvram } = os;
  if (nvram.template !== undefined) nvram.templateFormat ??= 'raw';
  nvram.format ??= 'raw';
  if (nvram.value !== undefined || nvram.source !== undefined) return;
  const file = context.layout.nvramFile(context.domain.name ?? '');
  nvram.value = nvram.format === 'qcow2' ? file.replace(/\.fd$/, '.qcow2') : file;
}

function legacyNvram(loaderPath: string | undefined): OsNvram {
  const template = LEGACY_TEMPLATES[loaderPath ?? ''];
  return template === undefined ? {} : { template };
}

function isRemote(nvram: OsNvram | undefined): boolean {
  return nvram?.type === 'network';
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Drops undefined members, for types whose optional members must be absent. */
function withoutUndefined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as Defined<T>;
}

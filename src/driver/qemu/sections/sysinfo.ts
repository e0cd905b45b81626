/** `<sysinfo>`: SMBIOS strings (`-smbios`) and firmware configuration (`-fw_cfg`). */
import type { Sysinfo, SysinfoEntry, SysinfoTable } from '../../../model/domain/sysinfo.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { archOf, isArm, isX86 } from '../machine.ts';
import type { Part } from '../plan/parts.ts';

/** XML names in the order in which QEMU is told, and QEMU's name where it differs. */
const SMBIOS_NAMES = {
  bios: ['vendor', 'version', 'date', 'release'],
  system: ['manufacturer', 'product', 'version', 'serial', 'uuid', 'sku', 'family'],
  baseBoard: ['manufacturer', 'product', 'version', 'serial', 'asset', 'location'],
  chassis: ['manufacturer', 'version', 'serial', 'asset', 'sku'],
} as const;

const FW_CFG_PREFIX = 'opt/';
/** Names that QEMU and OVMF keep for themselves. */
const FW_CFG_RESERVED = ['opt/ovmf/', 'opt/org.qemu/'];

/** `-smbios` and `-fw_cfg`. */
export function planSysinfo(context: PlanContext): Part[] {
  return [...planSmbios(context), ...planFwCfg(context)];
}

function planSmbios(context: PlanContext): Part[] {
  const mode = context.domain.os?.smbios?.mode;
  const source = mode === 'host' ? context.hostSysinfo : mode === 'sysinfo' ? smbiosOf(context) : undefined;
  if (source === undefined) return [];
  const parts: Part[] = [];
  const add = (type: number, table: SysinfoTable | undefined, names: readonly string[]): void => {
    const values = tableProps(table, names);
    if (Object.keys(values).length > 0) parts.push({ kind: 'keyval', option: 'smbios', props: { type, ...values } });
  };
  add(0, source.bios, SMBIOS_NAMES.bios);
  // The host's UUID is not the guest's.
  add(
    1,
    source.system,
    SMBIOS_NAMES.system.filter((name) => mode !== 'host' || name !== 'uuid'),
  );
  for (const board of source.baseBoards) add(2, board, SMBIOS_NAMES.baseBoard);
  add(3, source.chassis, SMBIOS_NAMES.chassis);
  const strings = (source.oemStrings?.entries ?? []).map(({ value }) => value ?? '');
  if (strings.length > 0) parts.push({ kind: 'keyval', option: 'smbios', props: { type: 11, value: strings } });
  return parts;
}

function smbiosOf({ domain }: DomainContext): Sysinfo | undefined {
  return domain.sysinfos.find(({ type }) => type === 'smbios');
}

function tableProps(table: SysinfoTable | undefined, names: readonly string[]): Record<string, string> {
  const props: Record<string, string> = {};
  for (const name of names) {
    const value = table?.entries.find((entry) => entry.name === name)?.value;
    if (value !== undefined) props[name] = value;
  }
  return props;
}

function planFwCfg({ domain }: PlanContext): Part[] {
  return fwCfgEntries(domain).map(({ name, file, value }) => ({
    kind: 'keyval',
    option: 'fw_cfg',
    props: { name, ...(file === undefined ? { string: value } : { file }) },
  }));
}

function fwCfgEntries(domain: DomainContext['domain']): SysinfoEntry[] {
  return domain.sysinfos.filter(({ type }) => type === 'fwcfg').flatMap(({ entries }) => entries);
}

/** Names, formats, and that the strings a mode needs are there. */
export function validateSysinfo(context: DomainContext): void {
  const { domain } = context;
  validateMode(context);
  for (const sysinfo of domain.sysinfos) if (sysinfo.type === 'smbios') validateSmbios(context, sysinfo);
  for (const entry of fwCfgEntries(domain)) validateFwCfg(context, entry);
}

function validateMode(context: DomainContext): void {
  const { domain } = context;
  const smbios = domain.os?.smbios;
  if (smbios === undefined || smbios.mode === 'emulate') return;
  if (!isX86(domain) && !isArm(domain))
    fault(context, smbios, `${archOf(domain)} guests have no SMBIOS: remove <smbios>`);
  if (smbios.mode === 'host' && context.hostSysinfo === undefined) {
    fault(context, smbios, "mode='host' needs the host's SMBIOS strings, which are not known: use mode='sysinfo'");
  }
  if (smbios.mode === 'sysinfo' && smbiosOf(context) === undefined) {
    fault(context, smbios, "mode='sysinfo' needs a <sysinfo type='smbios'>: add one");
  }
}

function validateSmbios(context: DomainContext, sysinfo: Sysinfo): void {
  const date = sysinfo.bios?.entries.find(({ name }) => name === 'date');
  if (date !== undefined && !isDate(date.value ?? '')) {
    fault(context, date, `BIOS date '${date.value ?? ''}' must have the form mm/dd/yyyy`);
  }
  const uuid = sysinfo.system?.entries.find(({ name }) => name === 'uuid');
  if (uuid === undefined) return;
  const digits = (uuid.value ?? '').replaceAll('-', '').toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits)) fault(context, uuid, `'${uuid.value ?? ''}' is not a UUID`);
  else if (context.domain.uuid !== undefined && digits !== context.domain.uuid.replaceAll('-', '')) {
    fault(context, uuid, `system UUID '${uuid.value ?? ''}' differs from the domain's ${context.domain.uuid}`);
  }
}

function isDate(text: string): boolean {
  const match = /^(\d{1,2})\/(\d{1,2})\/(\d{2}|\d{4})$/.exec(text);
  if (match === null) return false;
  const [month, day] = [Number(match[1]), Number(match[2])];
  return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

function validateFwCfg(context: DomainContext, entry: SysinfoEntry): void {
  const { name, file, value } = entry;
  if (name === undefined) {
    fault(context, entry, 'a firmware entry needs a name', '@name');
    return;
  }
  if (file === undefined && value === undefined) {
    fault(context, entry, `firmware entry '${name}' needs a value or a file`);
  } else if (file !== undefined && value !== undefined) {
    fault(context, entry, `firmware entry '${name}' has both a value and a file: keep one`);
  }
  if (!name.startsWith(FW_CFG_PREFIX)) {
    fault(context, entry, `firmware entry '${name}' must be named '${FW_CFG_PREFIX}…'`, '@name');
  } else if (FW_CFG_RESERVED.some((prefix) => name.startsWith(prefix))) {
    fault(context, entry, `firmware entry '${name}' has a reserved name: use 'opt/your.domain/…'`, '@name');
  }
}

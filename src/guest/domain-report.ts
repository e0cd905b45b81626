/** What is told of a domain: definition, numbers, whether it matches a filter, and why an operation is not legal. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { type DomainOperation, DomainState, isLegal, STATE_NAMES } from '../driver/domain-state.ts';
import type { DomainFilter, DomainInfo, XmlOptions } from '../driver/driver.ts';
import { type Domain, formatDomain } from '../model/domain/domain.ts';
import { cloneDefinition } from '../model/schema/schema.ts';
import type { DomainRecord, LiveGuest } from './domain-record.ts';
import { stateOf } from './domain-store.ts';

/** `isSaved`: whether there is a managed save; only asked where the filter does. */
export function matchesFilter<G extends LiveGuest>(
  record: DomainRecord<G>,
  filter: DomainFilter,
  isSaved: (record: DomainRecord<G>) => boolean,
): boolean {
  return (
    (filter.active === undefined || filter.active === (record.guest !== undefined)) &&
    (filter.persistent === undefined || filter.persistent === record.isDefined) &&
    (filter.autostart === undefined || filter.autostart === record.autostart) &&
    (filter.states === undefined || filter.states.includes(stateOf(record).state)) &&
    (filter.managedSave === undefined || filter.managedSave === isSaved(record))
  );
}

/** The live definition, or the one for the next start. @throws VirtError while the first start is under way */
export function definitionOf(record: DomainRecord, inactive: boolean): Domain {
  const { definition, guest } = record;
  const domain = inactive ? (definition ?? guest?.domain) : (guest?.domain ?? definition);
  if (domain !== undefined) return domain;
  throw new VirtError(`domain '${record.name}' is being started`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: record.errorDomain,
  });
}

/** For whom passwords are none of their business. */
export function formatWithoutSecrets(domain: Domain): string {
  const shown = cloneDefinition(domain);
  hideSecrets(shown);
  return formatDomain(shown);
}

/** The domain's XML. Without `secure` it holds no password. */
export function describeDomain(
  record: DomainRecord,
  { inactive = false, secure = false }: Pick<XmlOptions, 'inactive' | 'secure'>,
): string {
  const domain = cloneDefinition(definitionOf(record, inactive));
  if (!secure) hideSecrets(domain);
  delete domain.id;
  return formatDomain(record.guest !== undefined && !inactive ? { ...domain, id: record.guest.id } : domain);
}

/** Removes what only VIR_DOMAIN_XML_SECURE shows. */
export function hideSecrets({ devices }: Domain): void {
  for (const graphics of devices?.graphics ?? []) {
    delete graphics.passwd;
    delete graphics.passwdValidTo;
  }
  for (const { source } of devices?.disks ?? []) delete source?.cookies;
}

/** `live`: what is measured of its guest, where one runs. */
export function infoOf(
  record: DomainRecord,
  live: { readonly memoryKiB?: number | undefined; readonly cpuTimeNs: bigint } | undefined,
): DomainInfo {
  const domain = definitionOf(record, false);
  const maxMemoryKiB = domain.memory?.value ?? 0;
  return {
    state: stateOf(record).state,
    maxMemoryKiB,
    memoryKiB: live?.memoryKiB ?? domain.currentMemory ?? maxMemoryKiB,
    vcpus: domain.vcpu?.current ?? domain.vcpu?.value ?? 1,
    cpuTimeNs: live?.cpuTimeNs ?? 0n,
  };
}

/** @throws VirtError OPERATION_INVALID when the state table forbids it */
export function requireLegal(operation: DomainOperation, record: DomainRecord): void {
  const { state } = stateOf(record);
  if (isLegal(operation, state)) return;
  if (operation === 'create') throw invalid(record, `cannot create domain '${record.name}': it is already running`);
  if (state === DomainState.SHUTOFF) throw notRunning(record);
  throw invalid(
    record,
    `cannot ${OPERATION_WORDS[operation] ?? operation} domain '${record.name}': it is ${STATE_NAMES[state]}`,
  );
}

/** The guest of a domain in a state in which the operation is legal. @throws VirtError OPERATION_INVALID */
export function activeGuest<G extends LiveGuest>(operation: DomainOperation, record: DomainRecord<G>): G {
  requireLegal(operation, record);
  // The table allows no operation of a running guest on one that is off.
  if (record.guest === undefined) throw invalid(record, `domain '${record.name}' is being started`);
  return record.guest;
}

/** As with libvirt, where all drivers share this answer, it is not a driver's own error. */
export function notRunning({ name }: DomainRecord): VirtError {
  return new VirtError(`Requested operation is not valid: domain '${name}' is not running`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.DOMAIN,
  });
}

/** Operations whose name is no verb that fits before "domain". */
const OPERATION_WORDS: Readonly<Partial<Record<DomainOperation, string>>> = {
  agentCommand: 'ask the agent of',
  monitorCommand: 'ask the monitor of',
  openConsole: 'open a console of',
  injectNmi: 'inject an NMI into',
  sendKey: 'send keys to',
  screenshot: 'take a screenshot of',
  pmWakeup: 'wake up',
  setAutostart: 'set autostart of',
  coreDump: 'dump',
  changeDevices: 'change devices of',
  abortJob: 'abort a job of',
};

function invalid({ errorDomain }: DomainRecord, message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: errorDomain,
  });
}

/** @throws VirtError when the domain is transient */
export function requireDefined(record: DomainRecord, operation: string): Domain {
  if (record.definition !== undefined) return record.definition;
  throw new VirtError(`cannot ${operation} domain '${record.name}': it is transient, not defined`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: record.errorDomain,
  });
}

/** What is told of a domain: definition, numbers, whether it matches a filter, and why an operation is not legal. */
import { readFileSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { type Domain, formatDomain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import { type DomainOperation, DomainState, isLegal, STATE_NAMES } from '../../domain-state.ts';
import type { DomainFilter, DomainInfo, XmlOptions } from '../../driver.ts';
import type { Layout } from '../layout.ts';
import { savedDefinition } from '../live/saved-definition.ts';
import { type DomainRecord, stateOf } from './domain-store.ts';
import type { RunningGuest } from './running-guest.ts';

/** Clock ticks of /proc/PID/stat: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;

export function matchesFilter(record: DomainRecord, filter: DomainFilter): boolean {
  return (
    (filter.active === undefined || filter.active === (record.guest !== undefined)) &&
    (filter.persistent === undefined || filter.persistent === record.isDefined) &&
    (filter.autostart === undefined || filter.autostart === record.autostart) &&
    (filter.states === undefined || filter.states.includes(stateOf(record).state))
  );
}

/** The live definition, or the one for the next start. @throws VirtError while the first start is under way */
export function definitionOf(record: DomainRecord, inactive: boolean): Domain {
  const { definition, guest } = record;
  const domain = inactive ? (definition ?? guest?.domain) : (guest?.domain ?? definition);
  if (domain !== undefined) return domain;
  throw new VirtError(`domain '${record.name}' is being started`, { code: ErrorCode.OPERATION_INVALID });
}

/** For whom passwords are none of their business. */
export function formatWithoutSecrets(domain: Domain): string {
  const shown = cloneDefinition(domain);
  hideSecrets(shown);
  return formatDomain(shown);
}

/** The domain's XML. Without `secure` it holds no password; `migratable`: as saved images hold it. */
export function describeDomain(
  record: DomainRecord,
  layout: Layout,
  { inactive = false, secure = false, migratable = false }: XmlOptions,
): string {
  // Whoever starts the guest elsewhere needs the passwords too.
  if (migratable) return formatDomain(savedDefinition(definitionOf(record, inactive), layout));
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

export function infoOf(record: DomainRecord): DomainInfo {
  const domain = definitionOf(record, false);
  const maxMemoryKiB = domain.memory?.value ?? 0;
  return {
    state: stateOf(record).state,
    maxMemoryKiB,
    memoryKiB: record.guest?.balloonKiB ?? domain.currentMemory ?? maxMemoryKiB,
    vcpus: domain.vcpu?.current ?? domain.vcpu?.value ?? 1,
    cpuTimeNs: record.guest === undefined ? 0n : readCpuTimeNs(record.guest.pid),
  };
}

/** @throws VirtError OPERATION_INVALID when the state table forbids it */
export function requireLegal(operation: DomainOperation, record: DomainRecord): void {
  const { state } = stateOf(record);
  if (isLegal(operation, state)) return;
  if (operation === 'create') throw invalid(`cannot create domain '${record.name}': it is already running`);
  if (state === DomainState.SHUTOFF) throw invalid(`domain '${record.name}' is not running`);
  throw invalid(
    `cannot ${OPERATION_WORDS[operation] ?? operation} domain '${record.name}': it is ${STATE_NAMES[state]}`,
  );
}

/** The guest of a domain in a state in which the operation is legal. @throws VirtError OPERATION_INVALID */
export function activeGuest(operation: DomainOperation, record: DomainRecord): RunningGuest {
  requireLegal(operation, record);
  // The table allows no operation of a running guest on one that is off.
  if (record.guest === undefined) throw invalid(`domain '${record.name}' is being started`);
  return record.guest;
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

function invalid(message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}

/** @throws VirtError when the domain is transient */
export function requireDefined(record: DomainRecord, operation: string): Domain {
  if (record.definition !== undefined) return record.definition;
  throw new VirtError(`cannot ${operation} domain '${record.name}': it is transient, not defined`, {
    code: ErrorCode.OPERATION_INVALID,
  });
}

function readCpuTimeNs(pid: number): bigint {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // It has just ended; the state will say so.
    return 0n;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (BigInt(fields[11] ?? 0) + BigInt(fields[12] ?? 0)) * TICK_NS;
}

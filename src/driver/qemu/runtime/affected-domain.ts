/**
 * Which definition an operation is about (the running guest's, the next start's, both), and a change of it that is refused as a whole
 * or carried out as a whole. The rule is libvirt's: without a choice, what the domain is now.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { AffectOptions } from '../../driver.ts';
import { requireDefined } from './domain-report.ts';
import type { DomainRecord } from './domain-store.ts';
import type { DriverParts } from './driver-parts.ts';
import type { RunningGuest } from './running-guest.ts';

export interface Affected {
  /** The guest to change now. */
  readonly live: RunningGuest | undefined;
  /** The definition to change for the next start. */
  readonly config: Domain | undefined;
}

/** @throws VirtError for a live change of what is off, or a lasting one of what is transient */
export function affectedBy(record: DomainRecord, { live, config }: AffectOptions): Affected {
  const current = live !== true && config !== true;
  const wantsLive = live === true || (current && record.guest !== undefined);
  const wantsConfig = config === true || (current && record.guest === undefined);
  if (wantsLive && record.guest === undefined) throw notRunning(record);
  return {
    live: wantsLive ? record.guest : undefined,
    config: wantsConfig ? requireDefined(record, 'change the lasting configuration of') : undefined,
  };
}

/** The one definition that a question is about. @throws VirtError where both are asked for */
export function readAffected(
  record: DomainRecord,
  options: AffectOptions,
): { readonly domain: Domain; readonly guest: RunningGuest | undefined } {
  const { live, config } = affectedBy(record, options);
  if (live !== undefined && config !== undefined)
    throw invalid('read either the live or the next configuration, not both');
  const domain = live?.domain ?? config;
  if (domain === undefined) throw notRunning(record);
  return { domain, guest: live };
}

/** What a change does: to a definition, and to a running guest. */
export interface DomainChange {
  /** Changes a definition in place; throws where it cannot be. */
  readonly change: (domain: Domain) => void;
  /** Carries it out; `domain` is the running guest's definition as it will be. */
  readonly carryOut: (guest: RunningGuest, domain: Domain) => Promise<void>;
  /** A running guest has been changed, and that is written down. */
  readonly onLive?: (record: DomainRecord, domain: Domain) => void;
}

/** All that can be refused is refused before anything is changed; both definitions are on disk when this returns. */
export async function changeAffected(
  { store, starter }: Pick<DriverParts, 'store' | 'starter'>,
  uuid: string,
  options: AffectOptions,
  { change, carryOut, onLive }: DomainChange,
): Promise<void> {
  const record = store.byUuid(uuid);
  using _job = await record.job.acquire(options.signal);
  const { live, config } = affectedBy(record, options);
  const next = config === undefined ? undefined : changed(config, change);
  if (live !== undefined) {
    await carryOut(live, changed(live.domain, change));
    change(live.domain);
    await starter.persist(record);
    onLive?.(record, live.domain);
  }
  if (next !== undefined) await store.save(record, next);
}

function changed(domain: Domain, change: (domain: Domain) => void): Domain {
  const copy = cloneDefinition(domain);
  change(copy);
  return copy;
}

export function notRunning(record: DomainRecord): VirtError {
  return new VirtError(`Requested operation is not valid: domain '${record.name}' is not running`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}

export function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

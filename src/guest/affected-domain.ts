/**
 * Which definition an operation is about (the running guest's, the next start's, both), and a change of it that is refused as a whole
 * or carried out as a whole. The rule is libvirt's: without a choice, what the domain is now.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { AffectOptions } from '../driver/driver.ts';
import type { Domain } from '../model/domain/domain.ts';
import { cloneDefinition } from '../model/schema/schema.ts';
import type { DomainRecord, LiveGuest } from './domain-record.ts';
import { notRunning, requireDefined } from './domain-report.ts';
import type { DomainStore } from './domain-store.ts';

export interface Affected<G extends LiveGuest = LiveGuest> {
  /** The guest to change now. */
  readonly live: G | undefined;
  /** The definition to change for the next start. */
  readonly config: Domain | undefined;
}

/** @throws VirtError for a live change of what is off, or a lasting one of what is transient */
export function affectedBy<G extends LiveGuest>(record: DomainRecord<G>, { live, config }: AffectOptions): Affected<G> {
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
export function readAffected<G extends LiveGuest>(
  record: DomainRecord<G>,
  options: AffectOptions,
): { readonly domain: Domain; readonly guest: G | undefined } {
  const { live, config } = affectedBy(record, options);
  if (live !== undefined && config !== undefined)
    throw invalid('read either the live or the next configuration, not both');
  const domain = live?.domain ?? config;
  if (domain === undefined) throw notRunning(record);
  return { domain, guest: live };
}

/** What a change does: to a definition, and to a running guest. */
export interface DomainChange<G extends LiveGuest> {
  /** Changes a definition in place; throws where it cannot be. */
  readonly change: (domain: Domain) => void;
  /** Carries it out; `domain` is the running guest's definition as it will be. */
  readonly carryOut: (guest: G, domain: Domain) => Promise<void>;
  /** A running guest has been changed, and that is written down. */
  readonly onLive?: (record: DomainRecord<G>, domain: Domain) => void;
}

/** Where definitions are kept, and what a running guest has become. */
export interface ChangeParts<G extends LiveGuest> {
  readonly store: DomainStore<G>;
  readonly starter: { persist(record: DomainRecord<G>): Promise<void> };
}

/** All that can be refused is refused before anything is changed; both definitions are on disk when this returns. */
export async function changeAffected<G extends LiveGuest>(
  { store, starter }: ChangeParts<G>,
  uuid: string,
  options: AffectOptions,
  { change, carryOut, onLive }: DomainChange<G>,
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

export function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

/**
 * What is kept of a daemon's running guest, so that the next daemon finds it: who its process is, what its driver needs to reach it, and the
 * live definition. One JSON file each; those of an earlier boot tell of guests that are gone.
 */

import { readFileSync } from 'node:fs';
import { readScope } from '../core/ledger-owner.ts';
import { memberOf } from '../core/members.ts';
import { DomainState } from '../driver/domain-state.ts';
import type { DomainStateAndReason } from '../driver/driver.ts';
import { type Domain, formatDomain, parseDomain } from '../model/domain/domain.ts';
import type { ProcessIdentity } from '../process/proc.ts';

const VERSION = 1;

export interface GuestStatus {
  readonly id: number;
  readonly shortName: string;
  readonly process: ProcessIdentity;
  /** What its driver needs besides: QEMU's monitor, a container's first process. */
  readonly extra: Readonly<Record<string, string>>;
  /** The live definition. */
  readonly domain: Domain;
  /** What it was about to be: a device was on its way to QEMU when this was written. */
  readonly plugging?: Domain | undefined;
  /** No definition outlives it. */
  readonly transient: boolean;
  /** It ends with the client that started it, and that client is gone when the daemon is. */
  readonly autodestroy: boolean;
  /** What it was when this was written, with the reason: whoever comes later knows only what QEMU says. */
  readonly state: DomainStateAndReason;
}

/** Changes with every start of the kernel. */
function readBootId(): string {
  return readScope().bootId;
}

export function formatStatus(status: GuestStatus): string {
  const { domain, plugging, ...rest } = status;
  const texts = {
    xml: formatDomain(domain),
    ...(plugging === undefined ? {} : { plugging: formatDomain(plugging) }),
  };
  return JSON.stringify({ version: VERSION, boot: readBootId(), ...rest, ...texts });
}

function stateOf(raw: unknown): DomainStateAndReason {
  const [state, reason] = [memberOf(raw, 'state'), memberOf(raw, 'reason')];
  const known = Object.values(DomainState).find((candidate) => candidate === state);
  return { state: known ?? DomainState.NOSTATE, reason: typeof reason === 'number' ? reason : 0 };
}

/** @returns beside them one line for each file that cannot be read */
export function readStatuses(paths: readonly string[]): { found: GuestStatus[]; problems: string[] } {
  const found: GuestStatus[] = [];
  const problems: string[] = [];
  for (const path of paths) {
    try {
      found.push(parseStatus(readFileSync(path, 'utf8'), path));
    } catch (error) {
      problems.push(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { found: found.toSorted((a, b) => a.id - b.id), problems };
}

/** @throws Error for a file that is not what `formatStatus` makes */
export function parseStatus(text: string, fileName: string): GuestStatus {
  const raw: unknown = JSON.parse(text);
  if (typeof raw !== 'object' || raw === null) throw new TypeError('it is no object');
  const get = (name: string): unknown => Reflect.get(raw, name);
  if (get('version') !== VERSION) throw new TypeError(`it has version ${String(get('version'))}, not ${VERSION}`);
  const [pid, startTime] = [memberOf(raw, 'process', 'pid'), memberOf(raw, 'process', 'startTime')];
  const [id, shortName, extra, xml] = [get('id'), get('shortName'), get('extra'), get('xml')];
  const plugging = get('plugging');
  if (
    typeof id !== 'number' ||
    typeof shortName !== 'string' ||
    typeof extra !== 'object' ||
    extra === null ||
    typeof xml !== 'string' ||
    typeof pid !== 'number' ||
    typeof startTime !== 'string'
  ) {
    throw new TypeError('members are missing');
  }
  return {
    id,
    shortName,
    extra: Object.fromEntries(Object.entries(extra).map(([key, value]) => [key, String(value)])),
    // No process of now has this number of then.
    process: get('boot') === readBootId() ? { pid, startTime } : { pid, startTime: '' },
    domain: parseDomain(xml, { fileName }).domain,
    ...(typeof plugging === 'string' && { plugging: parseDomain(plugging, { fileName }).domain }),
    transient: get('transient') === true,
    autodestroy: get('autodestroy') === true,
    state: stateOf(get('state')),
  };
}

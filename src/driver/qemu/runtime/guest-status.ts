/**
 * What is kept of a daemon's running guest, so that the next daemon finds it: who its process is, how to reach its monitor, and the live
 * definition. One JSON file each; those of an earlier boot tell of guests that are gone.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../core/fs.ts';
import { readScope } from '../../../core/ledger-owner.ts';
import { type Domain, formatDomain, parseDomain } from '../../../model/domain/domain.ts';
import type { ProcessIdentity } from '../../../process/proc.ts';
import { DomainState } from '../../domain-state.ts';
import type { DomainStateAndReason } from '../../driver.ts';

const VERSION = 1;

export interface GuestStatus {
  readonly id: number;
  readonly shortName: string;
  readonly process: ProcessIdentity;
  /** UNIX socket of its monitor. */
  readonly monitor: string;
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
export function readBootId(): string {
  return readScope().bootId;
}

/** Written whole or not at all. */
export async function writeStatus(path: string, status: GuestStatus): Promise<void> {
  const { domain, plugging, ...rest } = status;
  const texts = {
    xml: formatDomain(domain),
    ...(plugging === undefined ? {} : { plugging: formatDomain(plugging) }),
  };
  await writeFileAtomic(path, JSON.stringify({ version: VERSION, boot: readBootId(), ...rest, ...texts }), {
    mode: 0o600,
    sync: false,
  });
}

export function removeStatus(path: string): void {
  rmSync(path, { force: true });
}

function stateOf(raw: unknown): DomainStateAndReason {
  const [state, reason] =
    typeof raw === 'object' && raw !== null ? [Reflect.get(raw, 'state'), Reflect.get(raw, 'reason')] : [];
  const known = Object.values(DomainState).find((candidate) => candidate === state);
  return { state: known ?? DomainState.NOSTATE, reason: typeof reason === 'number' ? reason : 0 };
}

/** All of a folder. @returns beside them one line for each file that cannot be read */
export function readStatuses(dir: string): { found: GuestStatus[]; problems: string[] } {
  const found: GuestStatus[] = [];
  const problems: string[] = [];
  for (const name of readdirSync(dir).filter((file) => file.endsWith('.json'))) {
    const path = join(dir, name);
    try {
      found.push(parseStatus(readFileSync(path, 'utf8'), path));
    } catch (error) {
      problems.push(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { found: found.toSorted((a, b) => a.id - b.id), problems };
}

/** @throws Error for a file that is not what `writeStatus` writes */
export function parseStatus(text: string, fileName: string): GuestStatus {
  const raw: unknown = JSON.parse(text);
  if (typeof raw !== 'object' || raw === null) throw new TypeError('it is no object');
  const get = (name: string): unknown => Reflect.get(raw, name);
  if (get('version') !== VERSION) throw new TypeError(`it has version ${String(get('version'))}, not ${VERSION}`);
  const process: unknown = get('process');
  const [pid, startTime] =
    typeof process === 'object' && process !== null
      ? [Reflect.get(process, 'pid'), Reflect.get(process, 'startTime')]
      : [];
  const fields = [get('id'), get('shortName'), get('monitor'), get('xml'), pid, startTime];
  const [id, shortName, monitor, xml] = fields;
  const plugging = get('plugging');
  if (
    typeof id !== 'number' ||
    typeof shortName !== 'string' ||
    typeof monitor !== 'string' ||
    typeof xml !== 'string' ||
    typeof pid !== 'number' ||
    typeof startTime !== 'string'
  ) {
    throw new TypeError('members are missing');
  }
  return {
    id,
    shortName,
    monitor,
    // No process of now has this number of then.
    process: get('boot') === readBootId() ? { pid, startTime } : { pid, startTime: '' },
    domain: parseDomain(xml, { fileName }).domain,
    ...(typeof plugging === 'string' && { plugging: parseDomain(plugging, { fileName }).domain }),
    transient: get('transient') === true,
    autodestroy: get('autodestroy') === true,
    state: stateOf(get('state')),
  };
}

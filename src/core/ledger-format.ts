/**
 * The ledger's file format: one file per owner, one JSON value per line, appended. A line that SIGKILL or a full disk cut short is
 * the last one, and what it announced was not made yet. Pure: text in, text out.
 *
 *   {"format":1,"owner":{…}}                          first line
 *   {"id":7,"kind":"file","identity":{"path":"/x"}}   before the object is made
 *   {"done":7}                                        after it has been removed
 */

import type { LedgerOwner, ProcessIdentity } from './ledger-owner.ts';

export const LEDGER_FORMAT = 1;

/** What names an object to its remover: plain JSON. */
export type ObjectIdentity = Readonly<Record<string, string | number | boolean>>;

export interface LedgerRecord {
  id: number;
  kind: string;
  identity: ObjectIdentity;
}

export interface LedgerContents {
  /** Missing when the first line was cut short: then there are no records either. */
  owner: LedgerOwner | undefined;
  /** Objects that are not known to be removed, in the order in which they were made. */
  open: LedgerRecord[];
  /** Complete lines that are not of this format: 1-based numbers. */
  badLines: number[];
}

export function formatHeader(owner: LedgerOwner): string {
  const { pid, startTime, bootId, pidNamespace } = owner;
  return `${JSON.stringify({ format: LEDGER_FORMAT, owner: { pid, startTime, bootId, pidNamespace } })}\n`;
}

export function formatRecord({ id, kind, identity }: LedgerRecord): string {
  return `${JSON.stringify({ id, kind, identity })}\n`;
}

export function formatDone(id: number): string {
  return `{"done":${id}}\n`;
}

/** Never throws: whatever a crash left must not keep the rest from being removed. */
export function parseLedger(text: string): LedgerContents {
  const lines = text.split('\n');
  // What follows the last newline is empty or torn.
  lines.pop();
  const open = new Map<number, LedgerRecord>();
  const badLines: number[] = [];
  const owner = parseOwner(parseLine(lines[0]));
  lines.forEach((line, index) => {
    if (index === 0 && owner !== undefined) return;
    const value = parseLine(line);
    if (isRecord(value)) open.set(value.id, value);
    else if (isObject(value) && typeof value['done'] === 'number') open.delete(value['done']);
    else badLines.push(index + 1);
  });
  return { owner, open: [...open.values()], badLines };
}

/** File name of an owner's ledger; several ledgers of one owner differ in `unique`. */
export function ledgerFileName(owner: ProcessIdentity, unique: string): string {
  return `${owner.pid}-${owner.startTime}-${unique}.ledger`;
}

export interface LedgerFileName {
  owner: ProcessIdentity;
  /** The name without a claim. */
  base: string;
  /** The process that collects it at the moment, or did when it died. */
  claimant: ProcessIdentity | undefined;
}

const FILE_NAME = /^((\d+)-(\d+)-[0-9a-f]+\.ledger)(?:\.claimed-(\d+)-(\d+)-[0-9a-f]+)?$/;

export function parseLedgerFileName(name: string): LedgerFileName | undefined {
  const match = FILE_NAME.exec(name);
  const [, base, pid, startTime, claimPid, claimStart] = match ?? [];
  if (base === undefined || pid === undefined || startTime === undefined) return undefined;
  const claimant =
    claimPid === undefined || claimStart === undefined ? undefined : { pid: Number(claimPid), startTime: claimStart };
  return { owner: { pid: Number(pid), startTime }, base, claimant };
}

export function claimedFileName(base: string, claimant: ProcessIdentity, unique: string): string {
  return `${base}.claimed-${claimant.pid}-${claimant.startTime}-${unique}`;
}

function parseLine(line: string | undefined): unknown {
  if (line === undefined) return undefined;
  try {
    return JSON.parse(line) as unknown;
  } catch {
    // Reported by its number in `badLines`.
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isRecord(value: unknown): value is LedgerRecord {
  return (
    isObject(value) &&
    typeof value['id'] === 'number' &&
    typeof value['kind'] === 'string' &&
    isObject(value['identity'])
  );
}

function parseOwner(value: unknown): LedgerOwner | undefined {
  if (!isObject(value) || value['format'] !== LEDGER_FORMAT || !isObject(value['owner'])) return undefined;
  const { pid, startTime, bootId, pidNamespace } = value['owner'];
  if (typeof pid !== 'number' || typeof startTime !== 'string') return undefined;
  if (typeof bootId !== 'string' || typeof pidNamespace !== 'string') return undefined;
  return { pid, startTime, bootId, pidNamespace };
}

/**
 * Removes what dead processes have left, by their ledgers: last made first, several collectors at once do not get into
 * each other's way. It trusts a ledger only in a private folder, and only within its own boot and pid namespace.
 *
 * A collector claims a dead owner's ledger by renaming it to a name that carries its own identity: one rename wins. A
 * collector that dies leaves a claimed file whose claimant is dead, which the next one claims in the same way. Removers
 * are idempotent, so that doing a part twice is harmless. What could not be removed is given back for the next time.
 */

import {
  appendFileSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { join } from 'node:path';
import { requirePrivateDir } from './fs-runtime-dir.ts';
import {
  claimedFileName,
  formatDone,
  type LedgerContents,
  type LedgerFileName,
  type ObjectIdentity,
  parseLedger,
  parseLedgerFileName,
} from './ledger-format.ts';
import { isAlive, type LedgerOwner, readOwner } from './ledger-owner.ts';
import { CORE_REMOVERS, type Removers } from './ledger-removers.ts';
import { randomHex } from './random.ts';

export interface CollectGarbageOptions {
  /** The folder given to `Ledger.open`. */
  dir: string;
  /** Default: processes, files, sockets, directories. */
  removers?: Removers;
  procRoot?: string;
  /** Who collects; default: this process. */
  self?: LedgerOwner;
  signal?: AbortSignal | undefined;
}

export interface GarbageItem {
  kind: string;
  identity: ObjectIdentity;
  ownerPid: number;
  /** One line for a person. */
  line: string;
}

export interface GarbageReport {
  removed: GarbageItem[];
  /** Still there; the next collection tries again. */
  failed: (GarbageItem & { error: unknown })[];
  /** Ledgers that are not ours to judge, and broken lines. */
  notes: string[];
}

/** More than a header ever has. */
const HEADER_BYTES = 1024;

/** A half-written file whose owner cannot be known is left alone for this long. */
const NAMELESS_AGE_MS = 60_000;

/**
 * Collects once. Failures of single objects are in the report.
 * @throws PathRefusedError when others could write to `dir`; the signal's reason, with claims given back
 */
export async function collectGarbage(options: CollectGarbageOptions): Promise<GarbageReport> {
  const { dir, procRoot = '/proc', signal } = options;
  const report: GarbageReport = { removed: [], failed: [], notes: [] };
  const names = listFolder(dir);
  if (names.length === 0) return report;
  requirePrivateDir(dir, process.getuid?.() ?? 0);
  const collector: Collector = {
    dir,
    procRoot,
    signal,
    report,
    removers: options.removers ?? CORE_REMOVERS,
    self: options.self ?? readOwner(process.pid, procRoot),
  };
  for (const name of names) {
    signal?.throwIfAborted();
    const file = parseLedgerFileName(name);
    if (file !== undefined) await collectFile(collector, name, file);
    else if (name.endsWith('.ledger.tmp')) removeHalfWritten(collector, name);
  }
  return report;
}

interface Collector {
  dir: string;
  removers: Removers;
  procRoot: string;
  self: LedgerOwner;
  signal: AbortSignal | undefined;
  report: GarbageReport;
}

function listFolder(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

async function collectFile(collector: Collector, name: string, file: LedgerFileName): Promise<void> {
  const path = join(collector.dir, name);
  const header = readHeader(path);
  if (header === undefined) return;
  const { owner } = parseLedger(header);
  if (!mayCollect(collector, name, file, owner)) return;
  const claimed = join(collector.dir, claimedFileName(file.base, collector.self, randomHex(4)));
  if (!renameOrLose(path, claimed)) return;
  let finished = false;
  try {
    finished = await removeEntries(collector, claimed, owner);
  } finally {
    // Given back also when the signal fires: another collector may go on at once.
    if (finished) rmSync(claimed, { force: true });
    else renameOrLose(claimed, join(collector.dir, file.base));
  }
}

function mayCollect(
  { self, procRoot, report }: Collector,
  name: string,
  { claimant }: LedgerFileName,
  owner: LedgerOwner | undefined,
): owner is LedgerOwner {
  if (owner === undefined) {
    report.notes.push(`ledger ${name} does not say whose it is and is left alone`);
    return false;
  }
  if (owner.bootId !== self.bootId) return true;
  if (owner.pidNamespace !== self.pidNamespace) {
    report.notes.push(`ledger ${name} belongs to another pid namespace (${owner.pidNamespace}) and is left alone`);
    return false;
  }
  return !isAlive(owner, procRoot) && (claimant === undefined || !isAlive(claimant, procRoot));
}

/** True when nothing is left to do. */
async function removeEntries(collector: Collector, path: string, owner: LedgerOwner): Promise<boolean> {
  const { report, signal, removers, procRoot, self } = collector;
  // Only now, as an earlier claimant may have removed things until the claim.
  const contents = readLedger(path);
  if (contents === undefined) return true;
  // A line that was cut short would swallow the next one.
  truncateSync(path, contents.completeBytes);
  for (const line of contents.badLines) report.notes.push(`ledger ${path}: line ${line} is not understood`);
  const context = { procRoot, signal, sameBoot: owner.bootId === self.bootId };
  let finished = true;
  for (const { id, kind, identity } of contents.open.toReversed()) {
    signal?.throwIfAborted();
    const what = `${kind} ${describe(identity)}, left by pid ${owner.pid}`;
    const item = { kind, identity, ownerPid: owner.pid };
    try {
      const remover = Object.hasOwn(removers, kind) ? removers[kind] : undefined;
      if (remover === undefined) throw new TypeError('this program does not know how; a newer one may');
      await remover(identity, context);
      report.removed.push({ ...item, line: `removed ${what}` });
    } catch (error) {
      signal?.throwIfAborted();
      finished = false;
      const why = error instanceof Error ? error.message : String(error);
      report.failed.push({ ...item, error, line: `cannot remove ${what}: ${why}` });
      continue;
    }
    appendFileSync(path, formatDone(id));
  }
  return finished;
}

function readLedger(path: string): (LedgerContents & { completeBytes: number }) | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    // Another collector was faster.
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  const completeBytes = bytes.lastIndexOf(0x0a) + 1;
  return { ...parseLedger(bytes.toString('utf8', 0, completeBytes)), completeBytes };
}

/** Only the first line: most ledgers belong to the living, and a daemon's is long. */
function readHeader(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    // Another collector was faster.
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const buffer = Buffer.alloc(HEADER_BYTES);
    const text = buffer.toString('utf8', 0, readSync(fd, buffer));
    return text.slice(0, text.indexOf('\n') + 1);
  } finally {
    closeSync(fd);
  }
}

function renameOrLose(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** A file that was never given its name announces nothing; it is only litter. */
function removeHalfWritten({ dir, procRoot }: Collector, name: string): void {
  const path = join(dir, name);
  const file = parseLedgerFileName(name.slice(0, -'.tmp'.length));
  const stats = statSync(path, { throwIfNoEntry: false });
  if (file === undefined || stats === undefined || isAlive(file.owner, procRoot)) return;
  if (Date.now() - stats.mtimeMs > NAMELESS_AGE_MS) rmSync(path, { force: true });
}

function describe(identity: ObjectIdentity): string {
  const { path, pid, name } = identity;
  return String(path ?? name ?? pid ?? JSON.stringify(identity));
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

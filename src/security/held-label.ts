/**
 * Gives one file a label and takes it back, however the program that set it has ended: what is written to the ledger before the label is set
 * is all that giving it back needs. Under a lock of the host's, as several programs count on one file.
 */
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { ObjectIdentity } from '../core/ledger-format.ts';
import { acquireLockFile, LockedError } from '../core/lock-file.ts';
import { LogSource } from '../core/log-source.ts';
import { runCommand } from '../process/run-command.ts';
import { type FileLabelsByModel, fileLabels } from './file-labels.ts';
import { type HeldFile, holdFile } from './held-file.ts';
import { type LabelMemory, xattrMemory } from './label-memory.ts';
import { type LabelAction, SecurityError } from './label-plan.ts';
import { loadXattrs, type XattrBackend } from './xattr.ts';

/** How labels are read, written and remembered on this host. */
export interface LabelTools {
  readonly labels: FileLabelsByModel;
  /** Undefined: nothing can be remembered on files. */
  readonly memory: LabelMemory | undefined;
  /** Gives a file the context that the policy has for its path. */
  readonly restoreDefault: (path: string) => Promise<void>;
}

export interface LabelToolsOptions {
  readonly xattrs?: XattrBackend | undefined;
  /** Names of attributes, for file systems that do not allow the usual ones. */
  readonly attributes?: { readonly selinux: string; readonly prefix: string; readonly ownPrefix: string };
  /** Default: `restorecon`. */
  readonly restoreDefault?: ((path: string) => Promise<void>) | undefined;
  /** Default `/proc`. */
  readonly proc?: string;
}

/** What the ledger keeps of a label that was set. */
export interface HeldLabel extends ObjectIdentity {
  readonly path: string;
  readonly model: LabelAction['model'];
  readonly label: string;
  /** What the file had; empty: nothing. */
  readonly before: string;
  readonly restore: 'remembered' | 'default';
  readonly holder: string;
  readonly device: string;
  readonly inode: string;
  readonly lock: string;
}

const RETRY_MS = 2;
const LOCK_PATIENCE_MS = 10_000;
const log = new LogSource('security.security_manager');
const VOICES = {
  dac: { source: new LogSource('security.security_dac'), what: 'DAC user and group' },
  selinux: { source: new LogSource('security.security_selinux'), what: 'SELinux context' },
} as const;

export async function loadLabelTools(options: LabelToolsOptions = {}): Promise<LabelTools> {
  const xattrs = options.xattrs ?? (await loadXattrs());
  const { attributes, proc = '/proc' } = options;
  return {
    labels: fileLabels(xattrs, attributes?.selinux),
    memory: xattrs === undefined ? undefined : xattrMemory({ xattrs, bootTime: readBootTime(proc), ...attributes }),
    restoreDefault: options.restoreDefault ?? runRestorecon,
  };
}

/** An action on one file with what the file is now; undefined when there is nothing to do. @throws SecurityError */
export function planHold(
  action: LabelAction,
  { holder, lock, labels }: { holder: string; lock: string; labels: FileLabelsByModel },
): HeldLabel | undefined {
  using file = holdFile(action.path);
  if (file === undefined) {
    if (action.optional) return undefined;
    throw new SecurityError(`cannot label '${action.path}': it does not exist`, { path: action.path, errno: 'ENOENT' });
  }
  const { model, label, restore } = action;
  return {
    path: file.path,
    model,
    label,
    before: labels[model].read(file) ?? '',
    restore: restore === 'default' ? 'default' : 'remembered',
    holder,
    lock,
    ...identityOf(file),
  };
}

/**
 * Sets a label that the ledger knows of. @returns why the file stays as it is, where its file system has no such labels
 * @throws SecurityError when a running guest has given it another one
 */
export async function setHeldLabel(
  held: HeldLabel,
  tools: LabelTools,
  signal?: AbortSignal,
): Promise<string | undefined> {
  return await locked(held.lock, signal, () => {
    using file = holdFile(held.path);
    if (file === undefined || !isSame(file, held)) {
      throw new SecurityError(`cannot label '${held.path}': it has changed meanwhile`, { path: held.path });
    }
    const labels = tools.labels[held.model];
    const current = labels.read(file);
    const holders =
      held.restore === 'remembered' ? tools.memory?.hold(file, held.model, current ?? '', held.holder) : undefined;
    if (current === held.label) return undefined;
    if (holders !== undefined && holders > 1) {
      throw new SecurityError(
        `cannot give '${held.path}' the label ${held.label}: a running guest has it with ${current ?? 'none'}; ` +
          "end that guest, run both as the same user, or add <seclabel relabel='no'/> to the <source>",
        { model: held.model, path: held.path },
      );
    }
    return labels.write(file, held.label);
  });
}

/** Takes a label back, unless others hold the file or it has got another label meanwhile. Idempotent. @throws SecurityError */
export async function releaseHeldLabel(held: HeldLabel, tools: LabelTools, signal?: AbortSignal): Promise<void> {
  const needsDefault = await locked(held.lock, signal, () => releaseNow(held, tools));
  if (needsDefault) await tools.restoreDefault(held.path);
}

function releaseNow(held: HeldLabel, tools: LabelTools): boolean {
  using file = holdFile(held.path);
  // Removed or replaced: not what was labelled.
  if (file === undefined || !isSame(file, held)) return false;
  const released =
    held.restore === 'remembered'
      ? tools.memory?.release(file, held.model, held.holder)
      : ({ kind: 'unknown' } as const);
  if (released?.kind === 'in use') return false;
  const labels = tools.labels[held.model];
  const current = labels.read(file);
  if (current !== held.label) {
    log.info('restoreLabel', () => `'${held.path}' has ${current ?? 'no label'}, which is not ours: it is left`);
    return false;
  }
  const before = labelBefore(held, released?.kind === 'last' ? released.before : undefined);
  const { source, what } = VOICES[held.model];
  source.info('restoreLabel', () => `Restoring ${what} on '${held.path}'`);
  if (before === undefined) return true;
  if (before !== current) labels.write(file, before);
  return false;
}

/** Undefined: what the policy says. */
function labelBefore({ model, restore, before }: HeldLabel, remembered: string | undefined): string | undefined {
  if (restore === 'default') return model === 'dac' ? '+0:+0' : undefined;
  const label = remembered ?? before;
  return label === '' ? undefined : label;
}

function identityOf({ stats: { dev, ino } }: HeldFile): { device: string; inode: string } {
  return { device: String(dev), inode: String(ino) };
}

function isSame(file: HeldFile, { device, inode }: HeldLabel): boolean {
  const found = identityOf(file);
  return found.device === device && found.inode === inode;
}

/** The work itself never waits, so that nobody holds the lock for longer than a few system calls. */
async function locked<T>(path: string, signal: AbortSignal | undefined, work: () => T): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    signal?.throwIfAborted();
    let lock: Disposable;
    try {
      lock = acquireLockFile(path);
    } catch (error) {
      if (!(error instanceof LockedError) || waitedMs >= LOCK_PATIENCE_MS) throw error;
      await pause(RETRY_MS, undefined, { signal });
      continue;
    }
    try {
      return work();
    } finally {
      lock[Symbol.dispose]();
    }
  }
}

/** The folder of a TPM and the like: itself and all files in it; links are left alone. */
export function filesOf(path: string): string[] {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.isSymbolicLink()) return [];
  if (!stats.isDirectory()) return [path];
  return [path, ...readdirSync(path).flatMap((name) => filesOf(`${path}/${name}`))];
}

/** Seconds since 1970. */
function readBootTime(proc: string): number {
  return Number(/^btime (\d+)$/m.exec(readFileSync(`${proc}/stat`, 'utf8'))?.[1] ?? 0);
}

async function runRestorecon(path: string): Promise<void> {
  const { status, stderr, error } = await runCommand('restorecon', ['-F', path]);
  if (status === 0) return;
  throw new SecurityError(`cannot give '${path}' its usual context back: ${error?.message ?? stderr.trim()}`, {
    model: 'selinux',
    path,
    cause: error,
  });
}

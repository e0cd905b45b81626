/** Carries a plan of unpacking out, and takes back what was done when a step fails. Each kind's steps are in `plan-unpack.ts`. */
import { chownSync, existsSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DisposalStack } from '../core/dispose.ts';
import { ErrorCode } from '../core/errors.ts';
import { removeTree } from '../core/fs.ts';
import { Ledger, type LedgerEntry } from '../core/ledger.ts';
import { LogSource } from '../core/log-source.ts';
import { findProgram } from '../process/find-program.ts';
import { runCommand } from '../process/run-command.ts';
import { failed, type Image, ImageStore } from './image-store.ts';
import type { IdShift } from './isolated.ts';
import { planUnpack, type UnpackKind, type UnpackStep } from './plan-unpack.ts';
import { ensureTree } from './shared-tree.ts';
import { unpackTarball } from './tarballs.ts';

const log = new LogSource('lxc.lxc_container');

export interface UnpackImageOptions {
  readonly store?: ImageStore | undefined;
  readonly kind?: UnpackKind | undefined;
  readonly arch?: string | undefined;
  readonly size?: string | undefined;
  readonly pool?: string | undefined;
  /** Owners are shifted, for a container with `<idmap>`; kind `directory` only. */
  readonly ids?: IdShift | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Unpacks an image to `target`, which must not be there, or be empty.
 * @throws VirtError OPERATION_FAILED with the words of the program that failed; what was done before is taken back
 */
export async function unpackImage(nameOrKey: string, target: string, options: UnpackImageOptions = {}): Promise<Image> {
  if (process.getuid?.() !== 0)
    throw failed(
      `unpacking ${nameOrKey} needs root: it makes files of many users; run it with sudo`,
      ErrorCode.OPERATION_DENIED,
    );
  const { kind = 'directory', ids } = options;
  if (ids !== undefined && kind !== 'directory')
    throw failed('ids are shifted only in a directory of its own', ErrorCode.INVALID_ARG);
  const store = options.store ?? new ImageStore();
  const image = store.find(nameOrKey, options.arch);
  const path = resolve(target);
  const steps = planUnpack({
    kind,
    tarball: store.tarballOf(image),
    key: image.key,
    tree: store.treeOf(image),
    target: path,
    size: options.size,
    pool: options.pool,
  });
  requireEmpty(path);
  // Held until the mount itself says that the tree is in use.
  using _held = store.hold(image);
  using ledger = Ledger.open(store.ledgerDir);
  await using undo = new DisposalStack();
  const started: Started = { store, image, undo, ledger, entries: [] };
  for (const step of steps) await doStep(step, started, options);
  if (kind === 'overlay') store.keepFor(image, `${path}.upper`);
  // From here on it is the caller's: nothing of it is taken back or collected.
  undo.move();
  for (const entry of started.entries) entry.done();
  return image;
}

interface Started {
  readonly store: ImageStore;
  readonly image: Image;
  readonly undo: DisposalStack;
  readonly ledger: Ledger;
  readonly entries: LedgerEntry[];
}

async function doStep(step: UnpackStep, started: Started, options: UnpackImageOptions): Promise<void> {
  const { store, image } = started;
  switch (step.kind) {
    case 'folder':
      return makeFolder(step.path, started, options.ids);
    case 'tree':
      await ensureTree(store, image, options.signal);
      return;
    case 'unpack':
      if (await succeeds(step.unless, options.signal)) return;
      return await unpackTarball(store.tarballOf(image), step.folder, { ids: options.ids, signal: options.signal });
    case 'command':
      return await doCommand(step, started, options.signal);
  }
}

/** Made by us, it goes with all that is in it when a later step fails; one that was there is given back empty. */
function makeFolder(path: string, { undo, ledger, entries }: Started, ids: IdShift | undefined): void {
  if (!existsSync(path)) {
    const identity = { path, root: dirname(path) };
    if (identity.root !== '/') entries.push(ledger.record('directory', identity));
    mkdirSync(path, { recursive: true, mode: 0o755 });
    undo.defer(async () => {
      await removeTree(path, identity);
      for (const entry of entries) if (entry.identity['path'] === path) entry.done();
    });
  }
  if (ids !== undefined) chownSync(path, ids.base, ids.base);
}

async function doCommand(
  { command, args, undo: back, unless }: Extract<UnpackStep, { kind: 'command' }>,
  { undo, ledger, entries }: Started,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (await succeeds(unless, signal)) return;
  const entry =
    command === 'mount' ? ledger.record('mount', { path: args.at(-1) ?? '', source: args.at(-2) ?? '' }) : undefined;
  if (entry !== undefined) entries.push(entry);
  const { status, stderr, error } = await runCommand(findProgram(command), args, { signal });
  if (status !== 0) {
    // Subcommands say what was to be done, options do not.
    const name = [command, ...args.slice(0, args[0]?.startsWith('-') === true ? 0 : 1)].join(' ');
    throw failed(`${name} failed: ${stderr.trim().split('\n').join('; ') || (error?.message ?? '')}`);
  }
  if (back === undefined) return;
  undo.defer(async () => {
    const [program = 'true', ...words] = back;
    const taken = await runCommand(findProgram(program), words);
    if (taken.status !== 0)
      log.warn('unpackImage', () => `cannot take back: ${back.join(' ')}: ${taken.stderr.trim()}`);
    entry?.done();
  });
}

async function succeeds(test: readonly string[] | undefined, signal: AbortSignal | undefined): Promise<boolean> {
  const [program, ...words] = test ?? [];
  return program !== undefined && (await runCommand(findProgram(program), words, { signal })).status === 0;
}

/** Files of two roots mixed would be neither. */
function requireEmpty(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isDirectory()) throw failed(`${path} is there and is no folder`, ErrorCode.INVALID_ARG);
  if (readdirSync(path).length > 0) throw failed(`${path} is not empty; unpack to a new folder`, ErrorCode.INVALID_ARG);
}

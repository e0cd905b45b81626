/**
 * Makes the files that a plan asks for and removes them with the guest. Whatever outlives a crash is in the ledger before it is
 * made: the connection's own directories are recorded as a whole, so only what lies elsewhere needs a record of its own.
 */
import { existsSync, promises as fs, lstatSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { removeTree } from '../../../core/fs.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { randomHex } from '../../../core/random.ts';
import { runCommand } from '../../../process/run-command.ts';
import type { Layout } from '../layout.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { FileRequest } from '../plan/parts.ts';

export interface GuestFilesRequest {
  readonly id: number;
  readonly name: string;
  readonly plan: Pick<LaunchPlan, 'files' | 'fds' | 'helpers'>;
  readonly root: { readonly layout: Layout; readonly ledger: Ledger };
  /** UUID of a guest that no definition outlives: its TPM goes with it. */
  readonly transientUuid?: string | undefined;
}

/** Makes directories for the guest's sockets, then the files, in the plan's order. */
export async function makeGuestFiles(request: GuestFilesRequest, undo: DisposalStack): Promise<void> {
  const { plan, root, id, name } = request;
  mkdirSync(root.layout.roots.run, { recursive: true, mode: 0o700 });
  undo.defer(async () => {
    for (const dir of ownDirs(root.layout, id, name)) {
      if (existsSync(dir)) await removeTree(dir, { root: root.layout.roots.run });
    }
  });
  removeTransientTpm(request, undo);
  await makeFiles(plan, root, undo);
}

/** The files of a plan, or of what a device adds to one; the guest's own directories stay when they are undone. */
export async function makeFiles(
  plan: GuestFilesRequest['plan'],
  root: GuestFilesRequest['root'],
  undo: DisposalStack,
): Promise<void> {
  makeSocketDirs(plan, root);
  for (const file of plan.files) await MAKERS[file.kind](file as never, { root }, undo);
}

/** Emulated TPMs are kept as long as a definition, which a transient guest has none of. */
function removeTransientTpm({ transientUuid, root }: GuestFilesRequest, undo: DisposalStack): void {
  if (transientUuid === undefined) return;
  const { swtpmLib } = root.layout.roots;
  const dir = `${swtpmLib}/${transientUuid}`;
  undo.defer(async () => {
    if (existsSync(dir)) await removeTree(dir, { root: swtpmLib });
  });
}

/** A socket's directory is made where it is ours; a user's own path must exist, and the error says so. */
function makeSocketDirs(plan: GuestFilesRequest['plan'], root: GuestFilesRequest['root']): void {
  const sockets = [
    ...plan.files.map(({ path }) => path),
    ...plan.helpers.flatMap(({ readySocket }) => (readySocket === undefined ? [] : [readySocket])),
    ...[...plan.fds, ...plan.helpers.flatMap(({ fds }) => fds ?? [])].flatMap((fd) =>
      fd.kind === 'listen-unix' || fd.kind === 'file' ? [fd.path] : [],
    ),
  ];
  const roots = Object.values(root.layout.roots) as string[];
  for (const path of sockets) {
    const dir = dirname(path);
    if (roots.some((ours) => dir === ours || dir.startsWith(`${ours}/`)))
      mkdirSync(dir, { recursive: true, mode: 0o700 });
  }
}

/** Directories that are one guest's alone. */
function ownDirs(layout: Layout, id: number, name: string): string[] {
  return [layout.domainDir(id, name), layout.channelDir(id, name)];
}

type OfKind<K extends FileRequest['kind']> = FileRequest & { readonly kind: K };
type Maker<K extends FileRequest['kind']> = (
  file: OfKind<K>,
  request: Pick<GuestFilesRequest, 'root'>,
  undo: DisposalStack,
) => void | Promise<void>;

const MAKERS: { readonly [K in FileRequest['kind']]: Maker<K> } = {
  directory: ({ path, mode, keep }, _, undo) => {
    mkdirSync(path, { recursive: true, mode });
    if (keep !== true) undo.defer(() => removeIfEmpty(path));
  },
  file: ({ path, content, mode, keep }, { root }, undo) => {
    const entry = keep === true ? undefined : root.ledger.record('file', { path });
    writeFileSync(path, content, { mode });
    if (entry === undefined) return;
    undo.defer(() => {
      rmSync(path, { force: true });
      entry.done();
    });
  },
  copy: async (file) => {
    if (lstatSync(file.path, { throwIfNoEntry: false }) !== undefined) return;
    mkdirSync(dirname(file.path), { recursive: true, mode: 0o700 });
    await copyTemplate(file);
  },
  socket: ({ path }, { root }, undo) => {
    const entry = root.ledger.record('file', { path });
    rmSync(path, { force: true });
    undo.defer(() => {
      rmSync(path, { force: true });
      entry.done();
    });
  },
};

/** Appears whole or not at all: a half-written variable store would be used by the next start. */
async function copyTemplate({ path, template, mode, format }: OfKind<'copy'>): Promise<void> {
  const temporary = `${path}.${randomHex(4)}`;
  try {
    if (format === undefined || format.from === format.to) {
      await fs.copyFile(template, temporary);
    } else {
      const convert = ['convert', '-f', format.from, '-O', format.to, template, temporary];
      const { status, stderr, error } = await runCommand('qemu-img', convert);
      if (status !== 0) throw error ?? new Error(stderr.trim());
    }
    await fs.chmod(temporary, mode);
    await fs.rename(temporary, path);
  } catch (cause) {
    await fs.rm(temporary, { force: true });
    const why = cause instanceof Error ? cause.message.trim() : String(cause);
    throw new VirtError(`cannot make ${path} from the template ${template}: ${why}`, {
      code: ErrorCode.SYSTEM_ERROR,
      cause,
    });
  }
}

/** Whatever else lies in it by now is somebody's and stays. */
function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw error;
  }
}

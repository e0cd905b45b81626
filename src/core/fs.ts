/**
 * Writing and removing files in ways that neither a crash nor a wrong path turns into damage. Which files there are is
 * not known here.
 */

// Through node:fs, which loads its promises at their first use: none is needed before QEMU is started.
import {
  closeSync,
  promises as fs,
  fsync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, normalize, resolve } from 'node:path';
import { promisify } from 'node:util';
import { randomHex } from './random.ts';

/** `sun_path` of unix(7) is 108 bytes with its final NUL. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** A path that a guard refused, and the rule behind it. */
export class PathRefusedError extends Error {
  override readonly name = 'PathRefusedError';
  readonly path: string;
  readonly rule: string;

  constructor(operation: string, path: string, rule: string) {
    super(`cannot ${operation} ${path}: ${rule}`);
    this.path = path;
    this.rule = rule;
  }
}

/** A file on its way to its name. */
const UNFINISHED = /^\.nestling-.*\.tmp$/;

export interface WriteFileAtomicOptions {
  /** Permission bits, before the umask; default 0o644. */
  mode?: number;
  /** Default true; false for what need not outlive a power cut (caches, runtime state on tmpfs). */
  sync?: boolean;
}

/**
 * Replaces a file as a whole: readers see the old or the new content, also after a power cut. A symbolic link at `path`
 * is replaced, not followed. On failure nothing is left behind.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  { mode = 0o644, sync = true }: WriteFileAtomicOptions = {},
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.nestling-${randomHex(6)}.tmp`);
  // Only what waits for the disk is left to other threads: all the rest is faster than the way there.
  const file = openSync(temporary, 'wx', mode);
  try {
    try {
      writeFileSync(file, data);
      if (sync) await syncFile(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  if (sync) await syncFolder(folder);
}

/** Removes what was being written when its writer was killed; for folders that nobody else writes to now. */
export function removeUnfinished(folder: string): void {
  for (const name of readdirSync(folder)) if (UNFINISHED.test(name)) rmSync(join(folder, name), { force: true });
}

/** Without it the rename itself may be lost with the power. */
async function syncFolder(folder: string): Promise<void> {
  const handle = openSync(folder, 'r');
  try {
    await syncFile(handle);
  } finally {
    closeSync(handle);
  }
}

const syncFile = promisify(fsync);

export interface RemoveTreeOptions {
  /** Only what lies strictly below is removed. */
  root: string;
  home?: string;
  mountInfoPath?: string;
}

/**
 * The one recursive delete, with its twin below. Does nothing when `path` is not there.
 * @throws PathRefusedError for anything but a real directory strictly below `root`, reached without symbolic links, that holds no
 * mount point and is neither the home directory nor above it
 */
export async function removeTree(path: string, options: RemoveTreeOptions): Promise<void> {
  if (isRemovable(path, options)) await fs.rm(path, { recursive: true, force: true });
}

/** The same at once, for a folder of a few files: to wait for each of the steps would take longer than they do. */
export function removeFolder(path: string, options: RemoveTreeOptions): void {
  if (isRemovable(path, options)) removeAll(path);
}

/** Whoever else knows it may be removing it too. */
function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}

function removeAll(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) removeAll(path);
    else unlinkIfThere(path);
  }
  rmdirSync(folder);
}

/** False where there is nothing. @throws PathRefusedError */
function isRemovable(
  path: string,
  { root, home = homedir(), mountInfoPath = '/proc/self/mountinfo' }: RemoveTreeOptions,
): boolean {
  const refuse = (rule: string): PathRefusedError => new PathRefusedError('remove the directory', path, rule);
  if (!isPlainAbsolute(path)) throw refuse('it is not a plain absolute path');
  if (!isPlainAbsolute(root) || root === '/') throw refuse(`${root} is no root to remove below`);
  if (!path.startsWith(`${root}/`)) throw refuse(`it is not below ${root}`);
  if (resolve(home) === path || resolve(home).startsWith(`${path}/`)) throw refuse('it holds the home directory');
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return false;
  if (stats.isSymbolicLink()) throw refuse('it is a symbolic link');
  if (!stats.isDirectory()) throw refuse('it is not a directory');
  if (realpathSync.native(path) !== path) throw refuse('a part of the path is a symbolic link');
  const mount = findMountBelow(path, readFileSync(mountInfoPath, 'utf8'));
  if (mount !== undefined) throw refuse(`${mount} is a mount point; unmount it first`);
  return true;
}

function isPlainAbsolute(path: string): boolean {
  return (
    path.startsWith('/') && normalize(path) === path && (path === '/' || !path.endsWith('/')) && !path.includes('\0')
  );
}

/** proc_pid_mountinfo(5): the fifth field is the mount point, with space, tab, newline and backslash in octal. */
function findMountBelow(path: string, mountInfo: string): string | undefined {
  // Most paths stand there as they are, or not at all.
  if (!/[\s\\]/.test(path) && !mountInfo.includes(path)) return undefined;
  for (const line of mountInfo.split('\n')) {
    const mount = line
      .split(' ')[4]
      ?.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    if (mount === path || mount?.startsWith(`${path}/`) === true) return mount;
  }
  return undefined;
}

/**
 * A new private directory (0700) with a name of a few characters below `parent`, for sockets. Whoever makes it removes it.
 */
export async function makeShortTempDir(parent: string, prefix = ''): Promise<string> {
  return await fs.mkdtemp(join(parent, prefix));
}

/**
 * The path of a socket in `folder`.
 * @throws PathRefusedError when the kernel would not take it
 */
export function socketPath(folder: string, name: string): string {
  const path = join(folder, name);
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return path;
  throw new PathRefusedError(
    'use the socket path',
    path,
    `it has ${bytes} bytes, the kernel takes ${MAX_SOCKET_PATH_BYTES}; choose a shorter root`,
  );
}

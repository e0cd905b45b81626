/** Makes the files of volumes: raw ones by ourselves, others by qemu-img. What fails half-way is removed again. */
import { promises as fs, lstatSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ErrorCode, VirtError } from '../../core/errors.ts';
import type { Ledger } from '../../core/ledger.ts';
import { randomHex } from '../../core/random.ts';
import type { Permissions } from '../../model/storage/permissions.ts';
import type { VolumeRequest, VolumeTarget } from '../../model/storage/volume.ts';
import { errnoOf } from '../../process/process-error.ts';
import type { Waiting } from '../driver.ts';
import { loadFileSpace } from './file-space.ts';
import { type Command, command } from './plan/command.ts';
import { type InputImage, planConvert, planCreate } from './plan/qemu-img.ts';
import type { BackendHost, CreateVolumeOptions, StoredVolume } from './pool-backend.ts';
import { noSupport, storageError, systemError } from './storage-errors.ts';

/** Of files whose definition says nothing. */
const FILE_MODE = 0o600;
const DIR_MODE = 0o711;
/** Reserved in one go: the kernel may be at it for a while. */
const RESERVE_BYTES = 1024n * 1024n * 1024n;
const ZEROS = Buffer.alloc(1024 * 1024);

/** Files that are being made: they are no volumes yet. */
export const UNFINISHED_FILE = /^\.nestling-[0-9a-f]+\.tmp$/;

/**
 * Makes the file of a volume under another name, and gives it its own when it is whole: what was there before is never overwritten, and
 * what a crash leaves is found by the ledger.
 * @throws VirtError; then there is no file
 */
export async function makeVolumeFile(
  host: BackendHost,
  ledger: Ledger,
  volume: StoredVolume,
  request: VolumeRequest,
  options: CreateVolumeOptions,
): Promise<void> {
  const format = request.target.format?.type ?? 'raw';
  if (format === 'dir') return await makeDirectory(volume, options);
  const temporary = join(dirname(volume.path), `.nestling-${randomHex(8)}.tmp`);
  const entry = ledger.record('file', { path: temporary });
  try {
    await fillFile(host, temporary, format, request, options);
    await applyPermissions(temporary, request.target.permissions, FILE_MODE);
    await publish(temporary, volume.path);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw renamed(error, temporary, volume.path);
  } finally {
    await fs.rm(temporary, { force: true });
    entry.done();
  }
}

async function fillFile(
  host: BackendHost,
  path: string,
  format: string,
  request: VolumeRequest,
  options: CreateVolumeOptions,
): Promise<void> {
  const backing = options.from === undefined ? await backingOf(request, format) : undefined;
  const isRaw = format === 'raw' && request.target.encryption === undefined && isPlainRaw(options.from);
  const file = await openNew(path);
  try {
    if (isRaw) await makeRaw(host, file, path, request, options);
  } finally {
    await file.close();
  }
  if (!isRaw) await makeImage(host, path, format, backing, request, options);
}

async function openNew(path: string): Promise<FileHandle> {
  try {
    return await fs.open(path, 'wx+', FILE_MODE);
  } catch (error) {
    throw systemError(`Failed to create file '${path}'`, error);
  }
}

/** A second name fails where there is one already; file systems without second names are asked first. */
async function publish(temporary: string, path: string): Promise<void> {
  try {
    await fs.link(temporary, path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') throw existsAlready(path);
    if (errno !== 'EPERM' && errno !== 'EOPNOTSUPP' && errno !== 'ENOTSUP' && errno !== 'EMLINK') {
      throw systemError(`Failed to create file '${path}'`, error);
    }
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) throw existsAlready(path);
    await fs.rename(temporary, path);
  }
}

/** The user knows the volume's name, not ours. */
function renamed(error: unknown, temporary: string, path: string): unknown {
  if (!(error instanceof VirtError)) return error;
  return storageError(error.message.replaceAll(temporary, path), error.code, error.cause);
}

export function existsAlready(path: string): Error {
  return storageError(`volume target path '${path}' already exists`, ErrorCode.OPERATION_INVALID);
}

async function makeDirectory({ path, target }: StoredVolume, { from }: CreateVolumeOptions): Promise<void> {
  if (from !== undefined) throw noSupport('cannot copy from volume to a directory volume');
  try {
    await fs.mkdir(path, { mode: target.permissions?.mode ?? DIR_MODE });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw existsAlready(path);
    throw systemError(`failed to create directory '${path}'`, error);
  }
  await applyPermissions(path, target.permissions, DIR_MODE);
}

/** Nothing, or bytes that are the guest's own: they are copied as they are. */
function isPlainRaw(from: StoredVolume | undefined): boolean {
  return from === undefined || (formatOf(from) === 'raw' && from.target.encryption === undefined);
}

async function makeRaw(
  host: BackendHost,
  file: FileHandle,
  path: string,
  { capacity, allocation, target }: VolumeRequest,
  { from, reflink, signal }: CreateVolumeOptions,
): Promise<void> {
  if (target.nocow === true) await host.run(command('chattr', '+C', path), { signal });
  const wanted = allocation ?? capacity;
  const size = from !== undefined && from.capacity > capacity ? from.capacity : capacity;
  if (from !== undefined) await copyBytes(host, from, path, reflink === true, signal);
  await extend(file, path, size);
  // A shared copy that is reserved would not be shared any more.
  if (reflink !== true) await reserve(file, path, wanted < size ? wanted : size, { signal });
  if (wanted > size) await reserve(file, path, wanted, { signal });
}

async function copyBytes(
  host: BackendHost,
  from: StoredVolume,
  path: string,
  reflink: boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  const how = reflink ? ['--reflink=always'] : ['--reflink=auto', '--sparse=auto'];
  try {
    await host.run(command('cp', ...how, '--', from.path, path), { signal });
  } catch (error) {
    if (!reflink) throw error;
    signal?.throwIfAborted();
    throw storageError(
      `failed to clone files from '${from.path}': Operation not supported (reflinks need btrfs or XFS, and both volumes on one file system)`,
      ErrorCode.SYSTEM_ERROR,
      error,
    );
  }
}

/** Grows the file to that size. */
export async function extend(file: FileHandle, path: string, size: bigint): Promise<void> {
  try {
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw Object.assign(new Error('EFBIG'), { code: 'EFBIG' });
    await file.truncate(Number(size));
  } catch (error) {
    throw systemError(`cannot extend file '${path}'`, error);
  }
}

/** Reserves the first bytes of a file; it grows if it must. @throws VirtError where there is no room */
export async function reserve(file: FileHandle, path: string, bytes: bigint, { signal }: Waiting): Promise<void> {
  if (bytes === 0n) return;
  const { size } = await file.stat({ bigint: true });
  await requireRoom(file, path, bytes);
  const space = await loadFileSpace();
  for (let at = 0n; at < bytes; at += RESERVE_BYTES) {
    signal?.throwIfAborted();
    const length = bytes - at < RESERVE_BYTES ? bytes - at : RESERVE_BYTES;
    try {
      space.reserve(file.fd, at, length);
    } catch (error) {
      if (errnoOf(error) === 'EOPNOTSUPP') return await writeZeros(file, path, size, bytes, signal);
      throw systemError(`cannot allocate ${bytes} bytes in file '${path}'`, error);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Said before the disk is full rather than after. */
async function requireRoom(file: FileHandle, path: string, bytes: bigint): Promise<void> {
  const { bavail, bsize } = await fs.statfs(path, { bigint: true });
  const { blocks } = await file.stat({ bigint: true });
  if (bytes - blocks * 512n <= bavail * bsize) return;
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  throw systemError(`cannot allocate ${bytes} bytes in file '${path}'`, full);
}

/** For file systems that cannot reserve: what is written is there. Only behind the end, where nothing can be lost. */
async function writeZeros(
  file: FileHandle,
  path: string,
  from: bigint,
  to: bigint,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    for (let at = from; at < to; at += BigInt(ZEROS.length)) {
      signal?.throwIfAborted();
      const left = to - at;
      const length = left < BigInt(ZEROS.length) ? Number(left) : ZEROS.length;
      await file.write(ZEROS, 0, length, Number(at));
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw systemError(`cannot allocate ${to} bytes in file '${path}'`, error);
  }
}

async function makeImage(
  host: BackendHost,
  path: string,
  format: string,
  backing: { path: string; format: string } | undefined,
  request: VolumeRequest,
  options: CreateVolumeOptions,
): Promise<void> {
  const { from, preallocMetadata, signal } = options;
  using passphrase = await passphraseOf(host, request.target, `volume '${request.name}'`);
  using sourcePassphrase =
    from === undefined ? undefined : await passphraseOf(host, from.target, `volume '${from.name}'`);
  const image = {
    path,
    format,
    capacity: request.capacity,
    target: request.target,
    backing,
    passphrase,
    preallocation: preallocation(request, preallocMetadata === true),
  };
  const step = from === undefined ? planCreate(image) : planConvert(inputOf(from, sourcePassphrase), image);
  await runPatiently(host, step, passphrase === undefined ? 1 : KEY_ATTEMPTS, signal);
  if (from === undefined) return;
  if (request.capacity > from.capacity && request.target.encryption === undefined) {
    await host.run(command('qemu-img', 'resize', '-f', format, path, String(request.capacity)), { signal });
  }
}

/**
 * qemu-img measures how long deriving a key takes, and gives up where the clock of a busy machine has not moved meanwhile: what makes a key
 * is tried again.
 */
export async function runPatiently(
  host: BackendHost,
  step: Command,
  attempts: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await host.run(step, { signal });
      return;
    } catch (error) {
      signal?.throwIfAborted();
      if (attempt >= attempts) throw error;
    }
  }
}

export const KEY_ATTEMPTS = 5;

/** libvirt's choice: all of it where all is asked for, else the tables only. */
function preallocation({ capacity, allocation }: VolumeRequest, asked: boolean): 'metadata' | 'falloc' | undefined {
  if (!asked) return undefined;
  return (allocation ?? capacity) >= capacity ? 'falloc' : 'metadata';
}

async function backingOf(
  { backingStore }: VolumeRequest,
  format: string,
): Promise<{ path: string; format: string } | undefined> {
  if (backingStore?.path === undefined) return undefined;
  const { path } = backingStore;
  if (!STANDS_ON_OTHERS.has(format)) throw noSupport(`backing storage not supported for ${format} volumes`);
  if (path.startsWith('/')) {
    try {
      await fs.access(path, fs.constants.R_OK);
    } catch (error) {
      throw systemError(`inaccessible backing store volume ${path}`, error);
    }
  }
  return { path, format: backingStore.format?.type ?? 'raw' };
}

const STANDS_ON_OTHERS: ReadonlySet<string> = new Set(['qcow', 'qcow2', 'qed', 'vmdk', 'cow']);

/** The passphrase of an encrypted volume; undefined for others. @throws VirtError where its secret is not known */
export async function passphraseOf(
  host: BackendHost,
  { encryption, format }: Pick<VolumeTarget, 'encryption' | 'format'>,
  what: string,
): Promise<({ readonly path: string } & Disposable) | undefined> {
  if (encryption === undefined) return undefined;
  const type = format?.type ?? 'raw';
  if (encryption.format !== 'luks' || (type !== 'raw' && type !== 'qcow2')) {
    throw storageError(
      `${what}: encryption '${encryption.format}' of format '${type}' is not supported: use luks with raw or qcow2`,
      ErrorCode.CONFIG_UNSUPPORTED,
    );
  }
  if (encryption.secrets.length !== 1) {
    throw storageError(`${what}: no secret provided for luks encryption: one <secret> is needed`, ErrorCode.XML_ERROR);
  }
  return await host.passphrase(encryption);
}

/** A volume that qemu-img reads. */
export function inputOf(volume: StoredVolume, passphrase: { readonly path: string } | undefined): InputImage {
  return {
    path: volume.path,
    format: qemuFormatOf(volume),
    ...(passphrase !== undefined && { encryption: 'luks', passphrase }),
  };
}

function formatOf({ target }: StoredVolume): string {
  return target.format?.type ?? 'raw';
}

/** ISO images are what QEMU calls raw, as is everything on a logical volume or partition. */
function qemuFormatOf(volume: StoredVolume): string {
  const format = formatOf(volume);
  return volume.type === 'file' && format !== 'iso' && format !== 'none' ? format : 'raw';
}

/** What a definition says, or the mode that files of its kind have. */
export async function applyPermissions(
  path: string,
  permissions: Permissions | undefined,
  defaultMode: number,
): Promise<void> {
  const { mode = defaultMode, owner, group } = permissions ?? {};
  try {
    const stats = await fs.stat(path);
    if ((owner !== undefined && owner !== stats.uid) || (group !== undefined && group !== stats.gid)) {
      await fs.chown(path, owner ?? stats.uid, group ?? stats.gid);
    }
    if ((stats.mode & 0o7777) !== mode) await fs.chmod(path, mode);
  } catch (error) {
    throw systemError(`cannot set owner and mode of '${path}'`, error);
  }
}

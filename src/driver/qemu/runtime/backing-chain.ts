/**
 * Finds the images below a disk's top image by reading their headers, so that a definition may name the top only.
 * Files are read, never written; network images end the walk, as QEMU opens those itself.
 */
import { promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import {
  ImageFormatError,
  type ImageHeader,
  MAX_HEADER_BYTES,
  parseImageHeader,
  probeFormat,
} from '../../../image/image-format.ts';
import { type ImageReference, ImageReferenceError, resolveReference } from '../../../image/image-reference.ts';
import type {
  BackingStore,
  DataStore,
  StorageFormat,
  StorageSource,
} from '../../../model/domain/devices/storage-source.ts';
import { STORAGE_FORMATS } from '../../../model/domain/devices/storage-source.ts';
import { errnoOf } from '../../../process/process-error.ts';

/** As deep as libvirt goes; a chain this long has lost its speed long before. */
export const MAX_CHAIN_DEPTH = 200;
const FIRST_READ_BYTES = 64 * 1024;

/** An image of the chain cannot be read or must not be used; the message names the file. */
export class BackingChainError extends Error {
  override readonly name = 'BackingChainError';
  readonly path: string;
  /** Of the system call that failed, where one did. */
  readonly errno: string | undefined;

  constructor(path: string, problem: string, options: { cause?: unknown; errno?: string | undefined } = {}) {
    super(`image ${path}: ${problem}`, { cause: options.cause });
    this.path = path;
    this.errno = options.errno;
  }
}

/** What stands below and beside an image. */
export interface FoundChain {
  /** The image below; an empty object where there is none. */
  readonly backingStore: BackingStore;
  readonly dataStore: DataStore | undefined;
}

/**
 * Follows the chain below an image.
 * @param format the top image's format as its definition has it: never probed, as the guest writes to that image
 * @throws {BackingChainError} naming the file, with the first errno
 */
export async function findBackingChain(
  path: string,
  format: StorageFormat,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<FoundChain> {
  const visited = new Map<string, string>();
  return walk(path, format, visited, options.signal);
}

async function walk(
  path: string,
  format: StorageFormat,
  visited: Map<string, string>,
  signal: AbortSignal | undefined,
): Promise<FoundChain> {
  signal?.throwIfAborted();
  if (format === 'raw' || format === 'fat') return { backingStore: {}, dataStore: undefined };
  const { header, identity } = await readHeader(path, format);
  const earlier = visited.get(identity);
  if (earlier !== undefined) throw new BackingChainError(path, `it is its own backing image (through ${earlier})`);
  visited.set(identity, path);
  if (visited.size > MAX_CHAIN_DEPTH) {
    throw new BackingChainError(path, `it has more than ${MAX_CHAIN_DEPTH} images below: flatten the chain`);
  }
  const dataStore = header.dataFile === undefined ? undefined : await dataStoreOf(path, header.dataFile);
  if (header.hasDataFile === true && dataStore === undefined) {
    throw new BackingChainError(path, 'its data is in another file, which it does not name: add <dataStore>');
  }
  if (header.backingFile === undefined) return { backingStore: {}, dataStore };
  return { backingStore: await below(path, header, visited, signal), dataStore };
}

async function below(
  path: string,
  header: ImageHeader,
  visited: Map<string, string>,
  signal: AbortSignal | undefined,
): Promise<BackingStore> {
  const place = resolve(path, header.backingFile ?? '');
  const named = place.format ?? header.backingFormat;
  if (place.kind === 'remote') {
    throw new BackingChainError(
      path,
      `its backing image '${header.backingFile}' is not a local file: describe it with <backingStore>`,
    );
  }
  const { type, probed } = await look(place.path, path);
  const format = named === undefined ? probed : knownFormat(named, place.path);
  const chain = await walk(place.path, format, visited, signal);
  // A guess is harmless only where it leads nowhere: a guest that writes a header into a raw image must not make
  // QEMU open the files that the header names.
  if (named === undefined && (chain.backingStore.source !== undefined || chain.dataStore !== undefined)) {
    throw new BackingChainError(
      path,
      `it does not say which format its backing image '${place.path}' has: run 'qemu-img rebase -u -F ${format} -b ${place.path} ${path}'`,
    );
  }
  const source: StorageSource = {
    ...sourceOf(type, place.path),
    ...(chain.dataStore !== undefined && { dataStore: chain.dataStore }),
  };
  return { type, format: { type: format }, source, backingStore: chain.backingStore };
}

async function dataStoreOf(path: string, name: string): Promise<DataStore> {
  const place = resolve(path, name);
  if (place.kind === 'remote') {
    throw new BackingChainError(path, `its data file '${name}' is not a local file: describe it with <dataStore>`);
  }
  const { type } = await look(place.path, path);
  return { type, format: { type: 'raw' }, source: sourceOf(type, place.path) };
}

function sourceOf(type: 'file' | 'block', path: string): StorageSource {
  return { hosts: [], seclabels: [], ...(type === 'block' ? { dev: path } : { file: path }) };
}

/** @throws {BackingChainError} for text that means nothing */
function resolve(imagePath: string, reference: string): ImageReference {
  try {
    return resolveReference(imagePath, reference);
  } catch (cause) {
    if (!(cause instanceof ImageReferenceError)) throw cause;
    throw new BackingChainError(imagePath, cause.problem, { cause });
  }
}

const FORMATS: ReadonlySet<string> = new Set(STORAGE_FORMATS);
/** Block drivers that images name as a format, though they are not. */
const PROTOCOL_DRIVERS: ReadonlySet<string> = new Set(['file', 'host_device', 'host_cdrom']);

function knownFormat(name: string, path: string): StorageFormat {
  if (PROTOCOL_DRIVERS.has(name)) return 'raw';
  if (name === 'parallels') return 'ploop';
  if (!isStorageFormat(name)) throw new BackingChainError(path, `format '${name}' is unknown`);
  return name;
}

function isStorageFormat(name: string): name is StorageFormat {
  return FORMATS.has(name);
}

/** Kind of a file and the format that it looks like. `user` is the image that refers to it. */
async function look(path: string, user: string): Promise<{ type: 'file' | 'block'; probed: StorageFormat }> {
  await using file = await openImage(path, ` (it is the backing image of ${user})`);
  const type = (await file.stat()).isBlockDevice() ? 'block' : 'file';
  const probed = probeFormat(await readStart(file, path, FIRST_READ_BYTES));
  return { type, probed: isStorageFormat(probed) && probed !== 'luks' && probed !== 'iso' ? probed : 'raw' };
}

async function readHeader(path: string, format: StorageFormat): Promise<{ header: ImageHeader; identity: string }> {
  await using file = await openImage(path, '');
  const { dev, ino } = await file.stat();
  const identity = `${dev}:${ino}`;
  let length = FIRST_READ_BYTES;
  for (;;) {
    const bytes = await readStart(file, path, length);
    try {
      return { header: parseImageHeader(bytes, format), identity };
    } catch (error) {
      if (!(error instanceof ImageFormatError)) throw error;
      const { neededBytes = 0 } = error;
      // Asked for more than was read, and the file has more: once again with that.
      if (neededBytes <= length || bytes.length < length || neededBytes > MAX_HEADER_BYTES) {
        throw new BackingChainError(path, error.message, { cause: error });
      }
      length = neededBytes;
    }
  }
}

async function openImage(path: string, role: string): Promise<FileHandle> {
  try {
    return await fs.open(path, 'r');
  } catch (cause) {
    throw systemError(path, `cannot open it${role === '' ? '' : role}`, cause);
  }
}

async function readStart(file: FileHandle, path: string, length: number): Promise<Uint8Array> {
  try {
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await file.read(buffer, 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } catch (cause) {
    throw systemError(path, 'cannot read its header', cause);
  }
}

function systemError(path: string, what: string, cause: unknown): BackingChainError {
  const errno = errnoOf(cause);
  // The commonest is said in words.
  const why = errno === 'ENOENT' ? 'there is no such file (ENOENT)' : (errno ?? String(cause));
  return new BackingChainError(path, `${what}: ${why}`, { cause, errno });
}

/**
 * Reads what a file of a pool is: kind, sizes, format and the image below, by its header. Works synchronously, as a thousand short reads
 * take less time than a thousand trips to other threads; whoever reads many lets others run in between.
 */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { LogSource } from '../../core/log-source.ts';
import {
  ImageFormatError,
  type ImageHeader,
  MAX_HEADER_BYTES,
  PROBE_BYTES,
  parseImageHeader,
  probeFormat,
} from '../../image/image-format.ts';
import { ImageReferenceError, resolveReference } from '../../image/image-reference.ts';
import type { Permissions } from '../../model/storage/permissions.ts';
import type { Timestamps, VolumeTarget } from '../../model/storage/volume.ts';
import { errnoOf } from '../../process/process-error.ts';
import type { VolumeType } from '../storage-operations.ts';
import type { FileStamp, StoredVolume } from './pool-backend.ts';
import { systemError } from './storage-errors.ts';

const log = new LogSource('storage.storage_driver');

const BLOCK = 512n;
/** Most headers lie in them. */
const FIRST_READ_BYTES = 4096;
/** FIFOs must not keep us waiting, nor terminals become ours. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Permission bits of st_mode. */
const MODE_BITS = 0o7777n;

/**
 * A file as a volume; undefined where it is none (gone meanwhile, a socket, a dangling link).
 * @param known as it was found last: what has not changed since is not read again
 * @throws VirtError where the system refuses even to look
 */
export function readFileVolume(path: string, name: string, known?: StoredVolume): StoredVolume | undefined {
  if (known?.stamp !== undefined && isUnchanged(path, known.stamp)) return known;
  const stats = statOrNothing(path);
  const type = stats === undefined ? undefined : typeOf(stats);
  if (stats === undefined || type === undefined) return undefined;
  if (type === 'dir') return volumeOf(path, name, type, stats, { format: 'dir' });
  const found = readHeader(path, type);
  if (found === 'gone') return undefined;
  const volume = volumeOf(path, name, type, found.stats ?? stats, found);
  const kept = keepSecrets(volume, known);
  return isSettled(stats) ? { ...kept, stamp: stampOf(stats) } : kept;
}

/** The definition's name of the secret is nowhere in the image: it stays as it was given. */
function keepSecrets(volume: StoredVolume, known: StoredVolume | undefined): StoredVolume {
  const before = known?.target.encryption;
  const now = volume.target.encryption;
  if (before === undefined || now === undefined || before.format !== now.format) return volume;
  return { ...volume, target: { ...volume.target, encryption: before } };
}

interface HeaderFacts {
  readonly format: string;
  readonly header?: ImageHeader;
  readonly stats?: BigIntStats;
  /** Of a device. */
  readonly sizeBytes?: bigint;
}

function readHeader(path: string, type: VolumeType): HeaderFacts | 'gone' {
  let fd: number;
  try {
    fd = openSync(path, OPEN_FLAGS);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'gone';
    // Others' files are volumes all the same; only their format stays unknown.
    log.debug('readHeader', () => `${path} cannot be opened: ${errnoOf(error) ?? String(error)}`);
    return { format: 'raw' };
  }
  try {
    const stats = fstatSync(fd, { bigint: true });
    return { ...headerOf(path, fd), stats, ...(type === 'block' && { sizeBytes: deviceSize(fd) }) };
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    log.warn('readHeader', () => `${path} cannot be read: ${errnoOf(error) ?? ''}`);
    return { format: 'raw' };
  } finally {
    closeSync(fd);
  }
}

function headerOf(path: string, fd: number): HeaderFacts {
  let bytes = readStart(fd, FIRST_READ_BYTES);
  let format = probeFormat(bytes);
  if (format === 'raw' && bytes.length === FIRST_READ_BYTES) {
    // The last magic is far behind the others.
    const tail = readAt(fd, PROBE_BYTES - TAIL_BYTES, TAIL_BYTES);
    if (tail.toString('latin1').includes(ISO_MAGIC)) format = 'iso';
  }
  if (format === 'raw' || format === 'iso') return { format };
  for (;;) {
    try {
      return { format, header: parseImageHeader(bytes, format) };
    } catch (error) {
      if (!(error instanceof ImageFormatError)) throw error;
      const { neededBytes = 0 } = error;
      if (neededBytes <= bytes.length || neededBytes > MAX_HEADER_BYTES) {
        log.warn('readHeader', () => `${path}: ${error.message}`);
        return { format };
      }
      const more = readStart(fd, neededBytes);
      if (more.length <= bytes.length) {
        log.warn('readHeader', () => `${path}: ${error.message}`);
        return { format };
      }
      bytes = more;
    }
  }
}

const ISO_MAGIC = 'CD001';
const TAIL_BYTES = 5;

function readStart(fd: number, length: number): Buffer {
  return readAt(fd, 0, length);
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, offset));
}

/** Where a device ends: its size is in no field of stat(2). */
function deviceSize(fd: number): bigint {
  // By halves, as Node has no lseek: a read at or behind the end yields nothing.
  const probe = Buffer.allocUnsafe(1);
  const has = (offset: bigint): boolean => readSync(fd, probe, 0, 1, offset) === 1;
  if (!has(0n)) return 0n;
  let low = 0n;
  let high = BLOCK;
  while (has(high)) {
    low = high;
    high *= 2n;
  }
  while (high - low > BLOCK) {
    const middle = (low / BLOCK + (high - low) / (2n * BLOCK)) * BLOCK;
    if (has(middle)) low = middle;
    else high = middle;
  }
  return low + BLOCK;
}

function volumeOf(
  path: string,
  name: string,
  type: VolumeType,
  stats: BigIntStats,
  { format, header, sizeBytes }: HeaderFacts,
): StoredVolume {
  const isFile = type === 'file';
  const physical = type === 'dir' ? 0n : (sizeBytes ?? stats.size);
  const base = { name, key: path, type, path, physical };
  return {
    ...base,
    capacity: capacityOf(header, physical),
    allocation: isFile ? stats.blocks * BLOCK : physical,
    target: {
      path,
      format: { type: NAMED_AS[format] ?? format },
      permissions: permissionsOf(stats),
      timestamps: timestampsOf(stats),
      ...imageDetails(header),
    },
    ...backingOf(path, header),
  };
}

/** Formats that pools have no name for: a LUKS container is an encrypted raw volume. */
const NAMED_AS: Readonly<Record<string, string>> = { luks: 'raw', vhdx: 'raw' };

function capacityOf(header: ImageHeader | undefined, physical: bigint): bigint {
  if (header?.virtualSizeBytes !== undefined) return header.virtualSizeBytes;
  const { payloadOffsetBytes } = header ?? {};
  return payloadOffsetBytes !== undefined && payloadOffsetBytes < physical ? physical - payloadOffsetBytes : physical;
}

function imageDetails(header: ImageHeader | undefined): Partial<VolumeTarget> {
  if (header === undefined) return {};
  const { encryption, qcow2 } = header;
  const format = encryption === 'aes' ? 'qcow' : encryption;
  return {
    ...(format !== undefined && { encryption: { format, secrets: [] } }),
    // libvirt says nothing of the oldest kind.
    ...(qcow2?.compat === '1.1' && {
      compat: qcow2.compat,
      features: {
        ...(qcow2.lazyRefcounts && { lazyRefcounts: true }),
        ...(qcow2.extendedL2 && { extendedL2: true }),
      },
    }),
    ...(qcow2 !== undefined && { clusterSize: BigInt(qcow2.clusterSizeBytes) }),
  };
}

function backingOf(path: string, header: ImageHeader | undefined): Pick<StoredVolume, 'backingStore'> {
  if (header?.backingFile === undefined) return {};
  try {
    const place = resolveReference(path, header.backingFile);
    const format = place.format ?? header.backingFormat;
    const named = place.kind === 'local' ? place.path : header.backingFile;
    const probed = place.kind === 'local' && format === undefined ? probeFile(place.path) : format;
    return { backingStore: { path: named, format: { type: probed ?? 'raw' } } };
  } catch (error) {
    if (!(error instanceof ImageReferenceError)) throw error;
    log.warn('readHeader', () => error.message);
    return { backingStore: { path: header.backingFile, format: { type: 'raw' } } };
  }
}

function probeFile(path: string): string | undefined {
  const found = readHeader(path, 'file');
  return found === 'gone' ? undefined : (NAMED_AS[found.format] ?? found.format);
}

/** The image below as it is now, for the volume's XML. */
export function statBacking(store: NonNullable<StoredVolume['backingStore']>): StoredVolume['backingStore'] {
  const stats = store.path?.startsWith('/') === true ? statQuietly(store.path) : undefined;
  if (stats === undefined) return store;
  return { ...store, permissions: permissionsOf(stats), timestamps: timestampsOf(stats) };
}

function statQuietly(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    // It cannot be looked at; what is known of it stays.
    return undefined;
  }
}

function statOrNothing(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    // A link that leads round in circles, or into a folder that is not ours.
    const errno = errnoOf(error);
    if (errno === 'ELOOP' || errno === 'EACCES' || errno === 'ENOTDIR') return undefined;
    throw systemError(`cannot stat file '${path}'`, error);
  }
}

function typeOf(stats: BigIntStats): VolumeType | undefined {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'dir';
  return stats.isBlockDevice() ? 'block' : undefined;
}

/** Owner, group and mode of anything on a file system. */
export function permissionsOf({ mode, uid, gid }: BigIntStats): Permissions {
  return { mode: Number(mode & MODE_BITS), owner: Number(uid), group: Number(gid) };
}

function timestampsOf({ atimeNs, mtimeNs, ctimeNs, birthtimeNs }: BigIntStats): Timestamps {
  return { atime: seconds(atimeNs), mtime: seconds(mtimeNs), ctime: seconds(ctimeNs), btime: seconds(birthtimeNs) };
}

const NS = 1_000_000_000n;
function seconds(ns: bigint): string {
  return ns % NS === 0n ? String(ns / NS) : `${ns / NS}.${String(ns % NS).padStart(9, '0')}`;
}

/** In numbers, which take less time to read and compare; a change is never so near to another that they would not tell them apart. */
function stampOf({ dev, ino, size, blocks, mtimeNs, ctimeNs, atimeNs }: BigIntStats): FileStamp {
  return {
    dev: Number(dev),
    ino: Number(ino),
    size: Number(size),
    blocks: Number(blocks),
    mtimeMs: milliseconds(mtimeNs),
    ctimeMs: milliseconds(ctimeNs),
    atimeMs: milliseconds(atimeNs),
  };
}

/** As Node has them in its other statistics. */
function milliseconds(ns: bigint): number {
  return Number(ns / NS) * 1000 + Number(ns % NS) / 1_000_000;
}

function isUnchanged(path: string, stamp: FileStamp): boolean {
  let now: Stats | undefined;
  try {
    now = statSync(path, { throwIfNoEntry: false });
  } catch {
    // Whoever looks at it anew says why.
    return false;
  }
  return (
    now !== undefined &&
    now.mtimeMs === stamp.mtimeMs &&
    now.ctimeMs === stamp.ctimeMs &&
    now.atimeMs === stamp.atimeMs &&
    now.size === stamp.size &&
    now.blocks === stamp.blocks &&
    now.ino === stamp.ino &&
    now.dev === stamp.dev
  );
}

/** Within one tick of the kernel's clock a second change leaves no trace in the times. */
const SETTLE_NS = 100_000_000n;
function isSettled({ ctimeNs, mtimeNs }: BigIntStats): boolean {
  const last = ctimeNs > mtimeNs ? ctimeNs : mtimeNs;
  return BigInt(Date.now()) * 1_000_000n - last > SETTLE_NS;
}

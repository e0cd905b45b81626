/**
 * What the first bytes of a disk image say: its format, the image below, where its data is, whether it is encrypted.
 * Pure: reading files is done elsewhere. Headers come from guests, so nothing
 * in them is trusted: every offset and length is checked.
 */
import type { StorageFormat } from '../model/domain/devices/storage-source.ts';

/** Formats that are recognised; `vhdx` and `luks` cannot be named in a domain's definition. */
export type ImageFormat = StorageFormat | 'vhdx';

/** What a header says. */
export interface ImageHeader {
  readonly format: ImageFormat;
  readonly version?: number;
  /** Bytes that the guest sees. */
  readonly virtualSizeBytes?: bigint;
  /** As the image spells it: a path, perhaps relative, or a QEMU file name (`json:…`, `nbd://…`). */
  readonly backingFile?: string;
  /** Undefined where the image does not say; it must not be guessed from what a guest can write. */
  readonly backingFormat?: string;
  readonly dataFile?: string;
  /** Another file holds the guest's data. */
  readonly hasDataFile?: boolean;
  readonly encryption?: 'aes' | 'luks';
  /** Bytes before the data of an image whose size is that of its file. */
  readonly payloadOffsetBytes?: bigint;
  /** Of qcow2. */
  readonly qcow2?: Qcow2Features;
}

export interface Qcow2Features {
  readonly compat: '0.10' | '1.1';
  readonly clusterSizeBytes: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
}

/** A header that contradicts itself or is cut off. */
export class ImageFormatError extends Error {
  override readonly name = 'ImageFormatError';
  readonly format: ImageFormat;
  /** Set when more of the file is needed: so many bytes from its start. */
  readonly neededBytes: number | undefined;

  constructor(format: ImageFormat, problem: string, neededBytes?: number) {
    super(`${format} image: ${problem}`);
    this.format = format;
    this.neededBytes = neededBytes;
  }
}

/** Names in headers are at most this long in QEMU. */
const MAX_NAME_BYTES = 1023;
/** A header and its names lie in the first cluster; QEMU's largest has 2 MiB. */
export const MAX_HEADER_BYTES = 2 * 1024 * 1024;

/**
 * Reads the header of an image from the first bytes of its file; whatever has no known magic is raw.
 * @param format the format to read it as, where that is known; probing is for images that no guest has written
 * @throws {ImageFormatError}
 */
export function parseImageHeader(bytes: Uint8Array, format: ImageFormat = probeFormat(bytes)): ImageHeader {
  const view = new HeaderView(bytes, format);
  switch (format) {
    case 'qcow2':
      return parseQcow2(view);
    case 'qcow':
      return parseQcow(view);
    case 'qed':
      return parseQed(view);
    case 'vmdk':
      return parseVmdk(view);
    case 'vdi':
      return { format, virtualSizeBytes: view.uint64(VDI_SIZE_OFFSET, true) };
    case 'vpc':
      return { format, virtualSizeBytes: view.uint64(VPC_SIZE_OFFSET) };
    case 'luks':
      return parseLuks(view);
    default:
      return { format };
  }
}

const QCOW_MAGIC = 'QFI\xfb';
const VDI_SIZE_OFFSET = 0x170;
/** In the copy of the footer that dynamic images begin with. */
const VPC_SIZE_OFFSET = 48;
const LUKS1_PAYLOAD_OFFSET = 104;
/** Where the last magic that is looked for ends. */
export const PROBE_BYTES = 0x8006;

interface Magic {
  readonly format: ImageFormat;
  readonly text: string;
  readonly offset?: number;
}

const MAGICS: readonly Magic[] = [
  { format: 'qed', text: 'QED\0' },
  { format: 'vmdk', text: 'KDMV' },
  { format: 'vmdk', text: 'COWD' },
  { format: 'vmdk', text: '# Disk DescriptorFile' },
  { format: 'vhdx', text: 'vhdxfile' },
  { format: 'vpc', text: 'conectix' },
  { format: 'vdi', text: '\x7f\x10\xda\xbe', offset: 0x40 },
  { format: 'luks', text: 'LUKS\xba\xbe' },
  { format: 'ploop', text: 'WithoutFreeSpace' },
  { format: 'ploop', text: 'WithouFreSpacExt' },
  { format: 'bochs', text: 'Bochs Virtual HD Image' },
  { format: 'cloop', text: '#!/bin/sh\n#V2.0 Format\n' },
  { format: 'iso', text: 'CD001', offset: 0x8001 },
];

/** The format that the first bytes look like. */
export function probeFormat(bytes: Uint8Array): ImageFormat {
  if (startsWith(bytes, QCOW_MAGIC, 0)) {
    const version = bytes.length < 8 ? 0 : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(4);
    return version === 1 ? 'qcow' : 'qcow2';
  }
  return MAGICS.find(({ text, offset = 0 }) => startsWith(bytes, text, offset))?.format ?? 'raw';
}

function startsWith(bytes: Uint8Array, text: string, offset: number): boolean {
  if (bytes.length < offset + text.length) return false;
  for (let index = 0; index < text.length; index++) {
    if (bytes[offset + index] !== text.charCodeAt(index)) return false;
  }
  return true;
}

/** Bounds-checked reads; a read beyond what is there asks for more of the file. */
class HeaderView {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #format: ImageFormat;

  constructor(bytes: Uint8Array, format: ImageFormat) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#format = format;
  }

  uint16(offset: number): number {
    this.#need(offset, 2);
    return this.#view.getUint16(offset);
  }

  uint32(offset: number, littleEndian = false): number {
    this.#need(offset, 4);
    return this.#view.getUint32(offset, littleEndian);
  }

  uint64(offset: number, littleEndian = false): bigint {
    this.#need(offset, 8);
    return this.#view.getBigUint64(offset, littleEndian);
  }

  /** A 64-bit offset into the file, which must lie within the header's bounds. */
  offset(at: number, littleEndian = false): number {
    const value = this.uint64(at, littleEndian);
    if (value > BigInt(MAX_HEADER_BYTES)) this.fail(`offset ${value} lies outside the header`);
    return Number(value);
  }

  magic(text: string): boolean {
    return startsWith(this.#bytes, text, 0);
  }

  /** A file name of so many bytes. */
  name(offset: number, length: number, what: string): string {
    if (length > MAX_NAME_BYTES) this.fail(`the ${what} has ${length} bytes, more than ${MAX_NAME_BYTES}`);
    return this.text(offset, length, what);
  }

  text(offset: number, length: number, what: string): string {
    this.#need(offset, length);
    const part = this.#bytes.subarray(offset, offset + length);
    if (part.includes(0)) this.fail(`the ${what} has a NUL byte`);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(part);
    } catch {
      // The decoder's TypeError says no more than that.
      return this.fail(`the ${what} is not UTF-8 text`);
    }
  }

  /** Text up to its first NUL byte. */
  descriptor(offset: number, length: number): string {
    this.#need(offset, length);
    const part = this.#bytes.subarray(offset, offset + length);
    const end = part.indexOf(0);
    return this.text(offset, end < 0 ? length : end, 'descriptor');
  }

  fail(problem: string): never {
    throw new ImageFormatError(this.#format, problem);
  }

  #need(offset: number, length: number): void {
    const end = offset + length;
    if (end <= this.#bytes.length) return;
    if (end > MAX_HEADER_BYTES) this.fail(`a field at ${offset} lies outside the header`);
    throw new ImageFormatError(
      this.#format,
      `the file ends at ${this.#bytes.length} bytes, before its header does`,
      end,
    );
  }
}

const QCOW2_V2_HEADER_BYTES = 72;
const QCOW2_V3_HEADER_BYTES = 104;
/** Incompatible features: the data is in another file, clusters have sub-clusters. */
const QCOW2_EXTERNAL_DATA = 4n;
const QCOW2_EXTENDED_L2 = 16n;
/** Compatible feature. */
const QCOW2_LAZY_REFCOUNTS = 1n;
/** 512 bytes to 2 MiB. */
const QCOW2_CLUSTER_BITS = { min: 9, max: 21 } as const;
const EXTENSION_END = 0;
const EXTENSION_BACKING_FORMAT = 0xe279_2aca;
const EXTENSION_DATA_FILE = 0x4441_5441;

function parseQcow2(view: HeaderView): ImageHeader {
  if (!view.magic(QCOW_MAGIC)) view.fail('its first bytes are not those of the format');
  const version = view.uint32(4);
  if (version !== 2 && version !== 3) view.fail(`version ${version} is unknown`);
  const backingOffset = view.offset(8);
  const backingLength = view.uint32(16);
  const crypt = view.uint32(32);
  const hasDataFile = version === 3 && (view.uint64(72) & QCOW2_EXTERNAL_DATA) !== 0n;
  const headerLength = version === 3 ? view.uint32(100) : QCOW2_V2_HEADER_BYTES;
  if (version === 3 && (headerLength < QCOW2_V3_HEADER_BYTES || headerLength > MAX_HEADER_BYTES)) {
    view.fail(`a header of ${headerLength} bytes is impossible`);
  }
  const backingFile = backingOffset === 0 ? undefined : view.name(backingOffset, backingLength, 'backing file name');
  const extensions = readExtensions(view, headerLength, backingOffset);
  return {
    format: 'qcow2',
    version,
    virtualSizeBytes: view.uint64(24),
    ...(backingFile !== undefined && backingFile !== '' && { backingFile }),
    ...(extensions.backingFormat !== undefined && { backingFormat: extensions.backingFormat }),
    ...(hasDataFile && { hasDataFile }),
    ...(extensions.dataFile !== undefined && { dataFile: extensions.dataFile }),
    ...encryptionOf(view, crypt),
    qcow2: qcow2Features(view, version),
  };
}

function qcow2Features(view: HeaderView, version: 2 | 3): Qcow2Features {
  const bits = view.uint32(20);
  if (bits < QCOW2_CLUSTER_BITS.min || bits > QCOW2_CLUSTER_BITS.max)
    view.fail(`clusters of 2^${bits} bytes are impossible`);
  return {
    compat: version === 2 ? '0.10' : '1.1',
    clusterSizeBytes: 2 ** bits,
    lazyRefcounts: version === 3 && (view.uint64(80) & QCOW2_LAZY_REFCOUNTS) !== 0n,
    extendedL2: version === 3 && (view.uint64(72) & QCOW2_EXTENDED_L2) !== 0n,
  };
}

/** Of version 1 the size is known: all that follows the header. */
function parseLuks(view: HeaderView): ImageHeader {
  const version = view.uint16(6);
  if (version !== 1) return { format: 'luks', version, encryption: 'luks' };
  const payloadOffsetBytes = BigInt(view.uint32(LUKS1_PAYLOAD_OFFSET)) * BigInt(SECTOR_BYTES);
  return { format: 'luks', version, encryption: 'luks', payloadOffsetBytes };
}

function readExtensions(
  view: HeaderView,
  start: number,
  backingOffset: number,
): { backingFormat?: string; dataFile?: string } {
  const found: { backingFormat?: string; dataFile?: string } = {};
  let offset = start;
  // They end at the backing file's name, where there is one and no end mark.
  const end = backingOffset === 0 ? Number.POSITIVE_INFINITY : backingOffset;
  while (offset + 8 <= end) {
    if (offset + 8 > MAX_HEADER_BYTES) view.fail('its header extensions do not end');
    const type = view.uint32(offset);
    const length = view.uint32(offset + 4);
    if (type === EXTENSION_END) break;
    if (length > MAX_HEADER_BYTES) view.fail(`a header extension of ${length} bytes is impossible`);
    if (type === EXTENSION_BACKING_FORMAT) found.backingFormat = view.name(offset + 8, length, 'backing format');
    if (type === EXTENSION_DATA_FILE) found.dataFile = view.name(offset + 8, length, 'data file name');
    offset += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function parseQcow(view: HeaderView): ImageHeader {
  if (!view.magic(QCOW_MAGIC)) view.fail('its first bytes are not those of the format');
  const version = view.uint32(4);
  if (version !== 1) view.fail(`version ${version} is not that of qcow`);
  const offset = view.offset(8);
  const length = view.uint32(16);
  return {
    format: 'qcow',
    version,
    virtualSizeBytes: view.uint64(24),
    ...(offset !== 0 && length !== 0 && { backingFile: view.name(offset, length, 'backing file name') }),
    ...encryptionOf(view, view.uint32(36)),
  };
}

function encryptionOf(view: HeaderView, method: number): { encryption?: 'aes' | 'luks' } {
  if (method === 0) return {};
  if (method > 2) view.fail(`encryption method ${method} is unknown`);
  return { encryption: method === 1 ? 'aes' : 'luks' };
}

const QED_HAS_BACKING = 1n;
const QED_BACKING_IS_RAW = 4n;

function parseQed(view: HeaderView): ImageHeader {
  if (!view.magic('QED\0')) view.fail('its first bytes are not those of the format');
  const features = view.uint64(16, true);
  const virtualSizeBytes = view.uint64(48, true);
  if ((features & QED_HAS_BACKING) === 0n) return { format: 'qed', virtualSizeBytes };
  const backingFile = view.name(view.uint32(56, true), view.uint32(60, true), 'backing file name');
  const raw = (features & QED_BACKING_IS_RAW) !== 0n;
  return { format: 'qed', virtualSizeBytes, backingFile, ...(raw && { backingFormat: 'raw' }) };
}

const SECTOR_BYTES = 512;
/** QEMU's own bound for a descriptor. */
const MAX_DESCRIPTOR_BYTES = 20 * SECTOR_BYTES;

function parseVmdk(view: HeaderView): ImageHeader {
  if (!view.magic('KDMV')) return { format: 'vmdk' };
  const version = view.uint32(4, true);
  const sectors = view.uint64(28, true);
  const length = view.uint64(36, true) * BigInt(SECTOR_BYTES);
  const offset = sectors * BigInt(SECTOR_BYTES);
  const virtualSizeBytes = view.uint64(12, true) * BigInt(SECTOR_BYTES);
  if (sectors === 0n || length === 0n) return { format: 'vmdk', version, virtualSizeBytes };
  if (offset > BigInt(MAX_HEADER_BYTES)) view.fail('its descriptor lies outside the header');
  const bytes = Math.min(Number(length), MAX_DESCRIPTOR_BYTES);
  const descriptor = view.descriptor(Number(offset), bytes);
  const parent = /^parentFileNameHint="([^"\n]*)"/m.exec(descriptor)?.[1];
  const hasParent = !/^parentCID=ffffffff/m.test(descriptor);
  return {
    format: 'vmdk',
    version,
    virtualSizeBytes,
    // VMware's images stand on images of their own format only.
    ...(hasParent && parent !== undefined && parent !== '' && { backingFile: parent, backingFormat: 'vmdk' }),
  };
}

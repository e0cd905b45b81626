/**
 * The file of a saved guest, in libvirt's format: a header, the definition, and QEMU's migration stream behind it. Reading and writing of
 * the first two; either of the two programs reads what the other has written.
 */
import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { DIRECT_ALIGNMENT } from './direct-io.ts';

/** A file is complete only under the first; until then it has the second. */
const MAGIC = 'LibvirtQemudSave';
const PARTIAL_MAGIC = 'LibvirtQemudPart';
const VERSION = 2;
const HEADER_BYTES = 92;
/** Offsets of the header's fields: 32 bits each, in the host's byte order. */
const AT = { version: 16, dataLength: 20, wasRunning: 24, format: 28, cookieOffset: 32 } as const;
/** Longest definition that is read. */
const DATA_MAX = 64 * 1024 * 1024;
/** Room that a later definition may take without moving the stream, as libvirt leaves. */
const SPARE_BYTES = 64 * 1024;

/** Compression by number; programs of the same names. */
export const SAVE_FORMATS = ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd'] as const;
export type SaveFormat = (typeof SAVE_FORMATS)[number];

export interface SaveHeader {
  readonly xml: string;
  readonly wasRunning: boolean;
  readonly format: SaveFormat;
  /** What libvirt notes beside the definition (the CPU as it really was); kept as it is. */
  readonly cookie?: string | undefined;
}

/** An open file that stands at the migration stream. Close it. */
export interface OpenSaveImage extends SaveHeader, Disposable {
  readonly fd: number;
  /** Where the stream begins, in bytes. */
  readonly streamOffset: number;
}

/** @throws VirtError for a file that is none, is not complete, or is damaged; it is never changed */
export function openSaveImage(path: string): OpenSaveImage {
  const fd = open(path, constants.O_RDONLY);
  try {
    const { header, dataLength } = readHeader(fd, path);
    return { ...header, fd, streamOffset: HEADER_BYTES + dataLength, [Symbol.dispose]: () => closeSync(fd) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

export function readSaveImage(path: string): SaveHeader {
  using image = openSaveImage(path);
  const { xml, wasRunning, format, cookie } = image;
  return { xml, wasRunning, format, cookie };
}

/** A file that is begun: its descriptor stands behind the definition, where the stream is to begin. Close it. */
export interface BegunSaveImage {
  readonly fd: number;
  /** In bytes; a multiple of `DIRECT_ALIGNMENT`. */
  readonly streamOffset: number;
}

/** Begins a file: what it says until `finishSaveImage` is that it is not complete. */
export function beginSaveImage(path: string, header: SaveHeader): BegunSaveImage {
  const fd = open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC);
  const text = textsOf(header);
  const streamOffset = alignUp(HEADER_BYTES + text.length + SPARE_BYTES);
  const data = Buffer.alloc(streamOffset - HEADER_BYTES);
  data.set(text);
  writeSync(fd, Buffer.concat([makeHeader(PARTIAL_MAGIC, data.length, header), data]));
  return { fd, streamOffset };
}

function alignUp(bytes: number): number {
  return Math.ceil(bytes / DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT;
}

/** All is written: the file counts from now on. */
export function finishSaveImage(fd: number): void {
  fsyncSync(fd);
  writeSync(fd, Buffer.from(MAGIC, 'latin1'), 0, MAGIC.length, 0);
  fsyncSync(fd);
}

/** Changes the definition in a file, or whether the guest runs afterwards. @throws VirtError where it does not fit */
export function rewriteSaveImage(path: string, change: Partial<Pick<SaveHeader, 'xml' | 'wasRunning'>>): void {
  const fd = open(path, constants.O_RDWR);
  try {
    const { header, dataLength } = readHeader(fd, path);
    const next = { ...header, ...change };
    const text = textsOf(next);
    if (text.length > dataLength) {
      throw failed(`new xml too large to fit in file '${path}': ${text.length} bytes, there is room for ${dataLength}`);
    }
    const data = Buffer.alloc(dataLength);
    data.set(text);
    const head = makeHeader(MAGIC, dataLength, next);
    writeSync(fd, Buffer.concat([head, data]), 0, HEADER_BYTES + dataLength, 0);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function readHeader(fd: number, path: string): { header: SaveHeader; dataLength: number } {
  const head = Buffer.alloc(HEADER_BYTES);
  const size = readSync(fd, head, 0, HEADER_BYTES, null);
  const magic = head.toString('latin1', 0, MAGIC.length);
  if (size === HEADER_BYTES && magic === PARTIAL_MAGIC) {
    throw failed(`save image '${path}' is incomplete: its guest was not saved to the end`);
  }
  if (size < HEADER_BYTES || magic !== MAGIC) throw failed(`image magic is incorrect: '${path}' is no saved guest`);
  const number = (at: number): number => (endianness() === 'LE' ? head.readUInt32LE(at) : head.readUInt32BE(at));
  const version = number(AT.version);
  if (version > VERSION) throw failed(`image version is not supported (${version} > ${VERSION})`);
  const dataLength = number(AT.dataLength);
  if (dataLength === 0 || dataLength > DATA_MAX) throw failed(`invalid header data length: ${dataLength}`);
  const data = Buffer.alloc(dataLength);
  if (readSync(fd, data, 0, dataLength, null) < dataLength)
    throw failed(`save image '${path}' is cut off in its definition`);
  const format = SAVE_FORMATS[number(AT.format)];
  if (format === undefined) throw failed(`invalid compressed save format ${number(AT.format)}`);
  const end = data.indexOf(0);
  const xml = data.toString('utf8', 0, end < 0 ? dataLength : end);
  const cookie = textAt(data, number(AT.cookieOffset), path);
  return { header: { xml, wasRunning: number(AT.wasRunning) !== 0, format, cookie }, dataLength };
}

/** A text that ends with a NUL; none at 0. */
function textAt(data: Buffer, offset: number, path: string): string | undefined {
  if (offset === 0) return undefined;
  if (offset >= data.length) throw failed(`save image '${path}' is damaged: its cookie lies outside of its header`);
  const end = data.indexOf(0, offset);
  return data.toString('utf8', offset, end < 0 ? data.length : end);
}

/** The definition and the cookie, each with its NUL. */
function textsOf({ xml, cookie }: SaveHeader): Buffer {
  return Buffer.from(cookie === undefined ? `${xml}\0` : `${xml}\0${cookie}\0`);
}

function makeHeader(magic: string, dataLength: number, { xml, wasRunning, format, cookie }: SaveHeader): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  const put = (value: number, at: number): void =>
    void (endianness() === 'LE' ? head.writeUInt32LE(value, at) : head.writeUInt32BE(value, at));
  head.write(magic, 0, 'latin1');
  put(VERSION, AT.version);
  put(dataLength, AT.dataLength);
  put(wasRunning ? 1 : 0, AT.wasRunning);
  put(SAVE_FORMATS.indexOf(format), AT.format);
  put(cookie === undefined ? 0 : Buffer.byteLength(xml) + 1, AT.cookieOffset);
  return head;
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw new VirtError(`failed to open file '${path}': ${cause instanceof Error ? cause.message : String(cause)}`, {
      code: ErrorCode.SYSTEM_ERROR,
      domain: ErrorDomain.QEMU,
      cause,
    });
  }
}

function failed(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.QEMU });
}

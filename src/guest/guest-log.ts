/**
 * The per-guest log in libvirt's form: a stamp and the whole command line at the start, QEMU's own output between
 * (QEMU holds the descriptor), a stamp with the reason at the end. Writes whole lines with one call each.
 */
import {
  closeSync,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { hostname, release } from 'node:os';
import { dirname } from 'node:path';

/** How much of the end of a log goes into an error. */
const TAIL_BYTES = 4096;
/** How often a running guest's log is looked at. */
const CHECK_MS = 10_000;

export class GuestLog implements Disposable {
  readonly path: string;
  /** For QEMU's stdout and stderr. */
  readonly fd: number;
  readonly #limits: GuestLogLimits;
  readonly #timer: NodeJS.Timeout | undefined;
  #outputStart = 0;
  #closed = false;

  private constructor(path: string, fd: number, limits: GuestLogLimits) {
    this.path = path;
    this.fd = fd;
    this.#limits = limits;
    if (limits.maxSize > 0) this.#timer = setInterval(() => this.#truncateIfLarge(), CHECK_MS).unref();
  }

  /** Opens for appending; the folder is made, and a log that has grown too large is moved aside. */
  static open(path: string, limits: GuestLogLimits = { maxSize: 0, maxBackups: 0 }): GuestLog {
    if (limits.maxSize > 0 && (statSync(path, { throwIfNoEntry: false })?.size ?? 0) >= limits.maxSize) {
      shiftBackups(path, limits.maxBackups);
      if (limits.maxBackups > 0) renameSync(path, `${path}.0`);
      else rmSync(path);
    }
    try {
      return new GuestLog(path, openSync(path, 'a+', 0o600), limits);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      return new GuestLog(path, openSync(path, 'a+', 0o600), limits);
    }
  }

  /** The end of a log that nobody holds open. @throws the system's error */
  static lastLines(path: string): string {
    return readFileSync(path, 'utf8').slice(-TAIL_BYTES);
  }

  /** `YYYY-MM-DD HH:MM:SS.mmm+0000: TEXT`. */
  stamp(text: string, now = new Date()): void {
    this.write(`${formatStamp(now)}: ${text}\n`);
  }

  write(text: string): void {
    if (!this.#closed) writeSync(this.fd, text);
  }

  /** Says that QEMU's own words begin here. */
  markOutput(): void {
    this.#outputStart = fstatSync(this.fd).size;
  }

  /** The end of what QEMU has printed so far. */
  qemuOutput(): string {
    if (this.#closed) return '';
    const size = fstatSync(this.fd).size;
    const length = Math.min(size - this.#outputStart, TAIL_BYTES);
    if (length <= 0) return '';
    const buffer = Buffer.alloc(length);
    const read = readSync(this.fd, buffer, 0, length, size - length);
    return buffer.subarray(0, read).toString('utf8').trimEnd();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    closeSync(this.fd);
  }

  /** QEMU holds the descriptor, so that the file is copied and emptied: what is appended then begins at the front again. */
  #truncateIfLarge(): void {
    const { maxSize, maxBackups } = this.#limits;
    if (this.#closed || fstatSync(this.fd).size < maxSize) return;
    shiftBackups(this.path, maxBackups);
    if (maxBackups > 0) copyFileSync(this.path, `${this.path}.0`);
    ftruncateSync(this.fd);
    this.#outputStart = 0;
  }
}

/** When a log is moved aside, in bytes (0: never), and how many former ones are kept: `NAME.log.0` is the newest. */
export interface GuestLogLimits {
  readonly maxSize: number;
  readonly maxBackups: number;
}

function shiftBackups(path: string, maxBackups: number): void {
  if (maxBackups > 0) rmSync(`${path}.${maxBackups - 1}`, { force: true });
  for (let index = maxBackups - 2; index >= 0; index--) {
    const from = `${path}.${index}`;
    if (statSync(from, { throwIfNoEntry: false }) !== undefined) renameSync(from, `${path}.${index + 1}`);
  }
}

/** libvirt's time stamp, in UTC. */
export function formatStamp(date: Date): string {
  return `${date.toISOString().replace('T', ' ').slice(0, 23)}+0000`;
}

/** First line of a guest's log, as libvirt words it. */
export function startLine({ nestling, qemu }: { nestling: string; qemu?: string }): string {
  const emulator = qemu === undefined ? '' : `qemu version: ${qemu}, `;
  return `starting up nestling version: ${nestling}, ${emulator}kernel: ${release()}, hostname: ${hostname()}`;
}

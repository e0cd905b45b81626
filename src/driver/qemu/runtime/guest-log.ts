/**
 * The per-guest log in libvirt's form: a stamp and the whole command line at the start, QEMU's own output between
 * (QEMU holds the descriptor), a stamp with the reason at the end. Writes whole lines with one call each.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { dirname } from 'node:path';

/** How much of the end of a log goes into an error. */
const TAIL_BYTES = 4096;

export class GuestLog implements Disposable {
  readonly path: string;
  /** For QEMU's stdout and stderr. */
  readonly fd: number;
  #outputStart = 0;
  #closed = false;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /** Opens for appending; the folder is made. */
  static open(path: string): GuestLog {
    try {
      return new GuestLog(path, openSync(path, 'a+', 0o600));
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      return new GuestLog(path, openSync(path, 'a+', 0o600));
    }
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
    closeSync(this.fd);
  }
}

/** libvirt's time stamp, in UTC. */
export function formatStamp(date: Date): string {
  return `${date.toISOString().replace('T', ' ').slice(0, 23)}+0000`;
}

/** First line of a guest's log, as libvirt words it. */
export function startLine(versions: { nestling: string; qemu: string }): string {
  return `starting up nestling version: ${versions.nestling}, qemu version: ${versions.qemu}, kernel: ${release()}, hostname: ${hostname()}`;
}

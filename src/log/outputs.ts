/**
 * Where log lines go. An output never throws once it is open: a full disk or a lost journal must not end a guest. It counts what it lost and
 * says so as soon as it can.
 */
import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { LogLevel } from '../core/log-source.ts';
import { type DatagramSocket, openDatagramSocket } from './datagram.ts';
import { formatRecord, type LogRecord } from './format.ts';
import type { LogFormat, LogOutput } from './settings.ts';

export interface OpenOutput extends Disposable {
  readonly level: LogLevel;
  write(record: LogRecord): void;
}

export interface OutputRoots {
  /** Default `/dev/log`. */
  readonly syslogSocket?: string;
  /** Default `/run/systemd/journal/socket`. */
  readonly journalSocket?: string;
  /** Descriptor of standard error. */
  readonly stderr?: number;
}

/** Facility `daemon` of syslog. */
const DAEMON_FACILITY = 3 << 3;
/** syslog's severities: debug, informational, warning, error. */
const SEVERITIES: Readonly<Record<LogLevel, number>> = {
  [LogLevel.DEBUG]: 7,
  [LogLevel.INFO]: 6,
  [LogLevel.WARN]: 4,
  [LogLevel.ERROR]: 3,
};
/** A terminal or pipe that is full is tried again so often. */
const MAX_TRIES = 100;

/** @throws Error when a file cannot be opened, or nobody listens on a log socket */
export async function openOutput(output: LogOutput, format: LogFormat, roots: OutputRoots = {}): Promise<OpenOutput> {
  switch (output.kind) {
    case 'stderr':
      return new LineOutput(output.level, format, () => roots.stderr ?? 2);
    case 'file':
      return new FileOutput(output.level, format, output.path);
    case 'syslog': {
      const socket = await openDatagramSocket(roots.syslogSocket ?? '/dev/log');
      return new SocketOutput(output.level, socket, (record) => syslogMessage(record, output.name));
    }
    case 'journald': {
      const socket = await openDatagramSocket(roots.journalSocket ?? '/run/systemd/journal/socket');
      return new SocketOutput(output.level, socket, journalMessage);
    }
    default:
      return output satisfies never;
  }
}

/** Lines into a descriptor, one call each. */
class LineOutput implements OpenOutput {
  readonly level: LogLevel;
  readonly #format: LogFormat;
  readonly #fd: () => number;
  #lost = 0;

  constructor(level: LogLevel, format: LogFormat, fd: () => number) {
    this.level = level;
    this.#format = format;
    this.#fd = fd;
  }

  write(record: LogRecord): void {
    if (this.#lost > 0 && this.#put({ ...lossRecord(record, this.#lost) })) this.#lost = 0;
    if (!this.#put(record)) this.#lost++;
  }

  [Symbol.dispose](): void {}

  #put(record: LogRecord): boolean {
    try {
      return writeAll(this.#fd(), Buffer.from(formatRecord(record, this.#format)));
    } catch {
      // No space, or nobody reads any more: counted by the caller.
      return false;
    }
  }
}

/** Appends; opens the path anew when somebody has moved the file away, as logrotate does. */
class FileOutput implements OpenOutput {
  readonly level: LogLevel;
  readonly #path: string;
  readonly #lines: LineOutput;
  #fd: number;
  #inode: number;

  constructor(level: LogLevel, format: LogFormat, path: string) {
    this.level = level;
    this.#path = path;
    this.#fd = openLog(path);
    this.#inode = fstatSync(this.#fd).ino;
    this.#lines = new LineOutput(level, format, () => this.#fd);
  }

  write(record: LogRecord): void {
    this.#reopen();
    this.#lines.write(record);
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #reopen(): void {
    if (this.#fd < 0 || statSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode) return;
    try {
      const fd = openLog(this.#path);
      closeSync(this.#fd);
      this.#fd = fd;
      this.#inode = fstatSync(fd).ino;
    } catch {
      // Its folder is gone: the file that was moved away still takes the lines.
    }
  }
}

class SocketOutput implements OpenOutput {
  readonly level: LogLevel;
  readonly #socket: DatagramSocket;
  readonly #encode: (record: LogRecord) => Buffer;
  #lost = 0;

  constructor(level: LogLevel, socket: DatagramSocket, encode: (record: LogRecord) => Buffer) {
    this.level = level;
    this.#socket = socket;
    this.#encode = encode;
  }

  write(record: LogRecord): void {
    if (this.#lost > 0 && this.#socket.send(this.#encode(lossRecord(record, this.#lost)))) this.#lost = 0;
    if (!this.#socket.send(this.#encode(record))) this.#lost++;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

function openLog(path: string): number {
  return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
}

function writeAll(fd: number, bytes: Buffer): boolean {
  let at = 0;
  for (let tries = 0; at < bytes.length && tries < MAX_TRIES; tries++) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      // A pipe that another program made non-blocking, and that is full at the moment.
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
    }
  }
  return at === bytes.length;
}

function lossRecord({ time, pid }: LogRecord, lost: number): LogRecord {
  return { time, pid, level: LogLevel.WARN, text: `${lost} messages could not be written and are lost` };
}

/** RFC 3164 as the C library writes it to /dev/log. */
function syslogMessage({ time, pid, level, where, line, text }: LogRecord, name: string): Buffer {
  const [, month = '', day = '', clock = ''] = /^\w+ (\w+) (\d+) \d+ ([\d:]+)/.exec(time.toString()) ?? [];
  const stamp = `${month} ${String(Number(day)).padStart(2)} ${clock}`;
  const place = where === undefined ? '' : `${where}:${line ?? 0} : `;
  return Buffer.from(`<${DAEMON_FACILITY | SEVERITIES[level]}>${stamp} ${name}[${pid}]: ${place}${text}`);
}

/** systemd's native protocol, with libvirt's field names. Values with newlines carry their length. */
function journalMessage({ level, source, where, line, text, pid }: LogRecord): Buffer {
  const fields: Readonly<Record<string, string | number | undefined>> = {
    MESSAGE: text,
    PRIORITY: SEVERITIES[level],
    LIBVIRT_SOURCE: source,
    CODE_FUNC: where,
    CODE_LINE: line,
    SYSLOG_IDENTIFIER: 'nestling',
    SYSLOG_PID: pid,
  };
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [journalField(name, String(value))])),
  );
}

function journalField(name: string, value: string): Buffer {
  if (!value.includes('\n')) return Buffer.from(`${name}=${value}\n`);
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([Buffer.from(`${name}\n`), length, bytes, Buffer.from('\n')]);
}

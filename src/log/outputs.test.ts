import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogLevel } from '../core/log-source.ts';
import { openOutput } from './outputs.ts';

const libc = koffi.load(null);
const socket = libc.func('int socket(int domain, int type, int protocol)');
const bind = libc.func('int bind(int fd, void *address, unsigned int length)');
const receive = libc.func('long recv(int fd, void *buffer, unsigned long length, int flags)');
const close = libc.func('int close(int fd)');
const MSG_DONTWAIT = 0x40;

let folder: string;
let path: string;
let fd: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-'));
  path = join(folder, 's');
  fd = Number(socket(1, 2, 0));
  const address = Buffer.alloc(110);
  address.writeUInt16LE(1, 0);
  address.write(path, 2);
  expect(Number(bind(fd, address, 2 + path.length + 1))).toBe(0);
});
afterEach(() => {
  close(fd);
  rmSync(folder, { recursive: true, force: true });
});

function take(): string {
  const buffer = Buffer.alloc(4096);
  const length = Number(receive(fd, buffer, buffer.length, MSG_DONTWAIT));
  return length < 0 ? '' : buffer.toString('latin1', 0, length);
}

const record = {
  time: new Date(2026, 0, 5, 3, 4, 5),
  pid: 17,
  level: LogLevel.WARN,
  source: 'util.command',
  where: 'f',
  line: 3,
  text: 'careful',
} as const;

describe('sockets', () => {
  it('syslog gets facility, severity, time and name', async () => {
    using output = await openOutput({ kind: 'syslog', level: LogLevel.DEBUG, name: 'farm' }, 'text', {
      syslogSocket: path,
    });
    output.write(record);
    expect(take()).toBe('<28>Jan  5 03:04:05 farm[17]: f:3 : careful');
  });

  it('the journal gets fields, and texts of several lines with their length', async () => {
    using output = await openOutput({ kind: 'journald', level: LogLevel.DEBUG }, 'text', { journalSocket: path });
    output.write(record);
    expect(take()).toBe(
      'MESSAGE=careful\nPRIORITY=4\nLIBVIRT_SOURCE=util.command\nCODE_FUNC=f\nCODE_LINE=3\nSYSLOG_IDENTIFIER=nestling\nSYSLOG_PID=17\n',
    );
    output.write({ ...record, text: 'a\nb' });
    expect(take()).toContain('MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=4\n');
  });

  it('whose daemon has gone lose messages, and say how many when it is back', async () => {
    using output = await openOutput({ kind: 'syslog', level: LogLevel.DEBUG, name: 'farm' }, 'text', {
      syslogSocket: path,
    });
    for (let count = 0; count < 2000; count++) output.write(record);
    while (take() !== '') {
      // The queue is emptied; what did not fit in it is lost.
    }
    output.write(record);
    expect(take()).toMatch(/\d+ messages could not be written and are lost$/);
    expect(take()).toMatch(/careful$/);
  });

  it('that nobody listens on are an error at once', async () => {
    await expect(
      openOutput({ kind: 'journald', level: 1 }, 'text', { journalSocket: join(folder, 'none') }),
    ).rejects.toThrow(/cannot log to .*none: ENOENT/);
  });
});

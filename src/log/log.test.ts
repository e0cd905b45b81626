import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LOG_CHANNEL, LogLevel, LogSource } from '../core/log-source.ts';
import { formatRecord } from './format.ts';
import { Log } from './log.ts';
import {
  formatLogFilter,
  formatLogOutput,
  idleFilters,
  logTextsOf,
  parseLogFilters,
  parseLogOutputs,
  readLogSettings,
} from './settings.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const qemu = new LogSource('qemu.qemu_process');
const command = new LogSource('util.command');

async function open(texts: Record<string, string>): Promise<Log> {
  return await Log.open({ settings: readLogSettings([texts]), version: '1.2.3' });
}

const lines = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1);

describe('settings', () => {
  it('are read and written as libvirt writes them', () => {
    const filters = '1:qemu 3:+event 4:util.command';
    expect(parseLogFilters(` ${filters} `).map(formatLogFilter).join(' ')).toBe(filters);
    const outputs = '1:file:/tmp/a:b.log 3:stderr 2:syslog:nestling 4:journald';
    expect(parseLogOutputs(outputs).map(formatLogOutput).join(' ')).toBe(outputs);
  });

  it.each([
    ['5:qemu', /'5:qemu' does not begin with a level from 1 to 4/],
    ['qemu', /does not begin with a level/],
    ['1:', /names no source/],
    ['debug:qemu', /does not begin with a level/],
  ])('filter %j is refused', (text, words) => expect(() => parseLogFilters(text)).toThrow(words));

  it.each([
    ['1:file:relative.log', /absolute path/],
    ['1:file', /absolute path/],
    ['1:syslog', /has no name/],
    ['1:stderr:x', /takes nothing after it/],
    ['1:printer', /there is no 'printer'/],
  ])('output %j is refused', (text, words) => expect(() => parseLogOutputs(text)).toThrow(words));

  it('never crash on any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const parse of [parseLogFilters, parseLogOutputs]) {
          try {
            parse(text);
          } catch (error) {
            expect((error as Error).name).toBe('LogSettingsError');
          }
        }
      }),
    );
  });

  it('options are stronger than the environment, and that than the configuration', () => {
    const env = logTextsOf({ LIBVIRT_LOG_FILTERS: '1:qemu', LIBVIRT_DEBUG: '', LIBVIRT_LOG_OUTPUTS: '1:stderr' });
    expect(readLogSettings([{ filters: '2:util' }, env, { filters: '4:rpc', level: 'error' }])).toEqual({
      level: LogLevel.ERROR,
      filters: [{ level: 2, match: 'util', stack: false }],
      outputs: [{ kind: 'stderr', level: 1 }],
      format: 'text',
    });
  });

  it('nothing said means nothing logged; a level alone goes to standard error', () => {
    expect(readLogSettings([{}]).outputs).toEqual([]);
    expect(readLogSettings([{ level: '1' }]).outputs).toEqual([{ kind: 'stderr', level: 1 }]);
    expect(() => readLogSettings([{ level: '7' }])).toThrow(/no log level/);
  });

  it('a filter that is about nothing is told', () => {
    expect(idleFilters(parseLogFilters('1:qemu 1:nonsense 1:*_json'))).toEqual([
      expect.stringMatching(/^log filter '1:nonsense' matches no source; there are: libvirt, conf,/),
    ]);
  });
});

describe('a log', () => {
  it("has libvirt's lines, and only what its filters let through", async () => {
    const path = join(folder, 'a.log');
    using _log = await open({ filters: '1:qemu', outputs: `1:file:${path}` });
    qemu.debug('startGuest', () => 'guest web');
    command.debug('spawn', () => 'not this one');
    command.warn('spawn', () => 'but this one');
    const [version, host, first, second, ...rest] = lines(path);
    expect(version).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: \d+: info : nestling version: 1\.2\.3$/);
    expect(host).toMatch(/: info : hostname: /);
    expect(first).toMatch(/^\S+ \S+\+0000: \d+: debug : startGuest:\d+ : guest web$/);
    expect(second).toMatch(/: warning : spawn:\d+ : but this one$/);
    expect(rest).toEqual([]);
  });

  it('the first filter that matches decides, and every output has a level of its own', async () => {
    const [all, errors] = [join(folder, 'all'), join(folder, 'errors')];
    using _log = await open({ filters: '4:qemu_process 1:qemu', outputs: `1:file:${all} 4:file:${errors}` });
    qemu.warn('x', () => 'quiet');
    qemu.error('x', () => 'loud');
    new LogSource('qemu.qemu_monitor').debug('x', () => 'detail');
    expect(
      lines(all)
        .slice(2)
        .map((line) => line.split(' : ').at(-1)),
    ).toEqual(['loud', 'detail']);
    expect(lines(errors).at(-1)).toMatch(/loud$/);
  });

  it('can be changed while everything runs, and costs nothing when it ends', async () => {
    const [a, b] = [join(folder, 'a'), join(folder, 'b')];
    const log = await open({ filters: '1:util', outputs: `1:file:${a}` });
    qemu.debug('x', () => 'unheard');
    log.setFilters('1:qemu');
    qemu.debug('x', () => 'heard');
    await log.setOutputs(`1:file:${b}`);
    qemu.debug('x', () => 'elsewhere');
    expect([log.filters, log.outputs]).toEqual(['1:qemu', `1:file:${b}`]);
    expect(lines(a).filter((line) => line.includes('heard'))).toHaveLength(1);
    expect(lines(b).at(-1)).toMatch(/elsewhere$/);
    await expect(log.setOutputs('1:file:/nowhere/at/all')).rejects.toThrow(/ENOENT/);
    qemu.debug('x', () => 'still there');
    expect(lines(b).at(-1)).toMatch(/still there$/);
    log[Symbol.dispose]();
    expect(LOG_CHANNEL.hasSubscribers).toBe(false);
  });

  it('follows a file that was moved away, and goes on when a message cannot be made', async () => {
    const path = join(folder, 'a');
    using _log = await open({ level: '1', outputs: `1:file:${path}` });
    renameSync(path, `${path}.1`);
    qemu.debug('x', () => {
      throw new Error('broken');
    });
    expect(lines(path)).toEqual([expect.stringMatching(/could not be made: Error: broken/)]);
  });

  it('a full disk loses messages, not the program', async () => {
    using log = await Log.open({
      settings: readLogSettings([{ level: '1', outputs: '1:file:/dev/full' }]),
      version: '1',
    });
    qemu.debug('x', () => 'lost');
    await log.setOutputs(`1:file:${join(folder, 'ok')}`);
    qemu.debug('x', () => 'kept');
    expect(lines(join(folder, 'ok')).at(-1)).toMatch(/kept$/);
  });

  it('writes stacks where the filter asks for them', async () => {
    const path = join(folder, 'a');
    using _log = await open({ filters: '1:+qemu', outputs: `1:file:${path}` });
    qemu.debug('x', () => 'deep');
    expect(lines(path)[3]).toMatch(/^ {4}at .*log\.test\.ts/);
  });

  it('as JSON is one object a line', async () => {
    const path = join(folder, 'a');
    using _log = await open({ level: 'debug', outputs: `1:file:${path}`, format: 'json' });
    qemu.info('startGuest', () => 'two\nlines');
    expect(JSON.parse(lines(path).at(-1) ?? '')).toMatchObject({
      level: 'info',
      source: 'qemu.qemu_process',
      function: 'startGuest',
      message: 'two\nlines',
    });
  });

  it("lines have libvirt's form to the letter", () => {
    const time = new Date('2026-01-31T12:34:56.789Z');
    const record = { time, pid: 7, level: LogLevel.ERROR, where: 'f', line: 12, text: 'm' };
    expect(formatRecord(record, 'text')).toBe('2026-01-31 12:34:56.789+0000: 7: error : f:12 : m\n');
  });
});

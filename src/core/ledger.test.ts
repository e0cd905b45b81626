import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Ledger, LedgerError } from './ledger.ts';
import { claimedFileName, formatDone, formatHeader, formatRecord, parseLedger } from './ledger-format.ts';
import { collectGarbage } from './ledger-gc.ts';
import { isAlive, type LedgerOwner, parseProcStat, readIdentity, readOwner } from './ledger-owner.ts';
import { CORE_REMOVERS } from './ledger-removers.ts';

let base: string;
let dir: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'nestling-ledger-'));
  dir = join(base, 'ledger');
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** An owner that never lived: start time 1 tick belongs to the kernel's first threads only. */
const deadOwner = (): LedgerOwner => ({ ...readOwner(), pid: 4_000_000, startTime: '1' });

describe('Ledger', () => {
  test('writes the record before it returns and nothing before the first', () => {
    const ledger = Ledger.open(dir);
    expect(readdirSync(dir)).toEqual([]);
    ledger.record('file', { path: '/x' });
    expect(parseLedger(readFileSync(ledger.path, 'utf8'))).toEqual({
      owner: readOwner(),
      open: [{ id: 1, kind: 'file', identity: { path: '/x' } }],
      badLines: [],
    });
    expect(readdirSync(dir)).toHaveLength(1);
    ledger[Symbol.dispose]();
    expect(existsSync(ledger.path)).toBe(true);
  });

  test('done is idempotent; a closed ledger goes with its last entry', () => {
    const ledger = Ledger.open(dir);
    const one = ledger.record('file', { path: '/1' });
    const two = ledger.record('file', { path: '/2' });
    one.done();
    one.done();
    expect(ledger.entries.map(({ id }) => id)).toEqual([2]);
    ledger[Symbol.dispose]();
    ledger[Symbol.dispose]();
    expect(() => ledger.record('file', { path: '/3' })).toThrow(LedgerError);
    two.done();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('stays small over a long life, and keeps what is open', () => {
    const ledger = Ledger.open(dir);
    ledger.record('file', { path: '/stays' });
    for (let round = 0; round < 5000; round++) ledger.record('file', { path: `/tmp/some/path/${round}` }).done();
    const text = readFileSync(ledger.path, 'utf8');
    expect(text.length).toBeLessThan(70_000);
    expect(parseLedger(text)).toMatchObject({ owner: readOwner(), open: [{ id: 1, identity: { path: '/stays' } }] });
    expect(readdirSync(dir)).toHaveLength(1);
  });

  test('two ledgers of one process do not share a file; a folder that others can write to is refused', () => {
    const one = Ledger.open(dir);
    const two = Ledger.open(dir);
    expect(one.path).not.toBe(two.path);
    chmodSync(dir, 0o777);
    expect(() => Ledger.open(dir)).toThrow('others may write to it');
  });

  test('an unwritable folder is an error before the object is made', () => {
    const ledger = Ledger.open(dir);
    rmSync(dir, { recursive: true });
    expect(() => ledger.record('file', { path: '/x' })).toThrow(LedgerError);
    expect(ledger.entries).toEqual([]);
  });
});

test('a ledger cut at any byte is its complete lines', () => {
  const owner = deadOwner();
  const lines = [
    formatHeader(owner),
    formatRecord({ id: 1, kind: 'file', identity: { path: '/ü' } }),
    formatRecord({ id: 2, kind: 'tap', identity: { name: 'vnet0' } }),
    formatDone(1),
    formatRecord({ id: 3, kind: 'process', identity: { pid: 5, startTime: '9' } }),
  ];
  const bytes = Buffer.from(lines.join(''));
  for (let length = 0; length <= bytes.length; length++) {
    const text = bytes.subarray(0, length).toString('utf8');
    const complete = text.split('\n').length - 1;
    const { owner: found, open, badLines } = parseLedger(text);
    expect(badLines).toEqual([]);
    expect(found).toEqual(complete > 0 ? owner : undefined);
    expect(open.map(({ id }) => id)).toEqual([[], [], [1], [1, 2], [2], [2, 3]][complete]);
  }
});

test('no text makes the parser throw', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.json())), (lines) => {
      expect(parseLedger(`${lines.join('\n')}\n`).open.length).toBeLessThanOrEqual(lines.join('\n').split('\n').length);
    }),
    { numRuns: 300 },
  );
});

describe('collectGarbage', () => {
  test('removes the objects of the dead, last first, and the ledger', async () => {
    const order: string[] = [];
    const ledger = Ledger.open(dir, deadOwner());
    ledger.record('tap', { name: 'first' });
    ledger.record('tap', { name: 'gone' }).done();
    ledger.record('tap', { name: 'last' });
    const report = await collectGarbage({ dir, removers: { tap: ({ name }) => void order.push(String(name)) } });
    expect(order).toEqual(['last', 'first']);
    expect(report.removed.map(({ line }) => line)).toEqual([
      'removed tap last, left by pid 4000000',
      'removed tap first, left by pid 4000000',
    ]);
    expect(report.failed).toEqual([]);
    expect(readdirSync(dir)).toEqual([]);
    expect(await collectGarbage({ dir })).toEqual({ removed: [], failed: [], notes: [] });
  });

  test('really removes files, sockets, directories and processes', async () => {
    const sleeper = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(sleeper, 'spawn');
    const server = createServer().listen(join(base, 'sock'));
    await once(server, 'listening');
    const end = once(sleeper, 'exit');
    const ledger = Ledger.open(dir, deadOwner());
    mkdirSync(join(base, 'guest/inner'), { recursive: true });
    writeFileSync(join(base, 'file'), '');
    ledger.record('directory', { path: join(base, 'guest'), root: base });
    ledger.record('file', { path: join(base, 'file') });
    ledger.record('file', { path: join(base, 'never-made') });
    ledger.record('socket', { path: join(base, 'sock') });
    ledger.record('process', { ...readIdentity(sleeper.pid ?? 0)! });
    const report = await collectGarbage({ dir });
    expect(report.failed).toEqual([]);
    expect(report.removed).toHaveLength(5);
    expect(await end).toEqual([null, 'SIGKILL']);
    expect(readdirSync(base)).toEqual(['ledger']);
    server.close();
  });

  test('a helper may finish what it has begun', async () => {
    const done = join(base, 'done');
    const script = 'read -r _; : >"$0"';
    const helper = spawn('sh', ['-c', script, done], { stdio: ['pipe', 'ignore', 'ignore'] });
    const end = once(helper, 'exit');
    const ledger = Ledger.open(dir, deadOwner());
    ledger.record('helper', { ...readIdentity(helper.pid ?? 0)! });
    const collected = collectGarbage({ dir });
    helper.stdin.end('\n');
    expect(await end).toEqual([0, null]);
    expect((await collected).removed).toHaveLength(1);
    expect(readdirSync(base).toSorted()).toEqual(['done', 'ledger']);
  });

  test('leaves the living, other namespaces and strangers alone', async () => {
    Ledger.open(dir).record('tap', { name: 'ours' });
    Ledger.open(dir, { ...deadOwner(), pidNamespace: 'pid:[1]' }).record('tap', { name: 'theirs' });
    writeFileSync(join(dir, 'README'), '');
    writeFileSync(join(dir, '4000000-1-abc.ledger'), 'not a ledger\n');
    const report = await collectGarbage({
      dir,
      removers: {
        tap: () => {
          throw new Error('must not be called');
        },
      },
    });
    expect(report).toMatchObject({ removed: [], failed: [] });
    expect(report.notes).toHaveLength(2);
    expect(readdirSync(dir)).toHaveLength(4);
  });

  test('after a restart of the host, pids mean nothing and everything is collected', async () => {
    const owner = { ...readOwner(), bootId: 'another', pidNamespace: 'pid:[1]' };
    Ledger.open(dir, owner).record('process', { ...readIdentity(process.pid)! });
    const report = await collectGarbage({ dir });
    expect(report.removed).toHaveLength(1);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('what fails stays for the next time; the rest does not come back', async () => {
    const ledger = Ledger.open(dir, deadOwner());
    ledger.record('tap', { name: 'a' });
    ledger.record('mystery', { name: 'b' });
    ledger.record('tap', { name: 'busy' });
    let busy = true;
    const seen: string[] = [];
    const tap = ({ name }: { name?: unknown }): void => {
      seen.push(String(name));
      if (name === 'busy' && busy) throw new Error('Device or resource busy');
    };
    const first = await collectGarbage({ dir, removers: { tap } });
    expect(first.removed.map(({ identity }) => identity['name'])).toEqual(['a']);
    expect(first.failed.map(({ line }) => line)).toEqual([
      'cannot remove tap busy, left by pid 4000000: Device or resource busy',
      'cannot remove mystery b, left by pid 4000000: this program does not know how; a newer one may',
    ]);
    busy = false;
    const second = await collectGarbage({ dir, removers: { tap, mystery: () => {} } });
    expect(second.removed).toHaveLength(2);
    expect(seen).toEqual(['busy', 'a', 'busy']);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('a torn last line does not hide the marks that the collector adds', async () => {
    const ledger = Ledger.open(dir, deadOwner());
    ledger.record('tap', { name: 'a' });
    ledger.record('tap', { name: 'b' });
    appendFileSync(ledger.path, '{"id":3,"kind":"ta');
    const fails = {
      tap: ({ name }: { name?: unknown }) => {
        if (name === 'a') throw new Error('busy');
      },
    };
    expect((await collectGarbage({ dir, removers: fails })).removed).toHaveLength(1);
    const second = await collectGarbage({ dir, removers: { tap: () => {} } });
    expect(second.removed.map(({ identity }) => identity['name'])).toEqual(['a']);
    expect(second.notes).toEqual([]);
  });

  test('a broken line in the middle is reported and does not keep the others', async () => {
    const ledger = Ledger.open(dir, deadOwner());
    ledger.record('tap', { name: 'a' });
    appendFileSync(ledger.path, 'garbage\n');
    const report = await collectGarbage({ dir, removers: { tap: () => {} } });
    expect(report.removed).toHaveLength(1);
    expect(report.notes).toEqual([expect.stringContaining('line 3 is not understood')]);
  });

  test('several collectors at once remove each thing once', async () => {
    const counts = new Map<string, number>();
    for (let owner = 0; owner < 8; owner++) {
      const ledger = Ledger.open(dir, { ...deadOwner(), pid: 4_000_000 + owner });
      for (let index = 0; index < 5; index++) ledger.record('tap', { name: `${owner}-${index}` });
    }
    const tap = async ({ name }: { name?: unknown }): Promise<void> => {
      counts.set(String(name), (counts.get(String(name)) ?? 0) + 1);
      await new Promise(setImmediate);
    };
    const reports = await Promise.all(Array.from({ length: 4 }, () => collectGarbage({ dir, removers: { tap } })));
    expect(reports.flatMap(({ removed }) => removed)).toHaveLength(40);
    expect([...counts.values()].every((count) => count === 1)).toBe(true);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('takes over from a collector that died, but not from one that lives', async () => {
    const owner = deadOwner();
    const text = formatHeader(owner) + formatRecord({ id: 1, kind: 'tap', identity: { name: 'a' } });
    mkdirSync(dir, { mode: 0o700 });
    writeFileSync(join(dir, claimedFileName('4000000-1-aa.ledger', readOwner(), 'bb')), text);
    expect((await collectGarbage({ dir, removers: { tap: () => {} } })).removed).toEqual([]);
    rmSync(dir, { recursive: true });
    mkdirSync(dir, { mode: 0o700 });
    writeFileSync(join(dir, claimedFileName('4000000-1-aa.ledger', { pid: 4_000_001, startTime: '1' }, 'bb')), text);
    expect((await collectGarbage({ dir, removers: { tap: () => {} } })).removed).toHaveLength(1);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('an abort gives the claim back', async () => {
    const ledger = Ledger.open(dir, deadOwner());
    ledger.record('tap', { name: 'a' });
    ledger.record('tap', { name: 'b' });
    const controller = new AbortController();
    const tap = (): void => controller.abort(new Error('enough'));
    await expect(collectGarbage({ dir, removers: { tap }, signal: controller.signal })).rejects.toThrow('enough');
    expect(existsSync(ledger.path)).toBe(true);
    const rest = await collectGarbage({ dir, removers: { tap: () => {} } });
    expect(rest.removed.map(({ identity }) => identity['name'])).toEqual(['a']);
  });

  test('half-written files are litter once they are old', async () => {
    mkdirSync(dir, { mode: 0o700 });
    const path = join(dir, '4000000-1-aa.ledger.tmp');
    writeFileSync(path, '{"format"');
    await collectGarbage({ dir });
    expect(existsSync(path)).toBe(true);
    utimesSync(path, 1, 1);
    await collectGarbage({ dir });
    expect(existsSync(path)).toBe(false);
  });

  test('a folder that others can write to is not believed', async () => {
    Ledger.open(dir, deadOwner()).record('file', { path: '/etc/passwd' });
    chmodSync(dir, 0o777);
    await expect(collectGarbage({ dir })).rejects.toThrow('others may write to it');
  });
});

describe('removers', () => {
  const context = { procRoot: '/proc', sameBoot: true, signal: undefined };

  test('a reused pid is not killed', async () => {
    const sleeper = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(sleeper, 'spawn');
    await CORE_REMOVERS.process({ pid: sleeper.pid ?? 0, startTime: '1' }, context);
    expect(isAlive(readIdentity(sleeper.pid ?? 0)!)).toBe(true);
    sleeper.kill('SIGKILL');
    await once(sleeper, 'exit');
  });

  test.each([0, 1, -5, 1.5, 'x'])('pid %s is refused', async (pid) => {
    await expect(CORE_REMOVERS.process({ pid, startTime: '1' }, context)).rejects.toThrow('no usable pid');
  });

  test('files: directories are refused, links are removed themselves, sockets must be sockets', () => {
    writeFileSync(join(base, 'target'), '');
    symlinkSync(join(base, 'target'), join(base, 'link'));
    CORE_REMOVERS.file({ path: join(base, 'link') });
    expect(existsSync(join(base, 'target'))).toBe(true);
    expect(() => CORE_REMOVERS.socket({ path: join(base, 'target') })).toThrow('it is not a socket');
    expect(() => CORE_REMOVERS.file({ path: base })).toThrow('it is a directory');
    expect(() => CORE_REMOVERS.file({ path: 'relative' })).toThrow('not absolute');
    expect(() => CORE_REMOVERS.file({})).toThrow('its record has no path');
  });
});

describe('process identity', () => {
  const fakeProc = (pid: number, stat: string): string => {
    mkdirSync(join(base, String(pid)), { recursive: true });
    writeFileSync(join(base, String(pid), 'stat'), stat);
    return base;
  };
  const line = (pid: number, comm: string, state: string, start: string): string =>
    `${pid} (${comm}) ${state} 7 8 9 0 -1 4194304 99 0 0 0 11 12 13 14 20 0 1 0 ${start} 3133440 358\n`;

  test('a name with spaces and parentheses', () => {
    expect(parseProcStat(line(42, 'a) R 1 (b', 'S', '80533'))).toEqual({
      pid: 42,
      comm: 'a) R 1 (b',
      state: 'S',
      parentPid: 7,
      processGroup: 8,
      session: 9,
      startTime: '80533',
      ticks: { user: 11n, system: 12n, childUser: 13n, childSystem: 14n },
      gone: false,
    });
    expect(parseProcStat('')).toBeUndefined();
    expect(parseProcStat('42 (cut')).toBeUndefined();
    expect(parseProcStat('42 (cut) S 1 2')).toBeUndefined();
  });

  test.each([
    ['S', '5', true],
    ['D', '5', true],
    ['Z', '5', false],
    ['X', '5', false],
    ['S', '6', false],
  ])('state %s and start time %s: alive %s', (state, start, alive) => {
    expect(isAlive({ pid: 42, startTime: '5' }, fakeProc(42, line(42, 'qemu', state, start)))).toBe(alive);
    expect(isAlive({ pid: 43, startTime: '5' }, base)).toBe(false);
  });

  test('a cut file is no process', () => {
    const root = fakeProc(42, line(42, 'qemu', 'S', '5'));
    truncateSync(join(root, '42/stat'), 5);
    expect(readIdentity(42, root)).toBeUndefined();
    expect(() => readOwner(42, root)).toThrow('no such process');
  });
});

import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DurableFolder } from './durable-folder.ts';
import { formatRecord, readSegment } from './journal-segment.ts';

let root: string;
let dir: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-durable-'));
  dir = join(root, 'etc');
});
afterEach(() => rmSync(root, { recursive: true }));

/** What a reader sees: files without those of ours. */
function contents(folder: string): Record<string, string> {
  const names = readdirSync(folder).filter((name) => !name.startsWith('.nestling-'));
  return Object.fromEntries(names.toSorted().map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

const journals = (folder: string): string[] =>
  readdirSync(folder).filter((name) => name.startsWith('.nestling-journal'));

describe('DurableFolder', () => {
  it('replaces, adds and removes files, and has nothing beside them at its end', async () => {
    const folder = new DurableFolder(dir);
    await folder.commit([{ name: 'a', text: 'one' }]);
    await Promise.all([
      folder.commit([{ name: 'a', text: 'two' }]),
      folder.commit([{ name: 'b', text: 'x' }]),
      folder.commit([{ name: 'a', text: 'three' }]),
    ]);
    await folder.commit([
      { name: 'c', text: 'b was here' },
      { name: 'b', text: undefined },
    ]);
    expect(journals(dir)).toHaveLength(1);
    await folder[Symbol.asyncDispose]();
    expect(readdirSync(dir).toSorted()).toEqual(['a', 'c']);
    expect(contents(dir)).toEqual({ a: 'three', c: 'b was here' });
    await expect(folder.commit([{ name: 'a', text: '' }])).rejects.toThrow(/after its end/);
  });

  it('begins new journals when one is full, and ends them all in a quiet moment', async () => {
    const folder = new DurableFolder(dir, { settleMs: 1 });
    const big = 'x'.repeat(60_000);
    await Promise.all(Array.from({ length: 40 }, (_, index) => folder.commit([{ name: `${index}`, text: big }])));
    for (let index = 0; index < 20; index++) await folder.commit([{ name: `${index}`, text: `${index}` }]);
    while (journals(dir).length > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(Object.keys(contents(dir))).toHaveLength(40);
    await folder[Symbol.asyncDispose]();
  });

  it('needs no journal where nothing is to outlive a power cut', async () => {
    const folder = new DurableFolder(dir, { sync: false });
    await folder.commit([{ name: 'a', text: 'x' }]);
    expect(readdirSync(dir)).toEqual(['a']);
  });

  it('changes nothing when a change is refused, now or by the next process', async () => {
    const folder = new DurableFolder(dir);
    await folder.commit([{ name: 'a', text: 'kept' }]);
    mkdirSync(join(dir, 'taken'));
    await expect(
      folder.commit([
        { name: 'taken', text: 'x' },
        { name: 'a', text: undefined },
      ]),
    ).rejects.toThrow('EISDIR');
    await expect(folder.commit([{ name: 'no/such', text: 'x' }])).rejects.toThrow('ENOENT');
    await folder.settle();
    expect(readdirSync(dir).toSorted()).toEqual(['a', 'taken']);
    await folder.commit([{ name: 'b', text: 'y' }]);
    const next = new DurableFolder(dir);
    next.recover();
    expect(['a', 'b'].map((name) => readFileSync(join(dir, name), 'utf8'))).toEqual(['kept', 'y']);
    await next[Symbol.asyncDispose]();
  });

  it('says which file it could not complete, and completes the others', async () => {
    const folder = new DurableFolder(dir);
    await folder.commit([{ name: 'a', text: 'x' }]);
    await folder.commit([{ name: 'b', text: 'y' }]);
    for (const name of ['a', 'b']) rmSync(join(dir, name), { force: true });
    mkdirSync(join(dir, 'a'));
    const next = new DurableFolder(dir);
    expect(next.recover()).toEqual([
      expect.stringMatching(/cannot complete .*\/a .*EISDIR/),
      expect.stringMatching(/\/b was/),
    ]);
    await next[Symbol.asyncDispose]();
  });

  it('brings files to their place by itself soon after the answer, and answers before', async () => {
    const folder = new DurableFolder(dir);
    await Promise.all(['a', 'b'].map((name) => folder.commit([{ name, text: name }])));
    expect(contents(dir)).toEqual({});
    while (Object.keys(contents(dir)).length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(contents(dir)).toEqual({ a: 'a', b: 'b' });
    expect(journals(dir)).toHaveLength(1);
    await folder[Symbol.asyncDispose]();
  });

  it('keeps in its journal what found no place after the answer, until it does', async () => {
    const folder = new DurableFolder(dir);
    await folder.commit([{ name: 'a', text: 'x' }]);
    mkdirSync(join(dir, 'a'));
    await expect(folder.settle()).rejects.toThrow('EISDIR');
    expect(journals(dir)).toHaveLength(1);
    rmSync(join(dir, 'a'), { recursive: true });
    await folder.settle();
    expect(readdirSync(dir)).toEqual(['a']);
    await folder[Symbol.asyncDispose]();
  });

  it('has after a crash at any moment all that was answered', async () => {
    const change = fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      text: fc.option(fc.string(), { nil: undefined }),
    });
    const scenario = fc.array(fc.tuple(fc.array(change, { minLength: 1, maxLength: 2 }), fc.boolean()), {
      maxLength: 8,
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(scenario, async (commits) => {
        const [work, after] = [join(root, `crash${++run}`), join(root, `found${run}`)];
        const folder = new DurableFolder(work);
        const expected = new Map<string, string>();
        for (const [changes, isQuiet] of commits) {
          await folder.commit(changes);
          if (isQuiet) await folder.settle();
          for (const { name, text } of changes) {
            if (text === undefined) expected.delete(name);
            else expected.set(name, text);
          }
        }
        mkdirSync(work, { recursive: true });
        cpSync(work, after, { recursive: true });
        const next = new DurableFolder(after);
        next.recover();
        expect(contents(after)).toEqual(Object.fromEntries(expected));
        await Promise.all([folder[Symbol.asyncDispose](), next[Symbol.asyncDispose]()]);
      }),
      { numRuns: 40 },
    );
  });

  it('has after a power cut exactly what was recorded before it', async () => {
    const change = fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      text: fc.option(fc.string(), { nil: undefined }),
    });
    const scenario = fc.array(fc.array(change, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 8 });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(scenario, fc.nat(), async (commits, cut) => {
        const work = join(root, `w${run}`);
        const after = join(root, `a${run++}`);
        const folder = new DurableFolder(work);
        for (const changes of commits) await folder.commit(changes);
        const [journal = ''] = journals(work);
        const whole = commits.map((changes) => formatRecord(changes));
        const kept = cut % (Buffer.concat(whole).length + 1);
        // Nothing but the first bytes of the journal has reached the disk.
        mkdirSync(after);
        cpSync(join(work, journal), join(after, journal));
        truncateSync(join(after, journal), kept);
        const expected = new Map<string, string>();
        let end = 0;
        for (const [index, changes] of commits.entries()) {
          end += whole[index]?.length ?? 0;
          if (end > kept) break;
          for (const { name, text } of changes) {
            if (text === undefined) expected.delete(name);
            else expected.set(name, text);
          }
        }
        const next = new DurableFolder(after);
        next.recover();
        expect(contents(after)).toEqual(Object.fromEntries(expected));
        await Promise.all([folder[Symbol.asyncDispose](), next[Symbol.asyncDispose]()]);
      }),
      { numRuns: 40 },
    );
  });

  it('reads no record that is damaged, and none after it', () => {
    const path = join(root, 'journal');
    const [first, second, third] = ['1', '2', '3'].map((text) => formatRecord([{ name: 'a', text }]));
    const bytes = Buffer.concat([first ?? '', second ?? '', third ?? ''].map((part) => Buffer.from(part)));
    writeFileSync(path, bytes);
    expect(readSegment(path).map(({ text }) => text)).toEqual(['1', '2', '3']);
    bytes[(first?.length ?? 0) + 14] = 0x7f;
    writeFileSync(path, bytes);
    expect(readSegment(path).map(({ text }) => text)).toEqual(['1']);
    for (const garbage of ['', '\0\0\0', '999999999 0 x\n', '2 0 []\n']) {
      writeFileSync(path, garbage);
      expect(readSegment(path)).toEqual([]);
    }
  });
});

import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Ledger } from '../core/ledger.ts';
import { type AppliedLabels, applyLabels } from './applied-labels.ts';
import type { FileLabels } from './file-labels.ts';
import { type LabelTools, releaseHeldLabel } from './held-label.ts';
import { xattrMemory } from './label-memory.ts';
import { type LabelAction, SecurityError } from './label-plan.ts';
import { toHeldLabel } from './ledger-remover.ts';
import type { XattrBackend } from './xattr.ts';

let folder: string;
let ledger: Ledger;
/** Labels and attributes by inode: what a file system keeps. */
let labels: Map<number, string>;
let attributes: Map<string, Buffer>;
let refused: Map<string, string>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'labels-'));
  ledger = Ledger.open(join(folder, 'ledger'));
  labels = new Map();
  attributes = new Map();
  refused = new Map();
});
afterEach(() => {
  ledger[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function tools({ memory = true } = {}): LabelTools {
  const dac: FileLabels = {
    read: ({ stats }) => labels.get(stats.ino) ?? '+0:+0',
    write: ({ stats, path }, label) => {
      const errno = refused.get(path);
      if (errno === 'EROFS') return errno;
      if (errno !== undefined) throw new SecurityError(`cannot give ${path} the owner ${label}: ${errno}`, { path });
      labels.set(stats.ino, label);
      return undefined;
    },
  };
  const key = (path: string, name: string): string => `${statSync(path).ino} ${name}`;
  const xattrs: XattrBackend = {
    get: (path, name) => attributes.get(key(path, name)),
    set: (path, name, value) => void attributes.set(key(path, name), Buffer.from(value)),
    remove: (path, name) => void attributes.delete(key(path, name)),
  };
  return {
    labels: { dac, selinux: dac },
    memory: memory ? xattrMemory({ xattrs, bootTime: 1 }) : undefined,
    restoreDefault: async (path) => void labels.delete(statSync(path).ino),
  };
}

function file(name: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '');
  return path;
}
const action = (path: string, init: Partial<LabelAction> = {}): LabelAction => ({
  model: 'dac',
  path,
  label: '+107:+107',
  tree: false,
  optional: false,
  restore: 'remembered',
  ...init,
});
const apply = (actions: LabelAction[], options: { memory?: boolean } = {}): Promise<AppliedLabels> =>
  applyLabels(actions, { ledger, lock: join(folder, 'lock'), tools: tools(options) });
const labelOf = (path: string): string | undefined => labels.get(statSync(path).ino);

describe('labels of files', () => {
  it.each([true, false])('are given and given back (with memory on the file: %s)', async (memory) => {
    const disk = file('disk');
    labels.set(statSync(disk).ino, '+5:+5');
    const applied = await apply([action(disk)], { memory });
    expect(labelOf(disk)).toBe('+107:+107');
    expect(ledger.entries).toMatchObject([{ kind: 'label', identity: { path: disk, before: '+5:+5' } }]);
    await applied[Symbol.asyncDispose]();
    await applied[Symbol.asyncDispose]();
    expect(labelOf(disk)).toBe('+5:+5');
    expect(ledger.entries).toEqual([]);
    expect(attributes.size).toBe(0);
  });

  it('stay until the last guest of several has ended', async () => {
    const disk = file('disk');
    const [first, second] = [await apply([action(disk)]), await apply([action(disk)])];
    await first[Symbol.asyncDispose]();
    expect(labelOf(disk)).toBe('+107:+107');
    await second[Symbol.asyncDispose]();
    expect(labelOf(disk)).toBe('+0:+0');
  });

  it('are refused to a guest of another user while one runs', async () => {
    const disk = file('disk');
    await using _first = await apply([action(disk)]);
    await expect(apply([action(disk, { label: '+9:+9' })])).rejects.toThrow(
      /cannot give '.*disk' the label \+9:\+9: a running guest has it with \+107:\+107/,
    );
    expect(labelOf(disk)).toBe('+107:+107');
  });

  it('are all given back when one fails, and the first failure is told', async () => {
    const [one, two] = [file('one'), file('two')];
    refused.set(two, 'EIO');
    await expect(apply([action(one), action(two), action(join(folder, 'none'))])).rejects.toThrow(/two.*EIO/);
    expect(labelOf(one)).toBe('+0:+0');
    expect(ledger.entries).toEqual([]);
    await expect(apply([action(join(folder, 'none'))])).rejects.toThrow(/it does not exist/);
    await apply([action(join(folder, 'none'), { optional: true })]);
  });

  it('are noted where the file system has none', async () => {
    const disk = file('disk');
    refused.set(disk, 'EROFS');
    await using applied = await apply([action(disk)]);
    expect(applied.notes).toEqual([expect.stringMatching(/disk' keeps its labels: .*EROFS/)]);
  });

  it('are not taken from whom they were given meanwhile, or from another file of that name', async () => {
    const [one, two] = [file('one'), file('two')];
    const applied = await apply([action(one), action(two)]);
    labels.set(statSync(one).ino, '+9:+9');
    renameSync(two, join(folder, 'moved'));
    file('two');
    labels.set(statSync(two).ino, '+107:+107');
    await applied[Symbol.asyncDispose]();
    expect(labelOf(one)).toBe('+9:+9');
    expect(labelOf(two)).toBe('+107:+107');
  });

  it('go to what links lead to, and with a folder to all that is in it but links', async () => {
    const disk = file('real/disk');
    const outside = file('outside');
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
    symlinkSync(outside, join(folder, 'real/out'));
    await using _applied = await apply([action(join(folder, 'link/disk'))]);
    expect(labelOf(disk)).toBe('+107:+107');
    await using _tree = await apply([action(join(folder, 'real'), { tree: true, label: '+107:+107' })]);
    expect(labelOf(join(folder, 'real'))).toBe('+107:+107');
    expect(labelOf(outside)).toBeUndefined();
  });

  it('follow devices in and out', async () => {
    const [one, two, own] = [file('one'), file('two'), file('own')];
    await using applied = await apply([action(one), action(own, { restore: 'never' })]);
    await applied.add([action(one), action(two)]);
    expect(ledger.entries).toHaveLength(2);
    refused.set(file('three'), 'EIO');
    await expect(applied.add([action(join(folder, 'three'))])).rejects.toThrow(/EIO/);
    await applied.keepOnly([action(two)]);
    expect([labelOf(one), labelOf(two), labelOf(own)]).toEqual(['+0:+0', '+107:+107', '+107:+107']);
  });

  it('without memory go to root, and contexts to what the policy says', async () => {
    const [one, two] = [file('one'), file('two')];
    labels.set(statSync(one).ino, '+5:+5');
    const default_ = { restore: 'default' } as const;
    const applied = await apply([
      action(one, default_),
      action(two, { ...default_, model: 'selinux', label: 'a:b:c' }),
    ]);
    await applied[Symbol.asyncDispose]();
    expect(labelOf(one)).toBe('+0:+0');
    expect(labelOf(two)).toBeUndefined();
  });
});

describe('the record in the ledger', () => {
  it('is enough to give everything back, once or twice, also when the label was never set', async () => {
    const disk = file('disk');
    labels.set(statSync(disk).ino, '+5:+5');
    await apply([action(disk)]);
    const [entry] = ledger.entries;
    const held = toHeldLabel(entry?.identity ?? {});
    for (let times = 0; times < 2; times++) {
      await releaseHeldLabel(held, tools());
      expect(labelOf(disk)).toBe('+5:+5');
    }
    await releaseHeldLabel({ ...held, holder: 'other' }, tools());
    rmSync(disk);
    await releaseHeldLabel(held, tools());
  });

  it.each([
    [{}, /no model/],
    [{ model: 'smack', restore: 'default' }, /unknown model/],
    [{ model: 'dac', restore: 'x' }, /what to restore/],
    [{ model: 'dac', restore: 'default' }, /no path/],
  ])('%j is refused', (identity, words) => expect(() => toHeldLabel(identity)).toThrow(words));
});

import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { removeTree } from '../../../core/fs.ts';
import { Ledger } from '../../../core/ledger.ts';
import { EmbeddedRoot } from '../../../guest/embedded-root.ts';
import { LxcRoot } from './lxc-root.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'lxc-root-'));
});
afterEach(async () => {
  await removeTree(dir, { root: tmpdir() });
});

describe('the place of a spare', () => {
  it('is written down until it is gone, and nobody falls over a ledger that cannot be written', async () => {
    const ledger = Ledger.open(join(dir, 'ledger'));
    const root = EmbeddedRoot.open({ runtimeDir: dir });
    vi.spyOn(root, 'ledgerOf').mockReturnValue({ ledger, done: () => {} });
    const { path, onGone } = new LxcRoot(root).placeOfSpare();
    expect(ledger.entries).toMatchObject([{ kind: 'socket', identity: { path } }]);
    expect(existsSync(path)).toBe(false);
    onGone();
    expect(ledger.entries).toEqual([]);
    const done = vi.fn(() => {
      throw new Error('no space left');
    });
    vi.spyOn(root, 'ledgerOf').mockReturnValue({ ledger, done });
    expect(new LxcRoot(root).placeOfSpare().onGone).not.toThrow();
    expect(done).toHaveBeenCalledOnce();
    ledger[Symbol.dispose]();
    await root[Symbol.asyncDispose]();
  });
});

import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { removeTree } from '../core/fs.ts';
import { DaemonRoot } from './daemon-root.ts';

it('has nothing any more of what a daemon was writing when it was killed', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'nr-'));
  try {
    const first = DaemonRoot.open({ mode: 'system', stateDir });
    await first.keepStatus('1-box', '{}');
    writeFileSync(join(first.statusDir, '.nestling-5cfc63fb6e81.tmp'), '{');
    await first[Symbol.asyncDispose]();
    await using next = DaemonRoot.open({ mode: 'system', stateDir });
    expect(readdirSync(next.statusDir)).toEqual(['1-box.json']);
  } finally {
    await removeTree(stateDir, { root: tmpdir() });
  }
});

import { chmodSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHelper } from './helper-process.ts';

let directory: string;
let logFd: number;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'helper-'));
  logFd = openSync(join(directory, 'log'), 'a');
});
afterEach(() => {
  closeSync(logFd);
  rmSync(directory, { recursive: true });
});

/** Stands in for unshare(1), so that no namespace is needed: runs `before`, and what comes behind `--`. */
function fakeUnshare(before: string): NodeJS.ProcessEnv {
  const path = join(directory, 'unshare');
  writeFileSync(path, `#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n${before}\nexec "$@"\n`);
  chmodSync(path, 0o755);
  return { ...process.env, PATH: `${directory}:${process.env['PATH'] ?? ''}` };
}

const FD_SOURCES = { scratchDir: '/', masterKey: new Uint8Array(32), resolveSecret: () => new Uint8Array() };

async function setUp(env: NodeJS.ProcessEnv, script: string): Promise<void> {
  const helper = { name: 'setup', command: 'sh', args: ['-c', script, 'sh', directory], oneShot: true } as const;
  const options = { logFd, env, cgroupProcs: [], dieWithParent: false };
  await startHelper(helper, { ...options, fdSources: FD_SOURCES });
}

describe('a set-up program', () => {
  it('is executed when we have answered, and has no descriptor of ours', async () => {
    await setUp(fakeUnshare(''), 'test -e /proc/$$/fd/3; echo $? > "$1/closed"');
    expect(readFileSync(join(directory, 'closed'), 'utf8')).toBe('1\n');
  });

  it.skipIf(process.geteuid?.() !== 0)('is never executed once the process that started it cannot answer', async () => {
    // As if we had died before the signal of our death was armed: our end of the guard is gone.
    const env = fakeUnshare('exec 3>&-; exec 3<>/dev/null');
    await expect(setUp(env, 'touch "$1/ran"')).rejects.toThrow(/setup \(sh\) ended with status 1/);
    expect(existsSync(join(directory, 'ran'))).toBe(false);
  });

  it('that fails is named with its last words', async () => {
    await expect(setUp(fakeUnshare(''), 'echo no room >&2; exit 3')).rejects.toThrow(
      'setup (sh) ended with status 3: no room',
    );
  });
});

/**
 * What happens to children and to things on the host when their owner is killed: nothing is left. Real processes, no VM.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { collectGarbage } from '../../src/core/ledger-gc.ts';
import { listProcesses } from '../../src/process/proc.ts';
import { bundleScript } from '../support/bundle.ts';

const GONE_WITHIN_MS = 1000;

let parentScript: string;
let root: string;
let rounds = 0;
beforeAll(async () => {
  parentScript = await bundleScript(fileURLToPath(new URL('process-parent.ts', import.meta.url)));
});
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-process-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** An argument of `sleep` that nobody else on this host has. */
const newMarker = (): string => `${100_000 + (process.pid % 100_000)}.${Date.now()}${++rounds}`;

function startParent(...args: string[]): ChildProcess {
  return spawn(process.execPath, [parentScript, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Living processes with the marker in their arguments, whatever link of the chain they are at. */
function survivors(marker: string): number[] {
  return listProcesses()
    .filter(({ pid, gone }) => !gone && commandLine(pid).includes(marker))
    .map(({ pid }) => pid);
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    // It ended while we looked.
    return '';
  }
}

/** Nobody tells when another's child is gone, so this looks again until the promised time is over. */
async function expectGone(marker: string): Promise<void> {
  const deadline = performance.now() + GONE_WITHIN_MS;
  while (survivors(marker).length > 0 && performance.now() < deadline) await pause(5);
  const left = survivors(marker);
  for (const pid of left) process.kill(pid, 'SIGKILL');
  expect(left).toEqual([]);
}

describe('children of a killed program', () => {
  // The first 10 die right after the fork, when the child has not yet asked for the signal; the others anywhere
  // in the 5 ms that the chain takes on a busy machine.
  const moments = Array.from({ length: 30 }, (_, index) =>
    index < 10 ? index * 20 : Math.floor(Math.random() * 5000),
  );

  test.each(['with', 'no-status'])('killed at 30 moments from the fork to the running program (%s)', async (status) => {
    for (const moment of moments) {
      const marker = newMarker();
      const parent = startParent('kill-self', marker, String(moment), status);
      const [, signal] = (await once(parent, 'exit')) as [unknown, string];
      expect(signal).toBe('SIGKILL');
      await expectGone(marker);
    }
  });

  test.each(['wait', 'hold'])('killed while it runs: %s', async (mode) => {
    const marker = newMarker();
    const parent = startParent(mode, marker);
    await once(parent.stdout!, 'data');
    expect(survivors(marker).filter((pid) => pid !== parent.pid)).toHaveLength(1);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    await expectGone(marker);
  });
});

describe('the ledger of a killed program', () => {
  test('whenever it is killed, the collector leaves nothing', async () => {
    for (let round = 0; round < 10; round++) {
      const marker = newMarker();
      const dir = join(root, 'ledger');
      const base = join(root, 'base');
      mkdirSync(base);
      const parent = startParent('litter', marker, dir, base);
      await once(parent.stdout!, 'data');
      await pause(Math.random() * 60);
      parent.kill('SIGKILL');
      await once(parent, 'exit');
      const reports = await Promise.all([collectGarbage({ dir }), collectGarbage({ dir })]);
      expect(reports.flatMap(({ failed, notes }) => [...failed.map(({ line }) => line), ...notes])).toEqual([]);
      expect(readdirSync(base)).toEqual([]);
      expect(readdirSync(dir)).toEqual([]);
      await expectGone(marker);
      rmSync(base, { recursive: true });
    }
  });
});

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GuestLog } from './guest-log.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'guest-log-'));
  path = join(folder, 'web.log');
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

describe('a guest log', () => {
  it('that has grown too large is moved aside at the next start, and the oldest goes', () => {
    for (const generation of ['a', 'b', 'c', 'd']) {
      using log = GuestLog.open(path, { maxSize: 10, maxBackups: 2 });
      log.write(generation.repeat(12));
    }
    expect(['', '.0', '.1'].map((suffix) => readFileSync(path + suffix, 'utf8')[0])).toEqual(['d', 'c', 'b']);
    expect(existsSync(`${path}.2`)).toBe(false);
  });

  it('that grows too large while the guest runs is copied and emptied under the descriptor that QEMU holds', () => {
    vi.useFakeTimers();
    using log = GuestLog.open(path, { maxSize: 100, maxBackups: 1 });
    log.write('x'.repeat(200));
    vi.advanceTimersByTime(10_000);
    expect(statSync(`${path}.0`).size).toBe(200);
    log.write('after');
    expect(readFileSync(path, 'utf8')).toBe('after');
    expect(log.qemuOutput()).toBe('after');
  });

  it('without limits grows', () => {
    writeFileSync(path, 'x'.repeat(5000));
    using log = GuestLog.open(path);
    log.write('y');
    expect(statSync(path).size).toBe(5001);
  });
});

import { closeSync, fstatSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../core/errors.ts';
import { type OpenCounter, PerfCounters, perfAttr } from './perf-counters.ts';

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

/** Counters that are /dev/zero; those of one event are refused. */
function fakeCounters(refused: { config?: number; errno: number }): { open: OpenCounter; opened: number[] } {
  const opened: number[] = [];
  return {
    opened,
    open: (attr) => {
      if (Buffer.from(attr).readUInt32LE(8) === refused.config) return { errno: refused.errno };
      const fd = openSync('/dev/zero', 'r');
      opened.push(fd);
      return { fd };
    },
  };
}

describe('performance counters', () => {
  it('are asked for by the kernel’s numbers, threads to come included', () => {
    const attr = Buffer.from(perfAttr('page_faults') ?? []);
    expect([
      attr.length,
      attr.readUInt32LE(0),
      attr.readUInt32LE(4),
      attr.readUInt32LE(8),
      attr.readUInt32LE(40),
    ]).toEqual([64, 1, 64, 2, 2]);
    expect(Buffer.from(perfAttr('cache_misses') ?? []).readUInt32LE(8)).toBe(3);
    expect(perfAttr('mbml')).toBeUndefined();
  });

  it('are of every thread, and closed when they are not wanted any more', async () => {
    const { open, opened } = fakeCounters({ errno: 0 });
    const counters = new PerfCounters(process.pid, async () => open);
    await counters.enable(['task_clock']);
    await counters.enable(['task_clock']);
    const threads = opened.length;
    expect(threads).toBeGreaterThan(1);
    await counters.enable(['page_faults']);
    expect(counters.enabled).toEqual(['task_clock', 'page_faults']);
    expect(counters.read()).toEqual({ task_clock: 0n, page_faults: 0n });
    counters.disable(['task_clock']);
    expect(opened.slice(0, threads).some(isOpen)).toBe(false);
    counters[Symbol.dispose]();
    expect(opened.some(isOpen)).toBe(false);
    expect(counters.read()).toEqual({});
  });

  it('are all there or none, and the reason is the kernel’s', async () => {
    const { open, opened } = fakeCounters({ config: 3, errno: constants.errno.EACCES });
    const counters = new PerfCounters(process.pid, async () => open);
    await expect(counters.enable(['task_clock', 'context_switches'])).rejects.toMatchObject({
      code: ErrorCode.SYSTEM_ERROR,
      message: expect.stringMatching(/for context_switches: EACCES.*perf_event_paranoid/),
    });
    expect(counters.enabled).toEqual([]);
    expect(opened.some(isOpen)).toBe(false);
    await expect(counters.enable(['cmt'])).rejects.toMatchObject({ code: ErrorCode.ARGUMENT_UNSUPPORTED });
    for (const fd of opened.filter(isOpen)) closeSync(fd);
  });
});

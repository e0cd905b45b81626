/** What the log costs: a message that nobody listens to, and starting a guest's plan with the log off and on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LogSource } from '../../src/core/log-source.ts';
import { Log } from '../../src/log/log.ts';
import { readLogSettings } from '../../src/log/settings.ts';
import type { Bench } from '../bench.ts';
import { interleave, type Row, summarize } from '../figures.ts';

const CALLS = 200_000;
/** A system call takes about as long; a guest's start makes some thirty of these messages. */
const GOAL_NS = 100;

export const LOG: Bench = {
  name: 'log',
  summary: 'a log message that nobody listens to',
  measure: async (_place, { rounds }) => {
    const folder = mkdtempSync(join(tmpdir(), 'bench-log-'));
    const source = new LogSource('qemu.qemu_process');
    const time = (body: (index: number) => void): number => {
      const startedMs = performance.now();
      for (let index = 0; index < CALLS; index++) body(index);
      return ((performance.now() - startedMs) * 1e6) / CALLS;
    };
    const sum = { value: 0 };
    const work = (index: number): void => void (sum.value += index);
    try {
      const samples = await interleave(
        {
          none: async () => time(work),
          off: async () =>
            time((index) => {
              work(index);
              source.debug('bench', () => `message ${index}`);
            }),
          filtered: async () => {
            const settings = readLogSettings([{ filters: '1:rpc', outputs: `1:file:${join(folder, 'log')}` }]);
            using _log = await Log.open({ settings, version: 'bench' });
            return time((index) => {
              work(index);
              source.debug('bench', () => `message ${index}`);
            });
          },
        },
        { rounds },
      );
      const none = summarize('no message', samples.none);
      const off = summarize('nobody listens', samples.off);
      const filtered = summarize('a filter stops it', samples.filtered);
      return [row('a message that nobody listens to', off, none), row('a message that a filter stops', filtered, none)];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function row(what: string, ours: Row['ours'], none: Row['ours']): Row {
  const value = Math.max(0, ours.median - none.median);
  return { what, unit: 'ns', ours, others: [none], figure: { name: 'added', value, unit: 'ns' }, goal: GOAL_NS };
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { notesOfPlace } from './container-groups.ts';

const memory = mkdtempSync(join(tmpdir(), 'nestling-groups-'));
afterAll(() => rmSync(memory, { recursive: true, force: true }));

it('tells of a limit of memory that does not hold below its group, where the runtime puts the container there', () => {
  const place = { path: '/box', v1: { memory } };
  for (const [hierarchical, runtime, count] of [
    ['0', '/usr/sbin/runc', 1],
    ['0', '/usr/bin/crun', 0],
    ['1', '/usr/sbin/runc', 0],
  ] as const) {
    writeFileSync(join(memory, 'memory.use_hierarchy'), `${hierarchical}\n`);
    expect(notesOfPlace(place, runtime), `${hierarchical} ${runtime}`).toHaveLength(count);
  }
  expect(notesOfPlace(undefined, '/usr/sbin/runc')).toEqual([]);
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CgroupPlace } from '../../cgroup/host.ts';
import type { ThreadGroup } from './guest-groups.ts';
import { bindMemory, readHostCpuTimes } from './thread-groups.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'groups-'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A group with these files, of either version. */
function place(name: string, version: 1 | 2, files: Readonly<Record<string, string>>): CgroupPlace {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text);
  if (version === 2) return { path: `/${name}`, v1: {}, v2: { directory, controllers: ['cpu', 'cpuset'] } };
  return { path: `/${name}`, v1: { cpuset: directory, cpuacct: directory } };
}

const thread = (kind: ThreadGroup['kind'], at: CgroupPlace): ThreadGroup => ({ kind, id: 0, tuning: {}, place: at });
const memsOf = (name: string): string => readFileSync(join(root, name, 'cpuset.mems'), 'utf8');

const V1 = { 'cpuset.cpus': '0-1', 'cpuset.mems': '0', 'cpuset.memory_migrate': '0' };
const V2 = { 'cpuset.mems': '' };

describe('memory of some host nodes', () => {
  it.each([
    [1, V1],
    [2, V2],
  ] as const)('binds each group of threads, and not the one around them: v%d', (version, files) => {
    const own = place('guest', version, { ...files, 'cpuset.mems': 'as before' });
    const threads = [
      thread('emulator', place('guest/emulator', version, files)),
      thread('vcpu', place('guest/vcpu0', version, files)),
    ];
    bindMemory({ place: own, threads }, [1, 2]);
    expect([memsOf('guest/emulator'), memsOf('guest/vcpu0'), memsOf('guest')]).toEqual(['1-2', '1-2', 'as before']);
    if (version === 1) expect(readFileSync(join(root, 'guest/vcpu0/cpuset.memory_migrate'), 'utf8')).toBe('1');
  });

  it('binds the guest where its threads have no groups', () => {
    bindMemory({ place: place('guest', 2, V2), threads: [] }, [0]);
    expect(memsOf('guest')).toBe('0');
  });
});

describe('time on each host CPU', () => {
  it('is what v1 counts, with the sum of the virtual CPUs', () => {
    const own = place('guest', 1, { 'cpuacct.usage_percpu': '10 20 0 \n' });
    const threads = [
      thread('emulator', place('guest/emulator', 1, { 'cpuacct.usage_percpu': '1 1 0' })),
      thread('vcpu', place('guest/vcpu0', 1, { 'cpuacct.usage_percpu': '3 4 0' })),
      thread('vcpu', place('guest/vcpu1', 1, { 'cpuacct.usage_percpu': '5 6 0' })),
    ];
    expect(readHostCpuTimes({ place: own, threads })).toEqual({
      kind: 'counted',
      totalNs: [10n, 20n, 0n],
      vcpuNs: [8n, 10n, 0n],
    });
    expect(readHostCpuTimes({ place: own, threads: [] })).toMatchObject({ vcpuNs: undefined });
  });

  it('is not counted by v2, nor without a group', () => {
    expect(readHostCpuTimes({ place: place('guest', 2, V2), threads: [] })).toEqual({ kind: 'v2' });
    expect(readHostCpuTimes({ place: { path: '/', v1: {} }, threads: [] })).toEqual({ kind: 'none' });
  });
});

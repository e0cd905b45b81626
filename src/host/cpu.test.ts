/** /proc and /sys text → host facts, with trees made here. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  hostArch,
  parseCpuInfo,
  parseCpuList,
  readMemoryKiB,
  readNumaNodes,
  readPageSizesKiB,
  readTopology,
} from './cpu.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-test-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function put(files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
}

describe('hostArch', () => {
  it.each([
    ['x86_64', 'x86_64'],
    ['i686', 'i386'],
    ['aarch64', 'aarch64'],
    ['armv7l', 'arm'],
    ['ppc64le', 'ppc64'],
    ['s390x', 's390x'],
    ['riscv64', 'riscv64'],
  ])('%s is %s to QEMU', (machine, expected) => expect(hostArch(machine)).toBe(expected));
});

describe('parseCpuInfo', () => {
  it('reads x86, the first processor only', () => {
    const text = [
      'processor\t: 0',
      'vendor_id\t: GenuineIntel',
      'cpu family\t: 6',
      'model\t\t: 106',
      'model name\t: Xeon @ 2.6GHz',
      'stepping\t: 6',
      'microcode\t: 0xd0003',
      'flags\t\t: fpu vme de',
      '',
      'processor\t: 1',
      'model\t\t: 999',
    ].join('\n');
    expect(parseCpuInfo(text)).toEqual({
      vendor: 'GenuineIntel',
      family: 6,
      model: 106,
      stepping: 6,
      modelName: 'Xeon @ 2.6GHz',
      microcode: '0xd0003',
      flags: ['fpu', 'vme', 'de'],
    });
  });

  it('reads ARM', () => {
    const text =
      'processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n';
    expect(parseCpuInfo(text)).toEqual({ vendor: '0x41', family: 8, model: 0xd0c, flags: ['fp', 'asimd'] });
  });

  it('has no flags where there is nothing', () => {
    expect(parseCpuInfo('')).toEqual({ flags: [] });
  });
});

describe('parseCpuList', () => {
  it.each([
    ['0-3,8,10-11\n', [0, 1, 2, 3, 8, 10, 11]],
    ['0\n', [0]],
    ['\n', []],
    ['3-1', []],
  ])('%j', (text, expected) => expect(parseCpuList(text)).toEqual(expected));
});

describe('sysfs', () => {
  it('reads sockets, cores and threads of online processors', () => {
    const cpu = (id: number, socket: number, core: number, siblings: string) => ({
      [`devices/system/cpu/cpu${id}/topology/physical_package_id`]: `${socket}\n`,
      [`devices/system/cpu/cpu${id}/topology/die_id`]: '0\n',
      [`devices/system/cpu/cpu${id}/topology/core_id`]: `${core}\n`,
      [`devices/system/cpu/cpu${id}/topology/thread_siblings_list`]: `${siblings}\n`,
    });
    put({ 'devices/system/cpu/online': '0-3,6\n' });
    put({ ...cpu(0, 0, 0, '0,2'), ...cpu(1, 0, 1, '1,3'), ...cpu(2, 0, 0, '0,2'), ...cpu(3, 0, 1, '1,3') });
    put(cpu(6, 1, 0, '6'));
    const { cpus, ...counts } = readTopology({ sys: root });
    expect(counts).toEqual({ sockets: 2, cores: 2, threads: 2 });
    expect(cpus.map(({ id }) => id)).toEqual([0, 1, 2, 3, 6]);
    expect(cpus[4]).toEqual({ id: 6, socket: 1, die: 0, core: 0, siblings: [6] });
  });

  it('reads topology where the kernel does not know it', () => {
    put({ 'devices/system/cpu/online': '0\n' });
    expect(readTopology({ sys: root })).toEqual({
      cpus: [{ id: 0, socket: -1, die: -1, core: -1, siblings: [0] }],
      sockets: 1,
      cores: 1,
      threads: 1,
    });
  });

  it('reads NUMA nodes', () => {
    put({
      'devices/system/node/online': '0,2\n',
      'devices/system/node/node0/cpulist': '0-1\n',
      'devices/system/node/node0/distance': '10 21\n',
      'devices/system/node/node0/meminfo': 'Node 0 MemTotal:       2048 kB\nNode 0 MemFree: 1 kB\n',
      'devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages': '0\n',
      'devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages': '4\n',
      'devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages': '3\n',
      'devices/system/node/node2/cpulist': '\n',
    });
    expect(readNumaNodes({ sys: root })).toEqual([
      {
        id: 0,
        cpus: [0, 1],
        memoryKiB: 2048,
        distances: [10, 21],
        hugePages: [
          { sizeKiB: 2048, total: 4, free: 3 },
          { sizeKiB: 1048576, total: 0, free: 0 },
        ],
      },
      { id: 2, cpus: [], memoryKiB: 0, distances: [], hugePages: [] },
    ]);
    expect(readNumaNodes({ sys: join(root, 'nowhere') })).toEqual([]);
  });

  it('reads memory and page sizes', () => {
    put({
      'proc/meminfo': 'MemTotal:        8151304 kB\nMemFree: 5 kB\n',
      'proc/self/smaps': '00400000-00401000 r-xp\nSize: 4 kB\nKernelPageSize:       64 kB\n',
      'kernel/mm/hugepages/hugepages-1048576kB/x': '',
      'kernel/mm/hugepages/hugepages-2048kB/x': '',
    });
    expect(readMemoryKiB({ proc: join(root, 'proc') })).toBe(8151304);
    expect(readPageSizesKiB({ proc: join(root, 'proc'), sys: root })).toEqual([64, 2048, 1048576]);
    expect(readPageSizesKiB({ proc: join(root, 'x'), sys: join(root, 'x') })).toEqual([4]);
    expect(() => readMemoryKiB({ proc: join(root, 'x') })).toThrow(/ENOENT/);
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  readCpuMap,
  readCpuMhz,
  readCpuTimes,
  readFreePages,
  readHostMemory,
  readKsm,
  readMemoryTimes,
  readPagePool,
  readSysinfo,
  writeKsm,
  writePagePool,
} from './node-facts.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'node-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
const at = () => ({ proc: join(root, 'proc'), sys: join(root, 'sys') });

describe('the host as it is now', () => {
  it('tells CPU time by kind', () => {
    put('proc/stat', 'cpu  10 2 3 100 7 1 1 0 0 0\ncpu0 4 1 1 50 3 0 0 0 0 0\nintr 1\n');
    expect(readCpuTimes(-1, at())).toEqual({
      kernel: 50_000_000n,
      user: 120_000_000n,
      idle: 1_000_000_000n,
      iowait: 70_000_000n,
    });
    expect(readCpuTimes(0, at())?.user).toBe(50_000_000n);
    expect(readCpuTimes(9, at())).toBeUndefined();
  });

  it('tells memory of all and of one node', () => {
    put('proc/meminfo', 'MemTotal:  1000 kB\nMemFree:  400 kB\nBuffers: 20 kB\nCached: 30 kB\nSwapCached: 7 kB\n');
    put('sys/devices/system/node/node0/meminfo', 'Node 0 MemTotal:  1000 kB\nNode 0 MemFree:  400 kB\n');
    expect(readMemoryTimes(-1, at())).toEqual({ total: 1000n, free: 400n, buffers: 20n, cached: 30n });
    expect(readMemoryTimes(0, at())).toEqual({ total: 1000n, free: 400n });
    expect(readMemoryTimes(3, at())).toBeUndefined();
    expect(readFreePages(4, 0, at())).toBe(100n);
    expect(readFreePages(2048, 0, at())).toBeUndefined();
  });

  it("takes the nodes' memory for the host's, where there are nodes", () => {
    put('proc/meminfo', 'MemTotal:  9000 kB\nMemFree:  4000 kB\n');
    expect(readHostMemory(at())).toEqual({ totalKiB: 9000n, freeKiB: 4000n });
    put('sys/devices/system/node/online', '0-1\n');
    put('sys/devices/system/node/node0/meminfo', 'Node 0 MemTotal:  1000 kB\nNode 0 MemFree:  400 kB\n');
    put('sys/devices/system/node/node1/meminfo', 'Node 1 MemTotal:  2000 kB\nNode 1 MemFree:  300 kB\n');
    expect(readHostMemory(at())).toEqual({ totalKiB: 3000n, freeKiB: 700n });
  });

  it('reads and sets pools of huge pages, of a node and of the host', () => {
    put('sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', '3\n');
    put('sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages', '1\n');
    expect([readPagePool(2048, -1, at()), readPagePool(2048, 0, at()), readPagePool(4, 0, at())]).toEqual([
      3n,
      1n,
      undefined,
    ]);
    writePagePool(2048, 0, 5n, at());
    expect([readPagePool(2048, -1, at()), readPagePool(2048, 0, at())]).toEqual([3n, 5n]);
  });

  it('tells which CPUs there are', () => {
    put('sys/devices/system/cpu/present', '0-3\n');
    put('sys/devices/system/cpu/online', '0-1,3\n');
    put('proc/cpuinfo', 'processor: 0\ncpu MHz\t\t: 2596.992\n');
    expect(readCpuMap(at())).toEqual({ present: 4, online: [0, 1, 3] });
    expect(readCpuMhz(at())).toBe(2596);
  });

  it('reads and sets samepage merging', () => {
    put('sys/kernel/mm/ksm/pages_to_scan', '100\n');
    put('sys/kernel/mm/ksm/pages_shared', '7\n');
    expect(readKsm(at())).toEqual({ shm_pages_to_scan: 100, shm_pages_shared: 7n });
    writeKsm({ shm_pages_to_scan: 200 }, at());
    expect(readFileSync(join(root, 'sys/kernel/mm/ksm/pages_to_scan'), 'utf8')).toBe('200');
    expect(() => writeKsm({ shm_pages_shared: 1 }, at())).toThrow(RangeError);
  });

  it('reads SMBIOS strings, as far as they are given out', () => {
    put('sys/class/dmi/id/bios_vendor', 'SeaBIOS\n');
    put('sys/class/dmi/id/product_name', 'Box\n');
    expect(readSysinfo(at())).toEqual({ bios: { vendor: 'SeaBIOS' }, system: { product: 'Box' } });
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readHugetlbfsMounts } from './hugetlbfs.ts';

it('finds mounts, sizes and the default', () => {
  const proc = mkdtempSync(join(tmpdir(), 'huge-'));
  try {
    writeFileSync(join(proc, 'meminfo'), 'MemTotal: 1 kB\nHugepagesize:       2048 kB\n');
    writeFileSync(
      join(proc, 'mounts'),
      'none /dev/huge\\040pages hugetlbfs rw,relatime,pagesize=2M 0 0\nx /1g hugetlbfs rw,pagesize=1024M 0 0\ny /again hugetlbfs rw 0 0\nz /tmp tmpfs rw 0 0\n',
    );
    expect(readHugetlbfsMounts({ proc })).toEqual([
      { path: '/dev/huge pages', sizeKiB: 2048, default: true },
      { path: '/1g', sizeKiB: 1_048_576, default: false },
    ]);
    expect(readHugetlbfsMounts({ proc: join(proc, 'none') })).toEqual([]);
  } finally {
    rmSync(proc, { recursive: true });
  }
});

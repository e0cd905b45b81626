/** Recorded hosts of libvirt's own test data: hierarchies and mount points read as libvirt reads them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readCgroupHost } from '../../src/cgroup/detect.ts';
import { libvirtHierarchy, v2Hierarchy } from '../../src/cgroup/host.ts';

const FOLDER = join(process.env['NESTLING_REFEREE'] ?? '../shared/referee', 'cgroup');
const isThere = existsSync(FOLDER);
if (!isThere) process.stderr.write(`\nSKIPPED: no recorded cgroup hosts (${FOLDER})\n\n`);
const names = isThere
  ? readdirSync(FOLDER).flatMap((file) => (file.endsWith('.mounts') ? [file.slice(0, -'.mounts'.length)] : []))
  : [];

describe.skipIf(!isThere)('recorded hosts', () => {
  it('are there', () => expect(names.length).toBeGreaterThan(0));

  it.each(names)('%s', (name) => {
    const read = (suffix: string): string => readFileSync(join(FOLDER, `${name}.${suffix}`), 'utf8');
    const host = readCgroupHost({ mounts: read('mounts'), selfCgroup: read('self.cgroup'), cgroups: read('cgroups') });
    const expected = Object.fromEntries(
      read('parsed')
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/)),
    ) as Record<string, string>;
    const found = Object.keys(expected).map((key) => {
      const hierarchy = key.startsWith('name=')
        ? host.hierarchies.find(({ name: label }) => label === key.slice('name='.length))
        : key === 'unified'
          ? v2Hierarchy(host)
          : libvirtHierarchy(host, key);
      // Of controllers, only v1's mount points are told.
      const isTold = key === 'unified' || hierarchy?.version === 1;
      return [key, isTold ? (hierarchy?.mountPoint ?? '<null>') : '<null>'];
    });
    expect(Object.fromEntries(found)).toEqual(expected);
  });
});

/** Plain folders that look like groups: what is found, and what is left alone. That the kernel removes them is shown on a real hierarchy. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CgroupHost } from './host.ts';
import { cgroupRemovers } from './ledger-remover.ts';
import { findStaleGroups, removeStaleGroups, type StaleOptions } from './stale.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cgroup-stale-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function group(path: string, files: Record<string, string> = { 'cgroup.procs': '' }): string {
  const directory = join(root, path);
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

function host({ readOnly = false } = {}): CgroupHost {
  const hierarchy = { version: 1, controllers: ['cpu'], mountPoint: root, mountRoot: '/', ownPath: '/' } as const;
  return {
    mode: 'v1',
    hierarchies: [{ ...hierarchy, ownDirectory: root, readOnly, writable: !readOnly }],
    namespace: 'host',
    systemd: false,
    disabled: [],
  };
}

function find(options: StaleOptions = {}): string[] {
  const found = findStaleGroups({ host: host(), minimumAgeMs: 0, ...options });
  return found.map(({ directory }) => directory.slice(root.length)).toSorted();
}

describe('groups of dead guests', () => {
  it('are found in every layout, and told whose they were', () => {
    const paths = [
      '/machine/qemu-1-web.libvirt-qemu',
      '/machine/old.libvirt-lxc',
      '/virtualmachines.partition/a.partition/qemu-2-db.libvirt-qemu',
      '/machine.slice/machine-qemu\\x2d3\\x2dci.scope',
      '/libvirt/qemu/ancient',
    ];
    for (const path of paths) group(path);
    expect(find()).toEqual(paths.toSorted());
    const names = findStaleGroups({ host: host(), minimumAgeMs: 0 }).map(({ guest }) => guest.name);
    expect(names.toSorted()).toEqual(['ancient', 'ci', 'db', 'old', 'web']);
  });

  it('are no other groups, empty or not', () => {
    for (const path of ['/machine', '/system.slice/a.service', '/docker/0abc', '/web.libvirt-xen']) group(path);
    expect(find()).toEqual([]);
  });

  it('are not those that have a process, be it deep inside', () => {
    group('/machine/qemu-1-web.libvirt-qemu', { 'cgroup.procs': '17\n' });
    group('/machine/qemu-2-db.libvirt-qemu');
    group('/machine/qemu-2-db.libvirt-qemu/vcpu0', { 'cgroup.procs': '18\n' });
    group('/machine/qemu-3-v2.libvirt-qemu', { 'cgroup.events': 'populated 1\nfrozen 0\n', 'cgroup.procs': '' });
    expect(find()).toEqual([]);
  });

  it('are on v2 what the kernel calls unpopulated', () => {
    group('/machine/qemu-3-v2.libvirt-qemu', { 'cgroup.events': 'populated 0\nfrozen 0\n' });
    expect(find()).toEqual(['/machine/qemu-3-v2.libvirt-qemu']);
  });

  it('are not those of a living owner, nor those just made, nor any in a hierarchy that nobody may change', () => {
    const directory = group('/machine/qemu-1-web.libvirt-qemu');
    expect(find({ owned: new Set([directory]) })).toEqual([]);
    expect(find({ minimumAgeMs: 60_000 })).toEqual([]);
    expect(find({ host: host({ readOnly: true }) })).toEqual([]);
    expect(find()).toHaveLength(1);
  });

  it('are removed with what is in them; one that is gone already is fine', async () => {
    const directory = group('/machine/qemu-1-web.libvirt-qemu', {});
    group('/machine/qemu-1-web.libvirt-qemu/vcpu0', {});
    const stale = findStaleGroups({ host: host(), minimumAgeMs: 0 });
    await removeStaleGroups(stale);
    expect(existsSync(directory)).toBe(false);
    expect(existsSync(join(root, 'machine'))).toBe(true);
    await removeStaleGroups(stale);
  });
});

describe("the ledger's remover", () => {
  const context = { procRoot: '/proc', sameBoot: true, signal: undefined };
  const remove = async (directory: unknown, more = {}): Promise<void> =>
    await cgroupRemovers(0).cgroup({ directory } as { directory: string }, { ...context, ...more });

  it('leaves a group with processes, and says which', async () => {
    const directory = group('/machine/qemu-1-web.libvirt-qemu');
    group('/machine/qemu-1-web.libvirt-qemu/emulator', { 'cgroup.procs': '17\n18\n' });
    await expect(remove(directory)).rejects.toThrow(/still has processes in it \(pid 17, 18\)/);
    expect(existsSync(directory)).toBe(true);
  });

  it('leaves what is no group', async () => {
    const directory = group('/something', { precious: 'data' });
    await expect(remove(directory)).rejects.toThrow(/not a cgroup/);
    expect(existsSync(join(directory, 'precious'))).toBe(true);
    await expect(remove('relative')).rejects.toThrow(/no directory/);
    await expect(remove(undefined)).rejects.toThrow(/no directory/);
  });

  it('has nothing to do for what is gone, or was made before the last boot', async () => {
    await expect(remove(join(root, 'gone'))).resolves.toBeUndefined();
    const directory = group('/machine/qemu-1-web.libvirt-qemu', { 'cgroup.procs': '17\n' });
    await expect(remove(directory, { sameBoot: false })).resolves.toBeUndefined();
  });
});

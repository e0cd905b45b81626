/** Whole systems in containers: their inits start, and end when they are asked to. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askInit } from '../../src/driver/lxc/host/initctl.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { SYSTEMD_IMAGE_TOOLS, systemdImage } from '../support/guests/systemd-image.ts';
import { startBox } from './container-box.ts';

const isAble = canRunContainers();
const NAMED = '/sys/fs/cgroup/systemd';
const missing = [...Object.keys(SYSTEMD_IMAGE_TOOLS), 'debugfs'].filter((name) => lookUpProgram(name) === undefined);
const canBootSystemd = isAble && missing.length === 0 && existsSync(`${NAMED}/cgroup.procs`);
if (isAble && !canBootSystemd) {
  process.stderr.write(
    `\nSKIPPED: systemd in a container needs ${[...missing, `${NAMED} (cgroup v1)`].join(', ')}\n\n`,
  );
}

describe.skipIf(!isAble)('a system in a container', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nt-system-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('of busybox starts, and ends by the signal that it knows', async () => {
    const rootfs = makeBusyboxRoot(folder);
    writeFileSync(
      join(rootfs, 'etc/inittab'),
      '::sysinit:/bin/echo up\n::respawn:/bin/sleep 1000\n::shutdown:/bin/echo going\n',
    );
    await using box = await startBox({ folder, rootfs, line: '', init: '/sbin/init' });
    await box.until('up');
    if (box.initPid === undefined) throw new Error('init has ended');
    expect(askInit(box.initPid, 'poweroff')).toBe(false);
    process.kill(box.initPid, 'SIGUSR2');
    await box.ended;
    expect(box.output()).toContain('going');
  });

  it.skipIf(!canBootSystemd)(
    'of systemd starts in groups of its own, and ends when it is asked by its FIFO',
    async () => {
      const image = join(folder, 'image');
      copyFileSync(await systemdImage(), image);
      // A first boot would ask questions.
      writeFileSync(join(folder, 'machine-id'), '0123456789abcdef0123456789abcdef\n');
      execFileSync('debugfs', ['-w', '-R', `write ${join(folder, 'machine-id')} etc/machine-id`, image], {
        stdio: 'ignore',
      });
      // It mounts the second tree itself where the host has both: what it sees there is to be its own as well.
      const trees = [NAMED, '/sys/fs/cgroup/unified'].filter((tree) => existsSync(`${tree}/cgroup.procs`));
      const groups = trees.map((tree) => `${tree}/nestling-system-${process.pid}`);
      const before = trees.map((tree) => groupsIn(tree));
      for (const group of groups) mkdirSync(group);
      try {
        await using box = await startBox({
          folder,
          rootfs: image,
          line: '',
          init: '/lib/systemd/systemd',
          facts: { initGroup: { at: NAMED, directory: groups[0] ?? '' } },
          cgroupProcs: groups.map((group) => `${group}/cgroup.procs`),
        });
        await box.until('login:');
        if (box.initPid === undefined) throw new Error('init has ended');
        expect(groupsIn(groups[0] ?? '')).toContain('system.slice');
        expect(askInit(box.initPid, 'poweroff')).toBe(true);
        await box.ended;
        expect(box.output()).toMatch(/Reached target.*(poweroff|shutdown)/);
      } finally {
        // The kernel lets go of a group a moment after its last process.
        await expect.poll(() => groups.map(removeGroup), { timeout: 10_000 }).toEqual(groups.map(() => true));
      }
      expect(trees.map((tree) => groupsIn(tree))).toEqual(before);
    },
  );
});

/** Those that a systemd makes; the host is not ours alone. */
function groupsIn(directory: string): string[] {
  const entries = readdirSync(directory, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() && /\.(slice|scope)$/.test(entry.name) ? [entry.name] : []));
}

function removeGroup(directory: string): boolean {
  if (!existsSync(directory)) return true;
  for (const name of readdirSync(directory, { withFileTypes: true })) {
    if (name.isDirectory()) removeGroup(join(directory, name.name));
  }
  try {
    rmdirSync(directory);
    return true;
  } catch {
    return false;
  }
}

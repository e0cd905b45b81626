/**
 * Pools on real block devices: partitions and file systems on a loop device of this kernel's, logical volumes where it has the device mapper.
 * What this host lacks is skipped, loudly.
 */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../src/index.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { bundleScript } from '../support/bundle.ts';
import { startLvmGuest, whyNoLvmGuest } from '../support/guests/lvm-guest.ts';
import { GUEST_TIMEOUTS } from '../support/guests/program-guest.ts';
import { StreamText } from '../support/until.ts';

const LOOP_BYTES = 64 * 1024 * 1024;
/** Programs may be killed with what they mounted; what they mounted goes with this. */
const PRIVATE = ['--mount', '--propagation', 'private'];

function whyNot(...programs: readonly string[]): string | undefined {
  const missing = programs.find((name) => lookUpProgram(name) === undefined);
  if (missing !== undefined) return `${missing} is not installed`;
  const found = spawnSync('losetup', ['--find'], { encoding: 'utf8' });
  return found.status === 0 ? undefined : `this host has no loop devices: ${found.stderr.trim()}`;
}

const noDisk = whyNot('losetup', 'parted', 'wipefs', 'blkid');
const noFs = whyNot('losetup', 'mkfs.ext4', 'blkid');
if (noDisk !== undefined) process.stderr.write(`\nSKIPPED: disk pools on a device: ${noDisk}\n\n`);
if (noFs !== undefined) process.stderr.write(`\nSKIPPED: fs pools on a device: ${noFs}\n\n`);

let program: string;
let dir: string;
let device: string;
beforeAll(async () => {
  program = await bundleScript(fileURLToPath(new URL('storage-devices-program.ts', import.meta.url)));
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'devices-'));
  const image = join(dir, 'image');
  writeFileSync(image, '');
  truncateSync(image, LOOP_BYTES);
  if (noDisk === undefined || noFs === undefined) {
    device = execFileSync('losetup', ['--find', '--show', '--partscan', image], { encoding: 'utf8' }).trim();
  }
});
afterEach(() => {
  if (noDisk === undefined || noFs === undefined) execFileSync('losetup', ['--detach', device]);
  rmSync(dir, { recursive: true, force: true });
});

async function run(scenario: string): Promise<unknown> {
  const args = [...PRIVATE, process.execPath, program, scenario, device, dir];
  const { stdout } = await promisify(execFile)('unshare', args, { encoding: 'utf8' });
  return JSON.parse(stdout);
}

describe.skipIf(noDisk !== undefined)('a disk pool on a loop device', () => {
  it('makes, fills and removes partitions, and leaves what is not its own', async () => {
    expect(await run('disk')).toEqual({
      wrong: expect.stringMatching(new RegExp(`^${ErrorCode.OPERATION_INVALID}: invalid partition name 'other'`)),
      tooLarge: expect.stringMatching(new RegExp(`^${ErrorCode.INTERNAL_ERROR}: no large enough free extent`)),
      isSame: true,
      again: expect.stringMatching(new RegExp(`^${ErrorCode.OPERATION_INVALID}: .*already active`)),
      names: [true],
      capacity: 8,
      type: 'block',
      isNode: true,
      isGone: true,
      notEmpty: expect.stringMatching(new RegExp(`^${ErrorCode.OPERATION_FAILED}: Format of device`)),
    });
  });
});

describe.skipIf(noFs !== undefined)('a fs pool on a loop device', () => {
  it('makes a file system, mounts it, keeps volumes on it, and never makes it twice', async () => {
    expect(await run('fs')).toEqual({
      head: 'fff',
      names: ['lost+found', 'other', 'v'],
      mounted: true,
      unmounted: true,
      notEmpty: expect.stringMatching(new RegExp(`^${ErrorCode.OPERATION_FAILED}: Format of device`)),
      kept: true,
    });
  });

  it('is unmounted by whoever comes next where its program was killed', async () => {
    // One namespace for both, so that the mount is there when the first is gone.
    const script = '"$1" "$2" fs-killed "$3" "$4" & read -r _; kill -9 $!; wait; exec "$1" "$2" collect "$3" "$4"';
    const child = spawn('unshare', [...PRIVATE, 'sh', '-c', script, 'sh', process.execPath, program, device, dir], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const text = new StreamText(child.stdout);
    expect(await text.until('\n')).toBe('true\n');
    child.stdin.end('\n');
    const seen = await text.untilEnd();
    expect(JSON.parse(seen)).toEqual({ before: true, after: false });
  });
});

const noLvm = whyNoLvmGuest();
if (noLvm !== undefined) process.stderr.write(`\nSKIPPED: logical pools: ${noLvm}\n\n`);
for (const [kind, lack] of [
  ['zfs', 'Debian has no module of ZFS'],
  ['netfs', 'it takes a server of NFS'],
]) {
  process.stderr.write(`\nSKIPPED: ${kind} pools: ${lack}; what is asked of their tools is tested in plan.test.ts\n\n`);
}

describe.skipIf(noLvm !== undefined)('a logical pool, in a guest whose kernel has the device mapper', () => {
  it('makes a group, its volumes, snapshots and copies, and removes them', {
    timeout: GUEST_TIMEOUTS.hookTimeout,
  }, async () => {
    const programs = ['storage-logical-program.ts', 'image-volume-program.ts'].map(
      (name) => new URL(name, import.meta.url),
    );
    await using guest = await startLvmGuest({ name: 'lvm', directory: dir, programs });
    const made = await guest.run('truncate -s 64M /tmp/pv && losetup /dev/loop0 /tmp/pv');
    expect(made).toMatchObject({ status: 0, stderr: '' });
    expect(await guest.runProgram('storage-logical-program', ['/dev/loop0'])).toEqual({
      isNode: true,
      snapshotHas: true,
      snapshotIsOf: true,
      cloneHas: true,
      capacity: 12,
      tooLarge: ErrorCode.INTERNAL_ERROR,
      found: true,
      isStopped: true,
      names: ['c', 'v'],
      gone: ErrorCode.CONFIG_UNSUPPORTED,
    });
    expect(await guest.run('truncate -s 64M /tmp/pv2 && losetup /dev/loop1 /tmp/pv2')).toMatchObject({ status: 0 });
    expect(await guest.runProgram('image-volume-program', ['/dev/loop1'])).toEqual({
      tooSmall: expect.stringContaining('No space left on device'),
      afterFailure: { volumes: [], folder: false },
      mounted: true,
      mode: 0o600,
      size: 6,
      made: ['root-1'],
      again: expect.stringMatching(/^lvcreate failed: .*root-1" already exists in volume group "vg"/),
      tooLarge: expect.stringMatching(/^lvcreate failed: .*insufficient free space/),
      left: { volumes: ['root-1'], folders: [] },
      end: [],
    });
  });
});

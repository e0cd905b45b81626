/**
 * Containers' groups in every kind of hierarchy: on this host as it is, with v1 alone, and in a guest with v2 alone, there also as a container
 * without systemd has it. One program (`container-groups-program.ts`) runs in all of them; one boot for all tests of the guest.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { bundleScript } from '../support/bundle.ts';
import { canRunContainers } from '../support/busybox-root.ts';
import { startContainerGuest, whyNoContainerGuest } from '../support/guests/container-guest.ts';
import { GUEST_TIMEOUTS, type ProgramGuest } from '../support/guests/program-guest.ts';
import { allWritten, HOST_SETTINGS } from '../support/kernel-settings.ts';

const PROGRAM = new URL('container-groups-program.ts', import.meta.url);
const LABELS = new URL('container-labels-program.ts', import.meta.url);
const NBD = new URL('container-nbd-program.ts', import.meta.url);
const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const V1_LIMITS = { 'memory.limit_in_bytes': String(64 * 1024 * 1024), 'cpu.cfs_quota_us': '50000' };
const V2_LIMITS = { 'memory.max': String(64 * 1024 * 1024), 'cpu.max': '50000 100000' };

/**
 * Whatever root of a container is on the host, and may do: its limits are as they were, no node could be opened and no setting of the kernel written.
 * Without cgroup v2 nothing but their mounts keeps one that is the host's own from those.
 */
const heldBy = (limits: object, hasV2 = true): object =>
  Object.fromEntries(
    ['root', 'mapped', 'tame'].map((how) => [
      how,
      { ...limits, opened: '', wrote: how === 'root' && !hasV2 ? allWritten(HOST_SETTINGS) : [] },
    ]),
  );

const run = promisify(execFile);
const why = whyNoContainerGuest();
if (why !== undefined) process.stderr.write(`\nSKIPPED: containers on cgroup v2 alone: ${why}\n\n`);
const hasV1 = existsSync('/sys/fs/cgroup/memory/cgroup.procs');
if (!hasV1) process.stderr.write('\nSKIPPED: containers on cgroup v1: this host has none\n\n');

vi.setConfig(GUEST_TIMEOUTS);

describe.skipIf(!hasV1 || !canRunContainers())('on a host with cgroup v1', () => {
  /** `setting`: a shell line before the program, in mounts of its own. */
  async function onHost(scenario: string, setting = 'true'): Promise<unknown> {
    const program = await bundleScript(fileURLToPath(PROGRAM));
    const line = `${setting} && exec ${process.execPath} ${program} ${scenario} ${CLI}`;
    const { stdout } = await run('unshare', ['--mount', 'sh', '-c', line]);
    const parsed: unknown = JSON.parse(stdout);
    return parsed;
  }
  const V1_ALONE = '{ ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; }';

  const WITHOUT_CRUN = 'mount --bind /dev/null "$(command -v crun)"';
  const hasRunc = lookUpProgram('runc') !== undefined;
  if (!hasRunc) process.stderr.write('\nSKIPPED: containers on runc: it is not installed\n\n');
  const inDaemons: [string, string][] = [
    ['with v1 alone', V1_ALONE],
    ['as it is, on runc', WITHOUT_CRUN],
  ];
  const onRunc: [string, string, RegExp][] = [
    ['as it is, on runc', WITHOUT_CRUN, /^(hybrid|v1)$/],
    ['with v1 alone, on runc', `${V1_ALONE} && ${WITHOUT_CRUN}`, /^v1$/],
  ];

  it.each([['as it is', 'true', /^(hybrid|v1)$/], ['with v1 alone', V1_ALONE, /^v1$/], ...(hasRunc ? onRunc : [])])(
    '%s: embedded ones are limited, stopped, and gone with all that they have started',
    async (_, setting, mode) => {
      const seen = await onHost('embedded', setting);
      const hasV2 = !(typeof seen === 'object' && seen !== null && Reflect.get(seen, 'mode') === 'v1');
      expect(seen).toMatchObject({
        mode: expect.stringMatching(mode),
        limits: V1_LIMITS,
        suspended: ['FROZEN'],
        device: { given: '/dev/loop-control', taken: '/dev/null' },
        held: heldBy(V1_LIMITS, hasV2),
      });
      expect(await onHost('crash', setting)).toEqual({ hadGroups: true });
    },
  );

  it.each(inDaemons.slice(0, hasRunc ? 2 : 1))('%s: a daemon’s, which outlive it', async (_, setting) => {
    expect(await onHost('daemon', setting)).toEqual({
      limits: expect.objectContaining(V1_LIMITS),
      changed: expect.objectContaining({ 'memory.limit_in_bytes': String(48 * 1024 * 1024) }),
      hasTime: true,
      suspended: 'paused',
      found: 'paused',
      left: [],
    });
  });
});

describe.skipIf(why !== undefined)('on a host with cgroup v2 alone', () => {
  let guest: ProgramGuest | undefined;
  let directory = '';

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'v2c-'));
    guest = await startContainerGuest({
      name: 'v2c',
      directory,
      programs: [PROGRAM, LABELS, NBD, new URL('../../src/cli/main.ts', import.meta.url)],
    });
  });
  afterAll(async () => {
    await guest?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  const inGuest = async (scenario: string, prefix = ''): Promise<unknown> =>
    await guest?.runProgram('container-groups-program', [scenario, '/programs/main.mjs'], prefix);

  it.each([
    ['in the hierarchy’s root', 'embedded', ''],
    ['in a container without systemd that was prepared', 'prepared', 'box -f b'],
    ['on runc', 'embedded', 'without crun'],
  ])(
    '%s: embedded ones are limited, stopped, and gone with all that they have started',
    async (_, scenario, prefix) => {
      expect(await inGuest(scenario, prefix)).toMatchObject({
        mode: 'v2',
        limits: { ...V2_LIMITS, 'pids.max': expect.stringMatching(/^\d+$/) },
        suspended: ['frozen 1'],
        device: { given: '/dev/loop-control', taken: '/dev/null' },
        held: heldBy(V2_LIMITS),
      });
    },
  );

  it.each(['', 'without crun'])(
    'an embedded one goes with its program, its groups with the next (%s)',
    async (prefix) => {
      expect(await inGuest('crash', prefix)).toEqual({ hadGroups: true });
    },
  );

  it.each(['', 'without crun'])(
    'and AppArmor: they are below the profile that they name, also what is executed in them (%s)',
    async (prefix) => {
      const seen = "nestling-boxes (enforce)\nhello\ncat: can't open '/etc/secret': Permission denied\n";
      expect(await guest?.runProgram('container-labels-program', [], prefix)).toEqual({
        model: 'apparmor',
        first: seen,
        executed: seen,
        labels: [{ model: 'apparmor', label: 'nestling-boxes', enforcing: true }],
        unconfined: 'unconfined\nhello\ntold\nmounted\n',
        unknown: expect.stringContaining("AppArmor has no profile 'nobodys': load it with apparmor_parser"),
      });
    },
  );

  it('and nbd: images that the kernel cannot mount are served by it', async () => {
    expect(await guest?.runProgram('container-nbd-program', [])).toEqual({
      during: ['nbd0'],
      read: 'hello',
      again: 'written',
      isWhole: true,
    });
  });

  it.each(['', 'without crun'])('a daemon’s outlive it (%s)', async (prefix) => {
    expect(await inGuest('daemon', prefix)).toEqual({
      limits: expect.objectContaining(V2_LIMITS),
      changed: expect.objectContaining({ 'memory.max': String(48 * 1024 * 1024) }),
      hasTime: true,
      suspended: 'paused',
      found: 'paused',
      left: [],
    });
  });
});

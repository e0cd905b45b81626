/**
 * Cgroup v2 as it is in containers without systemd, tried inside a guest that has a full hierarchy: the ways in which guests fail there, the
 * folk remedy, and what we do instead. One boot for all tests; the programs that run inside are `cgroup-v2-*program.ts`.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { whyNoProgramGuests } from '../support/guests/node-image.ts';
import { GUEST_TIMEOUTS, type ProgramGuest } from '../support/guests/program-guest.ts';
import { startV2Guest } from '../support/guests/v2-guest.ts';

const PROGRAMS = ['cgroup-v2-program', 'cgroup-v2-limits-program', 'cgroup-v2-guest-program'];
const REFUSED = { cpu: 'EBUSY', cpuset: 'EBUSY', memory: 'EBUSY', io: 'EBUSY' };
/** Threaded controllers are taken, and with them the group can no longer give any other. */
const TURNED_THREADED = { cpu: 'done', cpuset: 'done', memory: 'EOPNOTSUPP', io: 'EOPNOTSUPP' };
const INVALID = { root: 'domain threaded', machine: 'domain invalid', guest: 'domain invalid' };
const LIMITED = {
  controllers: 'cpuset cpu io memory pids',
  memory: { hardLimitKiB: 65_536 },
  cpu: { quotaUs: 50_000, periodUs: 100_000 },
  pids: { max: 10 },
  child: '0::/qemu-2-ours.libvirt-qemu',
  self: '0::/init.scope',
  root: { type: 'domain', enabled: 'cpuset cpu io memory pids', processes: '' },
};

const why = whyNoProgramGuests();
if (why !== undefined) process.stderr.write(`\nSKIPPED: cgroup v2 in a guest: ${why}\n\n`);

vi.setConfig(GUEST_TIMEOUTS);

let guest: ProgramGuest | undefined;
let directory: string | undefined;
beforeAll(async () => {
  if (why !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'v2-'));
  guest = await startV2Guest({
    name: 'v2',
    directory,
    programs: [...PROGRAMS.map((name) => `${name}.ts`), '../../src/cli/main.ts'].map(
      (path) => new URL(path, import.meta.url),
    ),
    files: { 'halt.img': readFileSync(await bootSectorImage('halt')) },
  });
});
afterAll(async () => {
  await guest?.[Symbol.asyncDispose]();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

/** Runs a scenario where nothing but itself is in the namespace's root. */
async function inBox(scenario: string, program = 'cgroup-v2-program'): Promise<unknown> {
  return await guest?.runProgram(program, [scenario], 'box b');
}

/** The same with somebody else's process beside it. */
async function inSharedBox(scenario: string, program = 'cgroup-v2-program'): Promise<unknown> {
  return await guest?.runProgram(program, [scenario], 'box -f b');
}

describe.skipIf(why !== undefined)('a container without systemd', () => {
  it('1: fails with libvirt’s way: the root turns threaded, no group below it takes a process', async () => {
    const seen = await inBox('libvirt-way');
    expect(seen).toMatchObject({
      start: { mode: 'v2', namespace: 'private', type: 'domain', enabled: [], processes: 2, delegation: 'none' },
      enable: TURNED_THREADED,
      types: INVALID,
      join: 'EOPNOTSUPP',
      after: { type: 'domain threaded', enabled: ['cpuset', 'cpu'] },
    });
    expect(seen).toMatchObject({
      errors: {
        memory: expect.stringMatching(
          /^CgroupError: cannot write '\+memory' to \/sys\/fs\/cgroup\/cgroup.subtree_control: EOPNOTSUPP \(a threaded group takes threaded controllers only.*nestling ci prepare --cgroups/,
        ),
        join: expect.stringMatching(/cgroup.procs: EOPNOTSUPP \(the group is domain invalid/),
      },
    });
  });

  it('2: starts with the folk remedy, without any controller; 5: with ours it has them', async () => {
    expect(await inBox('remedy')).toMatchObject({
      enable: REFUSED,
      types: { root: 'domain', machine: 'domain', guest: 'domain' },
      join: 'done',
      controllers: '',
      ours: LIMITED,
    });
  });

  it('3: is not helped by the remedy after a failed start, until the threaded controllers are off', async () => {
    expect(await inBox('remedy-too-late')).toMatchObject({
      first: 'EOPNOTSUPP',
      helperJoins: 'EOPNOTSUPP',
      second: 'EOPNOTSUPP',
      off: ['done', 'done'],
      type: 'domain',
      third: { enable: REFUSED, join: 'done' },
    });
  });

  it('3: is repaired by ours after a failed start', async () => {
    expect(await inBox('repair')).toMatchObject({ join: 'EOPNOTSUPP', ours: LIMITED });
  });

  it('4: fails when the remedy’s process has ended; ours repairs that too', async () => {
    expect(await inBox('helper-died')).toMatchObject({
      enable: TURNED_THREADED,
      types: INVALID,
      join: 'EOPNOTSUPP',
      ours: LIMITED,
    });
  });

  it('5: with an agent in it: ours moves that too when asked, and leaves no process in the root', async () => {
    expect(await inSharedBox('remedy')).toMatchObject({ join: 'done', controllers: '', ours: LIMITED });
  });

  it('6: is exempt where its root is the hierarchy’s', async () => {
    expect(await guest?.runProgram('cgroup-v2-program', ['real-root'])).toMatchObject({
      start: { namespace: 'host', type: 'root' },
      kinds: expect.not.arrayContaining(['evacuate']),
      after: { enabled: ['cpuset', 'cpu', 'io', 'memory', 'pids'], type: 'root' },
      enable: { cpu: 'done', cpuset: 'done', memory: 'done', io: 'done' },
      join: 'done',
      controllers: 'cpuset cpu io memory',
    });
  });

  it('7: moves nobody unasked: groups without controllers, and an error with the fix for limits', async () => {
    const seen = await inSharedBox('not-asked');
    const fix = expect.stringMatching(/cannot give controllers to its children.*nestling ci prepare --cgroups/);
    expect(seen).toMatchObject({
      actions: [],
      refusals: [fix],
      carriedOut: fix,
      limited: fix,
      notes: [fix],
      tuned: expect.stringMatching(/controller 'memory' is not enabled.*nestling ci prepare --cgroups/),
      after: { type: 'domain', enabled: [], processes: 2 },
    });
    expect(seen).toMatchObject({
      frozen: 'populated 1\nfrozen 1',
      hasCpuTime: true,
      memory: null,
      signal: 'SIGKILL',
    });
  });

  it('8: may begin a namespace of its own in a child, where the same holds', async () => {
    expect(await inSharedBox('nested')).toMatchObject({
      inner: { start: { namespace: 'private', type: 'domain', processes: 1 }, ours: LIMITED },
    });
  });

  it('needs no asking when all processes are the caller’s', async () => {
    expect(await inBox('own')).toMatchObject({ ours: LIMITED });
  });

  it('works for a user who owns the group', async () => {
    const asUser = '/usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups';
    const prefix = `box b sh -c 'chown -R 1000 /sys/fs/cgroup && exec ${asUser} "$@"' sh`;
    expect(await guest?.runProgram('cgroup-v2-program', ['rootless'], prefix)).toMatchObject({
      start: { delegation: 'owner', type: 'domain' },
      uid: 1000,
      ours: LIMITED,
    });
  });
});

describe.skipIf(why !== undefined)('preparing', () => {
  it('prints what it does, does it once, and takes it back', async () => {
    const seen = (await inSharedBox('undo')) as Record<string, unknown>;
    expect(seen).toMatchObject({
      start: { enabled: '', type: 'domain' },
      prepared: { enabled: 'cpuset cpu io memory pids', processes: '' },
      again: 0,
      leaf: false,
    });
    expect(seen['undone']).toEqual(seen['start']);
    expect(seen['printed']).toBe(`mkdir -p /sys/fs/cgroup/init.scope
for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo $pid > /sys/fs/cgroup/init.scope/cgroup.procs; done
${['memory', 'io', 'pids', 'cpu', 'cpuset'].map((name) => `echo +${name} > /sys/fs/cgroup/cgroup.subtree_control\n`).join('')}`);
  });

  it('can be taken back after a repair', async () => {
    const seen = (await inBox('undo-repair')) as Record<string, unknown>;
    expect(seen).toMatchObject({
      start: { enabled: 'cpuset cpu', type: 'domain threaded' },
      prepared: { enabled: 'cpuset cpu io memory pids', type: 'domain', processes: '' },
    });
    expect(seen['undone']).toMatchObject({ processes: (seen['start'] as Record<string, unknown>)['processes'] });
  });

  it('says so where the hierarchy is mounted read-only', async () => {
    const fix = expect.stringMatching(/EROFS \(the hierarchy is mounted read-only\).*--cgroupns=private/);
    expect(await inBox('read-only')).toMatchObject({ readOnly: true, writable: false, refusals: [fix], make: fix });
  });
});

describe.skipIf(why !== undefined)('limits', () => {
  const limited = async (scenario: string): Promise<unknown> => await inSharedBox(scenario, 'cgroup-v2-limits-program');

  it('of memory kill', async () => {
    expect(await limited('memory')).toMatchObject({
      signal: 'SIGKILL',
      oomKills: 1,
      memoryPeakKiB: 32 * 1024,
      events: expect.stringMatching(/^oom_kill 1$/m),
      tuning: { hardLimitKiB: 32 * 1024 },
    });
  });

  it('of CPU time throttle, until they are lifted', async () => {
    const seen = (await limited('cpu')) as { periods: number };
    expect(seen).toMatchObject({
      isCounted: true,
      tuning: { shares: 50, periodUs: 50_000, quotaUs: 5000 },
      free: 0,
      max: 'max 50000',
    });
    expect(seen.periods).toBeGreaterThan(0);
  });

  it('of processes keep them from forking, until they are lifted', async () => {
    expect(await limited('pids')).toMatchObject({
      limited: { exitCode: 2, stderr: expect.stringMatching(/can't fork: Resource temporarily unavailable/) },
      free: { exitCode: 0 },
      max: 'max',
      events: 'max 1',
    });
  });

  it('of CPUs hold; an empty set is the parent’s', async () => {
    expect(await limited('cpuset')).toMatchObject({
      before: { cpus: [0, 1] },
      after: { cpus: [1], mems: [0] },
      stdout: 'Cpus_allowed_list:\t1\nMems_allowed_list:\t0\n',
      emptied: { cpus: [0, 1] },
    });
  });

  it('of disk traffic hold its processes up, which is counted', async () => {
    const seen = (await limited('io')) as { ioPressure: number };
    expect(seen).toMatchObject({
      run: { exitCode: 0 },
      max: '254:0 rbps=max wbps=1048576 riops=128 wiops=max',
      io: [{ device: '254:0', readBytes: 256 * 1024, readOps: 64 }],
      after: '',
    });
    expect(seen.ioPressure).toBeGreaterThan(0);
  });

  it('of device nodes are a program that denies the rest', async () => {
    expect(await limited('devices')).toEqual({
      first: 'null\nzero\n',
      widened: 'null\nzero\nfull\n',
      changed: 'null\nfull\n',
    });
  });
});

describe.skipIf(why !== undefined)('a group', () => {
  const group = async (scenario: string): Promise<unknown> => await inSharedBox(scenario, 'cgroup-v2-limits-program');

  it('stops and continues as one', async () => {
    const frozen = 'populated 1\nfrozen 1';
    expect(await group('freeze')).toEqual({ frozen, still: true, exitCode: 7, freeze: '0' });
  });

  it('ends as one, groups in it too, frozen or not', async () => {
    expect(await group('kill')).toMatchObject({
      signals: ['SIGKILL', 'SIGKILL'],
      populated: expect.stringContaining('populated 0'),
    });
  });

  it('tells what it uses', async () => {
    expect(await group('stats')).toMatchObject({
      known: expect.arrayContaining(['cpuUsageNs', 'throttled', 'memoryUsageKiB', 'memoryPeakKiB', 'oomKills', 'io']),
      pids: 1,
      pressure: { cpu: { some: expect.anything() }, memory: { full: expect.anything() }, io: expect.anything() },
    });
  });

  it('of a dead guest is found and removed, the living and others’ stay', async () => {
    expect(await group('stale')).toMatchObject({
      stale: [
        { directory: '/sys/fs/cgroup/machine/qemu-9-dead.libvirt-qemu', guest: { driver: 'qemu', name: 'dead' } },
      ],
      left: [],
      machine: expect.stringContaining('nr_descendants 1'),
      alive: expect.stringContaining('populated 1'),
    });
  });
});

describe.skipIf(why !== undefined)('partitions', () => {
  it('are made with the ones above, limited, listed, and removed when empty', async () => {
    expect(await inSharedBox('partitions', 'cgroup-v2-limits-program')).toMatchObject({
      outer: '/virtualmachines',
      inner: '/virtualmachines/production',
      limits: { memory: { hardLimitKiB: 131_072 }, cpu: { quotaUs: 50_000 }, pids: { max: 20 } },
      max: String(128 * 1024 * 1024),
      busy: expect.stringMatching(/EBUSY \(it holds production.partition\)/),
    });
  });
});

describe.skipIf(why !== undefined)('a guest with limits, started in there', () => {
  const start = async (scenario: string): Promise<unknown> => await inSharedBox(scenario, 'cgroup-v2-guest-program');

  it('is refused with the fix while nothing is prepared; one without limits starts', async () => {
    expect(await start('refused')).toEqual({
      error: expect.stringMatching(/^VirtError: cannot start guest refused: .*nestling ci prepare --cgroups/),
      free: true,
      groups: [],
    });
  });

  it.each(['inherit', 'machine'])('has them in the layout %s, thread by thread, live too', async (layout) => {
    const seen = (await start(layout)) as { group: Record<string, string>; vcpuThreads: number[] };
    const [first, second] = seen.vcpuThreads.map(String);
    expect(seen).toMatchObject({
      group: { 'memory.max': String(300 * 1024 * 1024), 'cpu.weight': '50', 'cgroup.type': 'domain threaded' },
      groups: {
        emulator: {
          'cpu.max': '80000 100000',
          'cgroup.threads': expect.stringContaining(seen.group['cgroup.procs'] ?? '-'),
        },
        vcpu0: { 'cpu.max': '40000 100000', 'cgroup.threads': first },
        vcpu1: { 'cpu.max': '40000 100000', 'cgroup.threads': second },
      },
      changed: [String(400 * 1024 * 1024), '30000 100000'],
      memoryKiB: expect.any(Number),
      isGone: true,
    });
  });
});

it.skipIf(why !== undefined)('groups of a program that was killed are removed by the next', async () => {
  expect(await inBox('crash', 'cgroup-v2-guest-program')).toEqual({
    left: ['emulator', 'vcpu0', 'vcpu1'],
    isGone: true,
  });
});

it.skipIf(why !== undefined)('the command line does the same: refuses, prepares, partitions, gives back', async () => {
  const lines = [
    'ci prepare --cgroups',
    'ci prepare --cgroups=move',
    'ci prepare --cgroups=move',
    'partition create /production/web --memory 64M --cpus 0.5',
    'partition tree',
    'partition rm /production/web /production',
    'ci prepare --undo',
  ].map((line) => `node /programs/main.mjs ${line}${line.startsWith('ci') ? ' --host' : ''} 2>&1; echo "exit $?"`);
  const left = 'cat /sys/fs/cgroup/cgroup.subtree_control; find /sys/fs/cgroup -mindepth 1 -type d';
  const ran = await guest?.run(`box -f b sh -c '${[...lines, left].join('; ')}'`);
  const [refused, prepared, again, created, tree, removed, undone, rest] = (ran?.stdout ?? '').split(/^exit /m);
  expect(refused).toMatch(/nestling ci prepare --cgroups=move/);
  expect(prepared).toMatch(
    /^1\ncgroup controllers for guests [^]*echo \+memory > \/sys\/fs\/cgroup\/cgroup.subtree_control/,
  );
  expect(again).toMatch(/^0\ncgroup controllers for guests: already\n/);
  expect(created).toBe('0\n');
  expect(tree).toMatch(/^0\n\/production [^]*\n  web {2}\(memory at most 64 MiB, 0\.5 CPUs/);
  expect([removed, undone, rest]).toEqual(['0\n', expect.stringMatching(/^0\n/), '0\n']);
});

it.skipIf(why !== undefined)('nothing is left in the guest’s hierarchy', async () => {
  expect((await guest?.run('find /sys/fs/cgroup -mindepth 1 -type d'))?.stdout).toBe('');
});

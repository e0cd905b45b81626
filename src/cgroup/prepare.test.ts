/** Plans for fake hosts: a v2 hierarchy of plain files, which take every write. What the kernel makes of it is shown in a guest. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatActions } from './apply.ts';
import type { CgroupHost, UnifiedState } from './host.ts';
import { type PrepareOptions, type PreparePlan, planPrepare, prepare } from './prepare.ts';

const ALL = ['cpuset', 'cpu', 'io', 'memory', 'pids'];
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cgroup-prepare-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

interface FakeHost {
  readonly unified?: Partial<UnifiedState>;
  readonly controllers?: readonly string[];
  readonly own?: string;
  readonly writable?: boolean;
  readonly readOnly?: boolean;
}

function v2Host({
  unified,
  controllers = ALL,
  own = root,
  writable = true,
  readOnly = false,
}: FakeHost = {}): CgroupHost {
  return {
    mode: 'v2',
    hierarchies: [
      {
        version: 2,
        controllers,
        mountPoint: root,
        mountRoot: '/',
        ownPath: own.slice(root.length) || '/',
        ownDirectory: own,
        readOnly,
        writable,
      },
    ],
    unified: { type: 'domain', enabled: [], processes: 2, delegation: 'none', ...unified },
    namespace: 'private',
    systemd: false,
    disabled: [],
  };
}

/** As shell lines with the root left out. */
function lines(plan: PreparePlan): string[] {
  return formatActions(plan.actions).replaceAll(root, '').trim().split('\n');
}

const MINE: PrepareOptions = { residents: [17, 18], ownPids: [17, 18] };

describe('a populated group that is no root', () => {
  it('is emptied into a leaf, then gives one controller after the other, memory first', () => {
    const plan = planPrepare(v2Host(), MINE);
    expect(plan.refusals).toEqual([]);
    expect(lines(plan)).toEqual([
      'mkdir -p /init.scope',
      'for pid in 17 18; do echo $pid > /init.scope/cgroup.procs; done',
      'echo +memory > /cgroup.subtree_control',
      'echo +io > /cgroup.subtree_control',
      'echo +pids > /cgroup.subtree_control',
      'echo +cpu > /cgroup.subtree_control',
      'echo +cpuset > /cgroup.subtree_control',
    ]);
    expect(plan.notes.join('\n')).toContain(`2 processes move to ${root}/init.scope`);
  });

  it('is left alone when others are in it, who are named', () => {
    const plan = planPrepare(v2Host(), { residents: [1, 17], ownPids: [17] });
    expect(plan.actions).toEqual([]);
    expect(plan.refusals[0]?.message).toMatch(/processes of other programs are in it \(pid 1\).*nestling ci prepare/);
    expect(() => prepare(plan)).toThrow(plan.refusals[0]);
  });

  it('is emptied of others too when that is asked for', () => {
    const plan = planPrepare(v2Host(), { residents: [1, 17], ownPids: [17], moveForeign: true });
    expect(lines(plan)[1]).toBe('for pid in $(cat /cgroup.procs); do echo $pid > /init.scope/cgroup.procs; done');
  });

  it('cannot be emptied of processes that this PID namespace does not see', () => {
    const plan = planPrepare(v2Host(), { residents: [0, 0, 17], ownPids: [17], moveForeign: true });
    expect(plan.actions).toEqual([]);
    expect(plan.refusals[0]?.message).toMatch(/2 of its processes belong to another PID namespace/);
  });

  it('by default is asked for its processes, and this one is its own', () => {
    writeFileSync(join(root, 'cgroup.procs'), `${process.pid}\n`);
    expect(lines(planPrepare(v2Host()))[1]).toMatch(new RegExp(`for pid in (\\d+ )*${process.pid}( \\d+)*; do`));
  });

  it('gets back what was taken: controllers first, then its processes', () => {
    const plan = planPrepare(v2Host({ controllers: ['memory', 'cpu'] }), MINE);
    expect(formatActions(plan.undo).replaceAll(root, '').trim().split('\n')).toEqual([
      'echo -cpu > /cgroup.subtree_control',
      'echo -memory > /cgroup.subtree_control',
      'for pid in $(cat /init.scope/cgroup.procs); do echo $pid > /cgroup.procs; done',
      'rmdir /init.scope',
    ]);
  });
});

describe('a threaded group', () => {
  const threaded: FakeHost = { unified: { type: 'domain threaded', enabled: ['cpuset', 'cpu'] } };

  it('becomes a domain again first', () => {
    const plan = planPrepare(v2Host(threaded), MINE);
    expect(lines(plan).slice(0, 3)).toEqual([
      'echo -cpuset > /cgroup.subtree_control',
      'echo -cpu > /cgroup.subtree_control',
      'mkdir -p /init.scope',
    ]);
    expect(lines(plan).slice(4).join(' ')).toMatch(/\+memory.*\+io.*\+pids.*\+cpu.*\+cpuset/);
    // Its processes can only come back when nothing is enabled.
    expect(formatActions(plan.undo)).toMatch(/-cpuset[^]*-cpu [^]*-memory[^]*for pid/);
  });

  it('does so even if what is asked for is enabled already: no process could join a group in it', () => {
    const plan = planPrepare(v2Host(threaded), { ...MINE, controllers: ['cpu'] });
    expect(lines(plan)).toContain('echo -cpu > /cgroup.subtree_control');
    expect(lines(plan)).toContain('echo +cpu > /cgroup.subtree_control');
    expect(lines(plan)).toContain('echo +cpuset > /cgroup.subtree_control');
  });

  it.each([
    ['threaded', [], /cannot be taken back.*another group/],
    ['domain invalid', [], /cannot be taken back/],
    ['domain threaded', [], /a group in it is threaded.*remove/],
  ] as const)('%s with %j enabled is refused', (type, enabled, message) => {
    const { actions, refusals } = planPrepare(v2Host({ unified: { type, enabled } }), MINE);
    expect(actions).toEqual([]);
    expect(refusals[0]?.message).toMatch(message);
    expect(refusals[0]?.errno).toBe('EOPNOTSUPP');
  });
});

describe('nothing is moved', () => {
  it('in the real root, which may hold processes', () => {
    const plan = planPrepare(v2Host({ unified: { type: 'root' } }), { residents: [1], ownPids: [] });
    expect(lines(plan)).toHaveLength(ALL.length);
    expect(lines(plan)[0]).toBe('echo +memory > /cgroup.subtree_control');
  });

  it('when all is enabled already', () => {
    const plan = planPrepare(v2Host({ unified: { enabled: ALL } }), { residents: [], ownPids: [] });
    expect(plan).toMatchObject({ actions: [], undo: [], refusals: [] });
  });

  it('when the caller sits in the leaf: guests go beside it', () => {
    const own = join(root, 'init.scope');
    mkdirSync(own);
    writeFileSync(join(root, 'cgroup.type'), 'domain\n');
    writeFileSync(join(root, 'cgroup.controllers'), ALL.join(' '));
    writeFileSync(join(root, 'cgroup.subtree_control'), ALL.join(' '));
    const plan = planPrepare(v2Host({ own }));
    expect(plan).toMatchObject({ directory: root, actions: [], refusals: [] });
  });
});

describe('what cannot be', () => {
  it.each([
    [{ readOnly: true, writable: false }, 'EROFS', /--privileged/],
    [{ writable: false }, 'EACCES', /Delegate=yes/],
  ] as const)('%j is refused with %s', (fake, errno, fix) => {
    const [refusal] = planPrepare(v2Host(fake), MINE).refusals;
    expect(refusal?.errno).toBe(errno);
    expect(refusal?.fix).toMatch(fix);
  });

  it('a controller that is asked for by name and is not there', () => {
    const plan = planPrepare(v2Host({ controllers: ['memory'] }), { ...MINE, controllers: ['memory', 'io'] });
    expect(plan.refusals[0]).toMatchObject({ errno: 'ENOENT', value: '+io' });
  });

  it('hosts without any hierarchy, and those that need nothing', () => {
    const none: CgroupHost = { mode: 'none', hierarchies: [], namespace: 'host', systemd: false, disabled: [] };
    expect(planPrepare(none).refusals[0]?.fix).toContain('mount -t cgroup2');
    const [hierarchy] = v2Host().hierarchies;
    if (hierarchy === undefined) throw new Error('no hierarchy');
    const v1: CgroupHost = { ...none, mode: 'v1', hierarchies: [{ ...hierarchy, version: 1, controllers: ['cpu'] }] };
    expect(planPrepare(v1)).toMatchObject({ actions: [], refusals: [], notes: [expect.stringContaining('v1')] });
    const unseen: CgroupHost = { ...none, mode: 'v2', hierarchies: [{ ...hierarchy, ownDirectory: undefined }] };
    expect(planPrepare(unseen).refusals[0]?.fix).toContain('--cgroupns=private');
  });
});

describe('carrying out', () => {
  const noResidents: PrepareOptions = { residents: [], ownPids: [] };

  it('says which controllers groups have then', () => {
    writeFileSync(join(root, 'cgroup.subtree_control'), '');
    const plan = planPrepare(v2Host({ controllers: ['memory'] }), noResidents);
    // A file keeps what is written to it, where the kernel would leave the sign out.
    expect(prepare(plan)).toMatchObject({ enabled: ['+memory'], tolerated: [] });
    expect(readFileSync(join(root, 'cgroup.subtree_control'), 'utf8')).toBe('+memory');
  });

  it('fails when not a single controller can be had, with the first error', () => {
    const plan = planPrepare(v2Host(), noResidents);
    expect(() => prepare(plan)).toThrow(/cannot write '\+memory' to .*cgroup.subtree_control: ENOENT/);
  });
});

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CgroupAction, CgroupError } from './action.ts';
import { applyActions, formatActions, removeGroups } from './apply.ts';
import { ruleOf } from './rules.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cgroup-apply-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const write = (file: string, value: string): CgroupAction => ({ kind: 'write', directory: root, file, value });

describe('changes', () => {
  it('are carried out in order, and say what they made', () => {
    writeFileSync(join(root, 'memory.max'), 'max');
    const { made } = applyActions([
      { kind: 'mkdir', directory: join(root, 'a') },
      { kind: 'mkdir', directory: join(root, 'a') },
      write('memory.max', '123'),
    ]);
    expect(made).toEqual([join(root, 'a')]);
    expect(readFileSync(join(root, 'memory.max'), 'utf8')).toMatch(/^123/);
  });

  it('stop at the first that fails, with group, file, value, errno, rule and fix', () => {
    const error = errorOf(() =>
      applyActions([write('cgroup.procs', '17'), { kind: 'mkdir', directory: join(root, 'later') }]),
    );
    expect(error).toMatchObject({ directory: root, file: 'cgroup.procs', value: '17', errno: 'ENOENT' });
    expect(error.rule).toBeTruthy();
    expect(error.fix).toBeTruthy();
    expect(error.message).toContain(`cannot write '17' to ${root}/cgroup.procs: ENOENT (`);
    expect(() => readFileSync(join(root, 'later'))).toThrow(/ENOENT/);
  });

  it('may be allowed to fail, and then leave a note', () => {
    const tolerate = { errnos: ['ENOENT'], note: 'no swap limit' };
    const action: CgroupAction = { kind: 'write', directory: root, file: 'x', value: '1', tolerate };
    expect(applyActions([action]).notes[0]).toMatch(/^no swap limit: cannot write/);
  });

  it('copy what a new v1 cpuset lacks, and leave what it has', () => {
    mkdirSync(join(root, 'child'));
    for (const [path, text] of [
      ['cpuset.cpus', '0-3\n'],
      ['cpuset.mems', '0\n'],
      ['child/cpuset.cpus', '\n'],
      ['child/cpuset.mems', '1\n'],
    ] as const) {
      writeFileSync(join(root, path), text);
    }
    const directory = join(root, 'child');
    applyActions(['cpuset.cpus', 'cpuset.mems'].map((file) => ({ kind: 'copy-from-parent', directory, file })));
    expect(readFileSync(join(directory, 'cpuset.cpus'), 'utf8').trim()).toBe('0-3');
    expect(readFileSync(join(directory, 'cpuset.mems'), 'utf8')).toBe('1\n');
  });

  it('write a line even when there is nothing to say: the kernel does not see an empty write', () => {
    writeFileSync(join(root, 'cpuset.cpus'), '');
    applyActions([write('cpuset.cpus', '')]);
    expect(readFileSync(join(root, 'cpuset.cpus'), 'utf8')).toBe('\n');
  });

  it('tell which errors were allowed', () => {
    const tolerate = { errnos: ['ENOENT'], note: 'guests go without cpu' };
    const action: CgroupAction = { kind: 'write', directory: root, file: 'x', value: '+cpu', tolerate };
    const { tolerated } = applyActions([action]);
    expect(tolerated[0]).toMatchObject({ errno: 'ENOENT', value: '+cpu' });
    mkdirSync(join(root, 'y'));
    // Another errno (here EISDIR) is an error like any.
    expect(errorOf(() => applyActions([{ ...action, file: 'y' }])).errno).toBe('EISDIR');
  });

  it('move only the processes that are named, and end when none of them is left', () => {
    mkdirSync(join(root, 'leaf'));
    writeFileSync(join(root, 'cgroup.procs'), '1\n0\n');
    writeFileSync(join(root, 'leaf/cgroup.procs'), '');
    applyActions([{ kind: 'evacuate', from: root, to: join(root, 'leaf'), pids: [17] }]);
    expect(readFileSync(join(root, 'leaf/cgroup.procs'), 'utf8')).toBe('');
  });

  it('remove groups deepest first; what is gone already is fine', async () => {
    mkdirSync(join(root, 'a/b/c'), { recursive: true });
    mkdirSync(join(root, 'a/d'));
    applyActions([{ kind: 'rmdir', directory: join(root, 'a/b') }]);
    expect(existsSync(join(root, 'a/b'))).toBe(false);
    await removeGroups([join(root, 'a'), join(root, 'a/d'), join(root, 'gone')]);
    expect(existsSync(join(root, 'a'))).toBe(false);
  });

  it('do not wait for what can never be removed', async () => {
    mkdirSync(join(root, 'a'));
    writeFileSync(join(root, 'a/file'), '');
    const error = await removeGroups([join(root, 'a')]).catch((reason: unknown) => reason);
    // What holds files is no group: not waited for.
    expect(error).toMatchObject({ errno: 'ENOTEMPTY', operation: 'remove' });
  });

  it('give up on a group that cannot be emptied', () => {
    mkdirSync(join(root, 'leaf'));
    writeFileSync(join(root, 'cgroup.procs'), '5\n6\n');
    writeFileSync(join(root, 'leaf/cgroup.procs'), '');
    const action: CgroupAction = { kind: 'evacuate', from: root, to: join(root, 'leaf') };
    expect(errorOf(() => applyActions([action])).message).toMatch(/rounds/);
  });

  it('can be printed as shell commands', () => {
    expect(
      formatActions([
        { kind: 'mkdir', directory: '/sys/fs/cgroup/a b' },
        { kind: 'write', directory: '/sys/fs/cgroup/x', file: 'cpu.max', value: '50000 100000' },
        { kind: 'rmdir', directory: '/sys/fs/cgroup/x' },
      ]),
    ).toBe("mkdir -p '/sys/fs/cgroup/a b'\necho '50000 100000' > /sys/fs/cgroup/x/cpu.max\nrmdir /sys/fs/cgroup/x\n");
  });
});

describe('shell lines', () => {
  it('do on a real file system what the changes do', () => {
    const odd = join(root, "it's a group");
    const actions: CgroupAction[] = [
      { kind: 'mkdir', directory: odd },
      { kind: 'write', directory: odd, file: 'cpu.max', value: '$HOME 1' },
      { kind: 'copy-from-parent', directory: odd, file: 'cpuset.cpus' },
      { kind: 'evacuate', from: root, to: odd },
      { kind: 'attach-device-program', directory: odd, rules: [] },
    ];
    writeFileSync(join(root, 'cpuset.cpus'), '0-3\n');
    writeFileSync(join(root, 'cgroup.procs'), '17\n18\n');
    execFileSync('sh', ['-e', '-c', formatActions(actions)]);
    expect(readFileSync(join(odd, 'cpu.max'), 'utf8')).toBe('$HOME 1\n');
    expect(readFileSync(join(odd, 'cpuset.cpus'), 'utf8')).toBe('0-3\n');
    expect(readFileSync(join(odd, 'cgroup.procs'), 'utf8')).toBe('18\n');
  });
});

describe('kernel rules', () => {
  it.each([
    ['write', 'cgroup.subtree_control', 'EBUSY', /holds processes/],
    ['write', 'cgroup.subtree_control', 'EOPNOTSUPP', /threaded/],
    ['write', 'cgroup.procs', 'EOPNOTSUPP', /domain invalid/],
    ['write', 'memory.memsw.limit_in_bytes', 'ENOENT', /count swap/],
    ['write', 'cpu.cfs_quota_us', 'EINVAL', /period/],
    ['write', 'io.max', 'ENODEV', /block device/],
    ['write', 'cpuset.cpus', 'EBUSY', /still uses/],
    ['write', 'cgroup.kill', 'EOPNOTSUPP', /threaded/],
    ['write', 'cgroup.subtree_control', 'EINVAL', /real-time/],
    ['write', 'cgroup.subtree_control', 'ENOENT', /not in cgroup.controllers/],
    ['write', 'tasks', 'ENOSPC', /cpuset/],
    ['write', 'memory.limit_in_bytes', 'EBUSY', /below what the group uses/],
    ['make', undefined, 'EAGAIN', /descendants/],
    ['write', 'anything', 'EROFS', /read-only/],
    ['remove', undefined, 'EBUSY', /processes or groups/],
  ] as const)('%s %s %s', (operation, file, errno, words) => {
    expect(ruleOf(operation, file, errno)?.rule).toMatch(words);
  });

  it('that are not known are not made up', () => expect(ruleOf('write', 'x', 'EXYZ')).toBeUndefined());
});

function errorOf(body: () => unknown): CgroupError {
  try {
    body();
  } catch (error) {
    if (error instanceof CgroupError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

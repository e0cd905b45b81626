/**
 * Cgroups of this host, whatever it has, without guests: limits that hold, device rules, the kernel's refusals, and what dead guests left.
 * Guests in them: cgroup-guests.test.ts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  applyActions,
  CgroupError,
  type CgroupHost,
  detectCgroups,
  detectDelegation,
  deviceRules,
  findStaleGroups,
  freeze,
  killAll,
  libvirtHierarchy,
  loadDevicePrograms,
  planGroup,
  planTuning,
  readStats,
  removeGroups,
  removeStaleGroups,
  thaw,
  v1Hierarchy,
  v2Hierarchy,
} from '../../src/cgroup/index.ts';
import { cgroupRemovers } from '../../src/cgroup/ledger-remover.ts';

const host = detectCgroups();
const hasV1 = ['cpu', 'memory', 'pids', 'freezer'].every((name) => v1Hierarchy(host, name)?.writable === true);
const canTest = process.getuid?.() === 0 && hasV1;
if (!canTest)
  process.stderr.write(
    '\nSKIPPED: v1 groups with limits: no writable cpu, memory, pids and freezer hierarchies here\n\n',
  );

const LEDGER = { procRoot: '/proc', sameBoot: true, signal: undefined };
const read = (path: string): string => readFileSync(path, 'utf8').trim();

describe.skipIf(!canTest)('groups by themselves', () => {
  const plan = planGroup({
    host,
    base: 'root',
    names: [`nestling-test-${process.pid}`],
    makeAbove: () => true,
    wanted: ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids', 'freezer'],
    demanded: [],
  });
  beforeAll(() => applyActions(plan.actions));
  afterAll(async () => await removeGroups(plan.directories));

  /** A shell in the group. */
  async function inGroup(
    script: string,
    onOutput?: () => void,
  ): Promise<{ status: number | null; signal: string | null; output: string; pid: number }> {
    const files = plan.directories.map((directory) => `${directory}/cgroup.procs`);
    const child = spawn('sh', ['-c', `for f in ${files.join(' ')}; do echo $$ > $f; done; ${script}`]);
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += String(chunk);
      onOutput?.();
    });
    child.stderr.on('data', (chunk) => (output += String(chunk)));
    const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
    return { status, signal, output, pid: child.pid ?? 0 };
  }

  it('a limit of memory kills what goes beyond it, and is counted', async () => {
    applyActions(planTuning(plan.place, { memory: { hardLimitKiB: 32 * 1024 } }));
    const before = readStats(plan.place).oomKills ?? 0;
    const { status, signal } = await inGroup('exec tail /dev/zero');
    expect([status, signal]).toEqual([null, 'SIGKILL']);
    expect(readStats(plan.place).oomKills).toBe(before + 1);
  });

  it('a limit of processes keeps them from forking', async () => {
    applyActions(planTuning(plan.place, { pids: { max: 1 } }));
    const { output } = await inGroup('true & wait');
    applyActions(planTuning(plan.place, { pids: { max: 0 } }));
    expect(output).toMatch(/fork/i);
  });

  it('a quota throttles', async () => {
    applyActions(planTuning(plan.place, { cpu: { periodUs: 100_000, quotaUs: 5000 } }));
    await inGroup('i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done');
    expect(readStats(plan.place).throttled?.periods).toBeGreaterThan(0);
    applyActions(planTuning(plan.place, { cpu: { quotaUs: -1 } }));
  });

  it('are stopped, continued and killed as one', async () => {
    let ended: ReturnType<typeof inGroup> | undefined;
    await new Promise<void>((resolve) => {
      ended = inGroup('sleep 1000 & echo up; sleep 1000', resolve);
    });
    await freeze(plan.place);
    expect(read(`${plan.place.v1['freezer']}/freezer.state`)).toBe('FROZEN');
    await thaw(plan.place);
    await killAll(plan.place);
    expect((await ended)?.signal).toBe('SIGKILL');
  });
});

describe.skipIf(process.getuid?.() !== 0 || v2Hierarchy(host)?.writable !== true)('device rules on v2', () => {
  it('let nothing be opened but what they allow', async () => {
    const unified = v2Hierarchy(host)?.mountPoint ?? '';
    const directory = `${unified}/nestling-devices-${process.pid}`;
    mkdirSync(directory);
    try {
      const place = { path: '/x', v1: {}, v2: { directory, controllers: [] } };
      const { notes } = applyActions(planTuning(place, { devices: deviceRules(['/dev/null']) }), {
        attach: await loadDevicePrograms(),
      });
      expect(notes).toEqual([]);
      const script = `echo $$ > ${directory}/cgroup.procs; cat /dev/null && echo null; head -c1 /dev/zero || echo no zero`;
      const child = spawn('sh', ['-c', script]);
      let output = '';
      child.stdout.on('data', (chunk) => (output += String(chunk)));
      await once(child, 'close');
      expect(output).toBe('null\nno zero\n');
    } finally {
      rmdirSync(directory);
    }
  });
});

describe.skipIf(!canTest)("the kernel's refusals", () => {
  /** A group of one hierarchy, removed again. */
  async function inNewGroup<T>(controller: string, body: (directory: string) => T | Promise<T>): Promise<T> {
    const top = v1Hierarchy(host, controller)?.mountPoint ?? '';
    const directory = `${top}/nestling-refusals-${process.pid}`;
    applyActions([{ kind: 'mkdir', directory }]);
    try {
      return await body(directory);
    } finally {
      await removeGroups([directory]);
    }
  }

  function refusalOf(directory: string, file: string, value: string): CgroupError {
    try {
      applyActions([{ kind: 'write', directory, file, value }]);
    } catch (error) {
      if (error instanceof CgroupError) return error;
      throw error;
    }
    throw new Error(`${file} took ${value}`);
  }

  it.skipIf(v1Hierarchy(host, 'cpuset')?.writable !== true)('a cpuset without CPUs takes no process', async () => {
    await inNewGroup('cpuset', (directory) => {
      const error = refusalOf(directory, 'cgroup.procs', String(process.pid));
      expect(error).toMatchObject({ errno: 'ENOSPC', rule: expect.stringContaining('without CPUs') });
      applyActions(['cpuset.cpus', 'cpuset.mems'].map((file) => ({ kind: 'copy-from-parent', directory, file })));
      expect(read(`${directory}/cpuset.cpus`)).toBe(read(`${directory}/../cpuset.cpus`));
      mkdirSync(`${directory}/inner`);
      applyActions([{ kind: 'copy-from-parent', directory: `${directory}/inner`, file: 'cpuset.cpus' }]);
      expect(refusalOf(directory, 'cpuset.cpus', '')).toMatchObject({ errno: 'EBUSY', rule: expect.any(String) });
      expect(refusalOf(directory, 'cpuset.cpus', '4095')).toMatchObject({ rule: expect.any(String) });
    });
  });

  it('a group cannot have more CPU time than the one above', async () => {
    await inNewGroup('cpu', (directory) => {
      const inner = `${directory}/inner`;
      applyActions([
        { kind: 'mkdir', directory: inner },
        { kind: 'write', directory, file: 'cpu.cfs_quota_us', value: '10000' },
      ]);
      const error = refusalOf(inner, 'cpu.cfs_quota_us', '90000');
      expect(error.message).toBe(
        `cannot write '90000' to ${inner}/cpu.cfs_quota_us: EINVAL (${error.rule}); ${error.fix}`,
      );
      expect(error.rule).toContain('higher up');
      expect(refusalOf(inner, 'cpu.nonsense', '1')).toMatchObject({ errno: 'ENOENT' });
      expect(refusalOf(`${directory}/none`, 'cpu.shares', '1')).toMatchObject({ errno: 'ENOENT' });
    });
  });

  it('a group with a process in it stays, until the process is gone', async () => {
    await inNewGroup('freezer', async (directory) => {
      const child = spawn('sleep', ['1000']);
      try {
        applyActions([{ kind: 'write', directory, file: 'cgroup.procs', value: String(child.pid) }]);
        expect(() => applyActions([{ kind: 'rmdir', directory }])).toThrow(/EBUSY \(it still has processes/);
        const removal = cgroupRemovers(0).cgroup({ directory }, LEDGER);
        await expect(removal).rejects.toThrow(new RegExp(`pid ${child.pid}`));
        const waiting = removeGroups([directory], { signal: AbortSignal.abort() });
        await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
      } finally {
        child.kill('SIGKILL');
        await once(child, 'close');
      }
      mkdirSync(`${directory}/vcpu0`);
      await cgroupRemovers().cgroup({ directory }, LEDGER);
      expect(existsSync(directory)).toBe(false);
    });
  });

  it('processes are moved until none is left', async () => {
    await inNewGroup('freezer', async (from) => {
      const to = `${from}/leaf`;
      const join = `echo $$ > ${from}/cgroup.procs; sleep 1000 & sleep 1000 & echo up; wait`;
      const child = spawn('sh', ['-c', join], { stdio: ['ignore', 'pipe', 'ignore'] });
      const closed = once(child, 'close');
      try {
        await once(child.stdout, 'data');
        applyActions([
          { kind: 'mkdir', directory: to },
          { kind: 'evacuate', from, to },
        ]);
        expect(read(`${from}/cgroup.procs`)).toBe('');
        expect(read(`${to}/cgroup.procs`).split('\n')).toHaveLength(3);
      } finally {
        await killAll({ path: '/x', v1: { freezer: to } });
        await closed;
      }
    });
  });
});

describe.skipIf(process.getuid?.() !== 0 || v2Hierarchy(host)?.writable !== true)("systemd's mark", () => {
  it('on a group above is read from the kernel', async () => {
    const directory = `${v2Hierarchy(host)?.mountPoint ?? ''}/nestling-delegated-${process.pid}`;
    mkdirSync(directory);
    try {
      const inGroup: CgroupHost = {
        ...host,
        hierarchies: host.hierarchies.map((hierarchy) => {
          return hierarchy.version === 2 ? { ...hierarchy, ownDirectory: `${directory}/inner` } : hierarchy;
        }),
      };
      expect((await detectDelegation(inGroup)).unified?.delegation).toBe('none');
      const { default: koffi } = await import('koffi');
      const declaration = 'int setxattr(const char *path, const char *name, const char *value, size_t size, int flags)';
      expect(koffi.load(null).func(declaration)(directory, 'trusted.delegate', '1', 1, 0)).toBe(0);
      expect((await detectDelegation(inGroup)).unified?.delegation).toBe('systemd');
    } finally {
      rmdirSync(directory);
    }
  });
});

describe.skipIf(!canTest)('what dead guests left', () => {
  it('is found by name and emptiness, in old layouts too, and removed; the living stay', async () => {
    const root = v1Hierarchy(host, 'freezer')?.mountPoint ?? '';
    const top = `${root}/nestling-stale-${process.pid}`;
    const dead = [`${top}/qemu-9-dead.libvirt-qemu`, `${top}/libvirt/qemu/old`];
    const alive = `${top}/qemu-8-alive.libvirt-qemu`;
    for (const directory of [...dead, alive]) mkdirSync(directory, { recursive: true });
    const child = spawn('sleep', ['1000']);
    try {
      writeFileSync(`${alive}/cgroup.procs`, String(child.pid));
      const stale = findStaleGroups({ minimumAgeMs: 0 }).filter(({ directory }) => directory.startsWith(top));
      expect(stale.map(({ directory }) => directory).toSorted()).toEqual(dead.toSorted());
      expect(findStaleGroups().filter(({ directory }) => directory.startsWith(top))).toEqual([]);
      await removeStaleGroups(stale);
      expect(dead.filter((directory) => existsSync(directory))).toEqual([]);
      expect(existsSync(alive)).toBe(true);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
      await removeGroups([top]);
    }
  });
});

it('this host is what its own files say', () => {
  expect(libvirtHierarchy(host, 'memory')?.ownPath).toBe(
    /^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ??
      v2Hierarchy(host)?.ownPath,
  );
});

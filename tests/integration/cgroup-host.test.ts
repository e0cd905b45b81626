/**
 * Cgroups of this host, whatever it has: guests with limits, limits changed while they run, partitions, device rules, and what is left of
 * dead guests. The v2 hierarchy in all its states is tried inside a guest, in cgroup-v2-guest.test.ts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  applyActions,
  CgroupError,
  type CgroupHost,
  createPartition,
  detectCgroups,
  detectDelegation,
  deviceRules,
  findStaleGroups,
  freeze,
  killAll,
  libvirtHierarchy,
  listPartitions,
  loadDevicePrograms,
  planGroup,
  planTuning,
  readPartition,
  readStats,
  removeGroups,
  removePartition,
  removeStaleGroups,
  setPartition,
  thaw,
  v1Hierarchy,
  v2Hierarchy,
} from '../../src/cgroup/index.ts';
import { CGROUP_REMOVERS } from '../../src/cgroup/ledger-remover.ts';
import { connect, type Domain } from '../../src/index.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { wholeDiskOf } from '../support/whole-disk.ts';

const host = detectCgroups();
const hasV1 = ['cpu', 'memory', 'pids', 'freezer'].every((name) => v1Hierarchy(host, name)?.writable === true);
const canTest = process.getuid?.() === 0 && hasV1;
if (!canTest)
  process.stderr.write(
    '\nSKIPPED: v1 groups with limits: no writable cpu, memory, pids and freezer hierarchies here\n\n',
  );

const LEDGER = { procRoot: '/proc', sameBoot: true, signal: undefined };
const LIMITS = `<memtune><hard_limit unit='MiB'>300</hard_limit></memtune>
  <cputune><shares>2048</shares><period>100000</period><quota>50000</quota><emulator_quota>80000</emulator_quota></cputune>`;

let image: string;
beforeAll(async () => {
  image = await bootSectorImage('halt');
});

function guestXml(name: string, elements = LIMITS): string {
  const xml = domainXml({ name, vcpus: 2, disks: [{ path: image, readonly: true }] });
  return xml.replace('</vcpu>', `</vcpu>${elements}`);
}

/** Group of a guest below a directory: its name has the connection's hash in it. */
const groupOf = (directory: string, guest: string): string => {
  const found = readdirSync(directory).find((name) => name.endsWith(`-1-${guest}.libvirt-qemu`));
  return found === undefined ? '' : `${directory}/${found}`;
};
const isGuest = (name: string): boolean => name.endsWith('.libvirt-qemu');
const isKept = (name: string): boolean => name.endsWith('-kept.libvirt-qemu');
const own = (controller: string): string => v1Hierarchy(host, controller)?.ownDirectory ?? '';
const read = (path: string): string => readFileSync(path, 'utf8').trim();

describe.skipIf(!canTest)('a guest with limits', () => {
  it('gets a group below its program, threads where their limits are, and takes it along when it ends', async () => {
    let groups: string[] = [];
    {
      await using connection = await connect('qemu:///embed');
      await using guest = await connection.createDomain(guestXml('limited'));
      groups = ['memory', 'cpu'].map((name) => groupOf(own(name), 'limited'));
      const [memory = '', cpu = ''] = groups;
      expect(read(`${memory}/memory.limit_in_bytes`)).toBe(String(300 * 1024 * 1024));
      expect(read(`${cpu}/cpu.shares`)).toBe('2048');
      expect(read(`${cpu}/vcpu1/cpu.cfs_quota_us`)).toBe('50000');
      expect(read(`${cpu}/emulator/cpu.cfs_quota_us`)).toBe('80000');
      const cpus = (await guest.qemuMonitorCommand('query-cpus-fast')) as { 'thread-id': number }[];
      expect(read(`${cpu}/vcpu0/tasks`)).toBe(String(cpus[0]?.['thread-id']));
      expect(read(`${cpu}/vcpu1/tasks`)).toBe(String(cpus[1]?.['thread-id']));
      expect(groupOf(own('pids'), 'limited')).toBe('');
    }
    expect(groups.filter((path) => existsSync(path))).toEqual([]);
  });

  it('has its limits changed while it runs, and read back from the kernel', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(guestXml('live', ''));
    expect(await guest.schedulerParameters()).toMatchObject({ cpu_shares: 0, vcpu_quota: 0 });
    await guest.setMemoryParameters({ hard_limit: 400 * 1024 });
    await guest.setSchedulerParameters({ cpu_shares: 512, vcpu_quota: 30_000 });
    expect(read(`${groupOf(own('memory'), 'live')}/memory.limit_in_bytes`)).toBe(String(400 * 1024 * 1024));
    expect(read(`${groupOf(own('cpu'), 'live')}/vcpu0/cpu.cfs_quota_us`)).toBe('30000');
    expect(await guest.schedulerParameters()).toMatchObject({ cpu_shares: 512, vcpu_quota: 30_000, global_quota: -1 });
    expect(await guest.memoryParameters()).toMatchObject({ hard_limit: 400 * 1024 });
    await guest.setSchedulerParameters({ vcpu_quota: -1 });
    expect(read(`${groupOf(own('cpu'), 'live')}/vcpu0/cpu.cfs_quota_us`)).toBe('-1');
    expect(await guest.xmlDesc()).toContain("<hard_limit unit='KiB'>409600</hard_limit>");
    const stats = await guest.stats();
    // What the guest had before it moved in stays counted where it was: that is the kernel's rule.
    expect(stats['cgroup.memory.usage']).toBeGreaterThan(0);
    expect(stats['vcpu.0.time']).toBeGreaterThan(0n);
  });

  const disk = wholeDiskOf(tmpdir());
  it.skipIf(disk === undefined || v1Hierarchy(host, 'blkio')?.writable !== true)(
    'has its disk traffic limited while it runs',
    async () => {
      await using connection = await connect('qemu:///embed');
      await using guest = await connection.createDomain(guestXml('disk', ''));
      await guest.setBlkioParameters({ device_read_bytes_sec: `${disk?.path},1048576` });
      const group = groupOf(own('blkio'), 'disk');
      expect(read(`${group}/blkio.throttle.read_bps_device`)).toBe(`${disk?.number} 1048576`);
      expect(await guest.blkioParameters()).toMatchObject({ device_read_bytes_sec: `${disk?.path},1048576` });
      await guest.setBlkioParameters({ device_read_bytes_sec: `${disk?.path},0` });
      expect(read(`${group}/blkio.throttle.read_bps_device`)).toBe('');
      expect(read(`${group}/cgroup.procs`)).not.toBe('');
    },
  );

  it('has virtual CPUs and I/O threads that are plugged in later where their limits and pins are', async () => {
    await using connection = await connect('qemu:///embed');
    const pins = "<iothread_quota>70000</iothread_quota><vcpupin vcpu='1' cpuset='0'/></cputune>";
    const xml = guestXml('plugged', LIMITS.replace('</cputune>', pins)).replace('<vcpu>', "<vcpu current='1'>");
    await using guest = await connection.createDomain(xml);
    const group = groupOf(own('cpu'), 'plugged');
    expect(read(`${group}/vcpu1/tasks`)).toBe('');
    await guest.setVcpus(2, { live: true });
    const cpus = (await guest.qemuMonitorCommand('query-cpus-fast')) as { 'thread-id': number; 'cpu-index': number }[];
    const tid = cpus.find((cpu) => cpu['cpu-index'] === 1)?.['thread-id'];
    expect(read(`${group}/vcpu1/tasks`)).toBe(String(tid));
    expect(read(`/proc/${tid}/status`)).toMatch(/^Cpus_allowed_list:\t0$/m);
    await guest.addIothread(7, { live: true });
    const io = (await guest.qemuMonitorCommand('query-iothreads')) as { 'thread-id': number }[];
    expect(read(`${group}/iothread7/tasks`)).toBe(String(io[0]?.['thread-id']));
    expect(read(`${group}/iothread7/cpu.cfs_quota_us`)).toBe('70000');
  });

  it('of a daemon that starts anew somewhere else is found where it is, limits and all', async () => {
    const places = ['one', 'other'].map((name) => ['memory', 'cpu'].map((of) => `${own(of)}/nestling-test-${name}`));
    const [first = [], second = []] = places;
    for (const directory of places.flat()) mkdirSync(directory);
    const enter = (directories: string[]): string[] => [
      'sh',
      '-c',
      `${directories.map((directory) => `echo $$ > ${directory}/cgroup.procs; `).join('')}exec "$@"`,
      'sh',
    ];
    try {
      await using daemon = await startDaemon([], { prefix: enter(first) });
      const connection = await connect(daemon.uri);
      const limited = await connection.createDomain(guestXml('kept'));
      await connection.createDomain(guestXml('plain', ''));
      await connection.close();
      await daemon.crash({ prefix: enter(second) });
      await using again = await connect(daemon.uri);
      const [memory = '', cpu = ''] = first.map((directory) => `${directory}/${readdirSync(directory).find(isKept)}`);
      const found = await again.lookupDomainByUUID(limited.uuid);
      expect(await found.schedulerParameters()).toMatchObject({ cpu_shares: 2048n, vcpu_quota: 50_000n });
      expect((await found.stats())['cgroup.memory.usage']).toBeGreaterThan(10 * 1024);
      await found.setMemoryParameters({ hard_limit: 400 * 1024 });
      await found.setSchedulerParameters({ vcpu_quota: 40_000 });
      expect(read(`${memory}/memory.limit_in_bytes`)).toBe(String(400 * 1024 * 1024));
      expect(read(`${cpu}/vcpu1/cpu.cfs_quota_us`)).toBe('40000');
      // One that had none gets it where it is, not where the daemon is now.
      const plain = await again.lookupDomainByName('plain');
      await plain.setMemoryParameters({ hard_limit: 500 * 1024 });
      expect(second.flatMap((directory) => readdirSync(directory).filter(isGuest))).toEqual([]);
      expect(readdirSync(first[0] ?? '').filter(isGuest)).toHaveLength(2);
      await found.destroy();
      await plain.destroy();
      expect(first.flatMap((directory) => readdirSync(directory).filter(isGuest))).toEqual([]);
    } finally {
      // Guests of a daemon outlive it, and so do their groups where the test has failed.
      for (const directory of places.flat()) CGROUP_REMOVERS.cgroup({ directory }, LEDGER);
    }
  });

  it('is refused a limit that makes no sense, before anything is changed', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(guestXml('refused', ''));
    await expect(guest.setMemoryParameters({ hard_limit: 2048, swap_hard_limit: 1024 })).rejects.toThrow(
      /cannot be below hard_limit/,
    );
    await expect(guest.setSchedulerParameters({ vcpu_period: 10 })).rejects.toThrow(
      /vcpu_period takes 1000 to 1000000/,
    );
    await expect(guest.setBlkioParameters({ device_weight: 'sda,1' })).rejects.toThrow(/PATH,VALUE/);
    await expect(guest.setMemoryParameters({ hardlimit: 1 })).rejects.toThrow(/no memory parameter 'hardlimit'/);
    await expect(guest.setMemoryParameters({ hard_limit: 9999999 }, { config: true })).rejects.toThrow(/transient/);
    expect(groupOf(own('memory'), 'refused')).toBe('');
  });

  it('of the same name and id on another connection has groups of its own', async () => {
    await using first = await connect('qemu:///embed');
    await using second = await connect('qemu:///embed');
    await using _one = await first.createDomain(guestXml('twin'));
    {
      await using _other = await second.createDomain(guestXml('twin'));
      expect(readdirSync(own('memory')).filter((name) => name.endsWith('-1-twin.libvirt-qemu'))).toHaveLength(2);
    }
    expect(readdirSync(own('memory')).filter((name) => name.endsWith('-1-twin.libvirt-qemu'))).toHaveLength(1);
  });

  it('may be pinned while it runs', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(
      guestXml('pinned', "<cputune><vcpupin vcpu='0' cpuset='0'/></cputune>"),
    );
    expect((await guest.vcpuPins())[0]).toEqual([0]);
    await guest.pinVcpu(1, [0]);
    await guest.pinEmulator([0]);
    expect(await guest.vcpuPins()).toEqual([[0], [0]]);
    expect(await guest.emulatorPin()).toEqual([0]);
    expect(await guest.xmlDesc()).toContain("<vcpupin vcpu='1' cpuset='0'/>");
    await expect(guest.pinVcpu(2, [0])).rejects.toThrow(/no virtual CPU 2/);
    await expect(guest.pinVcpu(0, [4095])).rejects.toThrow(/pin thread/);
  });

  it('whose limits cannot be had does not start, and leaves nothing', async () => {
    await using connection = await connect('qemu:///embed', { config: { cgroupControllers: [] } });
    await expect(connection.createDomain(guestXml('none'))).rejects.toThrow(/cgroup_controllers is an empty list/);
    await using guest = await connection.createDomain(guestXml('free', ''));
    expect(await guest.isActive()).toBe(true);
  });

  it("in libvirt's own layout lies in /machine, with its device list", async () => {
    await using connection = await connect('qemu:///embed', { config: { cgroupLayout: 'machine' } });
    const before = existsSync(`${v1Hierarchy(host, 'memory')?.mountPoint}/machine`);
    {
      await using guest = await connection.createDomain(guestXml('machine', ''));
      const group = groupOf(`${v1Hierarchy(host, 'memory')?.mountPoint}/machine`, 'machine');
      expect(read(`${group}/cgroup.procs`).split('\n')).toHaveLength(1);
      const devices = v1Hierarchy(host, 'devices');
      if (devices !== undefined) {
        const list = read(`${groupOf(`${devices.mountPoint}/machine`, 'machine')}/devices.list`);
        expect(list).toContain('c 1:3 rw');
        expect(list).not.toMatch(/^a /m);
        await expectPluggedDeviceAllowed(guest, `${groupOf(`${devices.mountPoint}/machine`, 'machine')}/devices.list`);
      }
    }
    if (!before) await removePartition('/machine');
  });
});

/** A block device that joins the running guest is the guest's to open: QEMU could not, were its group not told. */
async function expectPluggedDeviceAllowed(guest: Domain, listPath: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'nt-loop-'));
  const file = join(folder, 'disk');
  writeFileSync(file, Buffer.alloc(1024 * 1024));
  const device = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8' }).trim();
  try {
    await guest.attachDevice(
      `<disk type='block'><driver name='qemu' type='raw'/><source dev='${device}'/><target dev='vdx' bus='virtio'/></disk>`,
      { live: true },
    );
    expect(read(listPath)).toContain(`b 7:${device.replace('/dev/loop', '')} rw`);
    await guest.destroy();
  } finally {
    execFileSync('losetup', ['--detach', device]);
    rmSync(folder, { recursive: true });
  }
}

describe.skipIf(!canTest)('partitions', () => {
  const name = `/nestling-${process.pid}`;

  it('are made with the ones above, limited, listed, and removed when empty', async () => {
    createPartition(`${name}/inner`, { memory: { hardLimitKiB: 512 * 1024 }, pids: { max: 50 } });
    try {
      expect(readPartition(`${name}/inner`).limits).toMatchObject({
        memory: { hardLimitKiB: 512 * 1024 },
        pids: { max: 50 },
      });
      setPartition(`${name}/inner`, { memory: { hardLimitKiB: 1024 * 1024 } });
      const tree = listPartitions().find(({ partition }) => partition === name);
      expect(tree?.children[0]?.limits.memory?.hardLimitKiB).toBe(1024 * 1024);
      await expect(removePartition(name)).rejects.toThrow(/EBUSY \(it holds inner.partition\)/);
    } finally {
      await removePartition(`${name}/inner`);
      await removePartition(name);
    }
    expect(listPartitions().some(({ partition }) => partition === name)).toBe(false);
  });

  it('hold the guests whose definitions name them', async () => {
    const xml = guestXml('member', `<resource><partition>${name}</partition></resource>`);
    await using connection = await connect('qemu:///embed');
    await expect(connection.createDomain(xml)).rejects.toThrow(/nestling partition create/);
    createPartition(name, { memory: { hardLimitKiB: 512 * 1024 } });
    try {
      await using _guest = await connection.createDomain(xml);
      expect(readPartition(name).guests).toEqual(['member']);
      await expect(removePartition(name)).rejects.toThrow(CgroupError);
    } finally {
      await removePartition(name);
    }
  });
});

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
        expect(() => CGROUP_REMOVERS.cgroup({ directory }, LEDGER)).toThrow(new RegExp(`pid ${child.pid}`));
        const waiting = removeGroups([directory], { signal: AbortSignal.abort() });
        await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
      } finally {
        child.kill('SIGKILL');
        await once(child, 'close');
      }
      mkdirSync(`${directory}/vcpu0`);
      CGROUP_REMOVERS.cgroup({ directory }, LEDGER);
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

/**
 * Guests in cgroups of this host: limits from the start and changed while they run, libvirt's own layout, partitions. The v2 hierarchy in all
 * its states is tried inside a guest, in cgroup-v2-guest.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  CgroupError,
  createPartition,
  detectCgroups,
  listPartitions,
  readPartition,
  removePartition,
  setPartition,
  v1Hierarchy,
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
      for (const directory of places.flat()) await CGROUP_REMOVERS.cgroup({ directory }, LEDGER);
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

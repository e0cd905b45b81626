/**
 * Tuning of running guests on real QEMU beside what cgroup-host.test.ts shows: where memory comes from, time on each host CPU, and what is told of
 * each change. Groups are those of cgroup v1, below this process's own, or in libvirt's layout.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { detectCgroups, removePartition, v1Hierarchy } from '../../src/cgroup/index.ts';
import { type Connection, connect, type Domain, type DomainEvent, ErrorCode, VirtError } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';

const host = detectCgroups();
const missing = ['cpuset', 'cpu', 'cpuacct'].filter((name) => v1Hierarchy(host, name)?.writable !== true);
const canTest = process.getuid?.() === 0 && missing.length === 0;
if (!canTest)
  process.stderr.write(`\nSKIPPED: live tuning: no writable v1 hierarchies here: ${missing.join(', ')}\n\n`);

let xml: string;
beforeAll(async () => {
  xml = domainXml({ name: 'tuned', vcpus: 2, disks: [{ path: await bootSectorImage('halt'), readonly: true }] });
});

const withElements = (elements: string): string => xml.replace('</vcpu>', `</vcpu>${elements}`);
const read = (path: string): string => readFileSync(path, 'utf8').trim();
const isGuest = (name: string): boolean => name.endsWith('-tuned.libvirt-qemu');

/** The guest's group in a hierarchy, below a directory of it. */
function groupIn(controller: string, below: 'ownDirectory' | 'machine'): string {
  const hierarchy = v1Hierarchy(host, controller);
  const directory = below === 'machine' ? `${hierarchy?.mountPoint}/machine` : (hierarchy?.ownDirectory ?? '');
  const name = existsSync(directory) ? readdirSync(directory).find(isGuest) : undefined;
  return name === undefined ? '' : `${directory}/${name}`;
}

async function codeOf(promise: Promise<unknown>): Promise<{ code: number; message: string }> {
  return await promise.then(
    () => {
      throw new Error('it succeeded');
    },
    ({ code, message }: { code: number; message: string }) => ({ code, message }),
  );
}

describe.skipIf(!canTest)("the memory of a running guest, in libvirt's layout", () => {
  const hadMachine = ['cpuset', 'cpu', 'cpuacct'].every((name) =>
    existsSync(`${v1Hierarchy(host, name)?.mountPoint}/machine`),
  );
  let connection: Connection;
  let guest: Domain;
  beforeAll(async () => {
    connection = await connect('qemu:///embed', { config: { cgroupLayout: 'machine' } });
    guest = await connection.createDomain(
      withElements("<numatune><memory mode='restrictive' nodeset='0'/></numatune>"),
    );
  });
  afterAll(async () => {
    await connection.close();
    if (!hadMachine) await removePartition('/machine');
  });

  it('comes from the nodes of each of its threads, and moves along when these change', async () => {
    const group = groupIn('cpuset', 'machine');
    for (const thread of ['emulator', 'vcpu0', 'vcpu1']) {
      expect(read(`${group}/${thread}/cpuset.mems`)).toBe('0');
      expect(read(`${group}/${thread}/cpuset.memory_migrate`)).toBe('1');
    }
    await guest.setNumaParameters({ numa_nodeset: '0' }, { live: true });
    expect(await guest.numaParameters()).toEqual({ numa_mode: 3, numa_nodeset: '0' });
    expect(await guest.xmlDesc()).toMatch(/<memory mode='restrictive' nodeset='0'( placement='static')?\/>/);
  });

  it('is not moved to nodes that there are not, nor bound in another way', async () => {
    expect(await codeOf(guest.setNumaParameters({ numa_mode: 0 }))).toMatchObject({
      code: ErrorCode.OPERATION_INVALID,
      message: expect.stringContaining("can't change numatune mode for running domain"),
    });
    expect(await codeOf(guest.setNumaParameters({ numa_nodeset: '63' }))).toMatchObject({
      code: ErrorCode.CONFIG_UNSUPPORTED,
      message: expect.stringContaining('NUMA node 63 is unavailable'),
    });
    expect(await guest.numaParameters()).toEqual({ numa_mode: 3, numa_nodeset: '0' });
  });

  it('is counted for each host CPU, with the part of its virtual CPUs', async () => {
    const { perCpu, total } = await guest.cpuStats();
    const counted = read(`${groupIn('cpuacct', 'machine')}/cpuacct.usage_percpu`).split(/\s+/);
    expect(perCpu).toHaveLength(counted.length);
    const sum = (name: string): number => perCpu.reduce((all, one) => all + Number(one?.[name] ?? 0), 0);
    expect(sum('cpu_time')).toBeGreaterThan(0);
    expect(sum('vcpu_time')).toBeLessThanOrEqual(sum('cpu_time'));
    expect(Number(total['cpu_time'])).toBeGreaterThan(0);
  });
});

describe.skipIf(!canTest)('a guest that stays with its caller', () => {
  it('gets a group for its memory when that is bound, and loses it with its end', async () => {
    await using connection = await connect('qemu:///embed');
    const guest = await connection.createDomain(xml);
    expect(groupIn('cpuset', 'ownDirectory')).toBe('');
    await guest.setNumaParameters({ numa_mode: 3, numa_nodeset: '0' });
    const group = groupIn('cpuset', 'ownDirectory');
    expect(read(`${group}/cpuset.mems`)).toBe('0');
    const [pid] = read(`${group}/cgroup.procs`).split('\n');
    expect(read(`/proc/${pid}/comm`)).toContain('qemu');
    expect(await guest.numaParameters()).toEqual({ numa_mode: 3, numa_nodeset: '0' });
    await guest.destroy();
    expect(existsSync(group)).toBe(false);
  });

  it('has performance events counted, from its start or later', async (context) => {
    const dir = mkdtempSync(join(tmpdir(), 'tuning-'));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    await using connection = await connect(`qemu:///embed?root=${dir}`);
    const wanted = withElements("<perf><event name='task_clock' enabled='yes'/></perf>");
    const guest = await (await connection.defineDomain(wanted)).create().then(
      () => connection.lookupDomainByName('tuned'),
      (error: unknown) => error,
    );
    if (guest instanceof VirtError) {
      expect(guest.code).toBe(ErrorCode.SYSTEM_ERROR);
      context.skip(`the kernel counts nothing here: ${guest.message}`);
    }
    const domain = guest as Domain;
    expect(await domain.perfEvents()).toMatchObject({ task_clock: true, page_faults: false });
    // Its threads have done something as soon as QEMU answers.
    await domain.qemuMonitorCommand('query-status');
    expect(Number((await domain.stats({ groups: ['perf'] }))['perf.task_clock'])).toBeGreaterThan(0);
    await domain.setPerfEvents({ page_faults: true, task_clock: false }, { live: true, config: true });
    expect(Object.keys(await domain.stats({ groups: ['perf'] }))).toEqual(['perf.page_faults']);
    expect(await domain.xmlDesc({ inactive: true })).toContain("<event name='page_faults' enabled='yes'/>");
    expect(await codeOf(domain.setPerfEvents({ cmt: true, context_switches: true }))).toMatchObject({
      code: ErrorCode.ARGUMENT_UNSUPPORTED,
    });
    expect(await domain.perfEvents()).toMatchObject({ page_faults: true, context_switches: false, cmt: false });
    await domain.destroy();
    expect(await domain.perfEvents()).toMatchObject({ page_faults: true, task_clock: false });
  });

  it('whose memory QEMU has bound itself keeps its nodes, as with libvirt', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(
      withElements("<numatune><memory mode='strict' nodeset='0'/></numatune>"),
    );
    expect(await codeOf(guest.setNumaParameters({ numa_nodeset: '0' }))).toMatchObject({
      code: ErrorCode.OPERATION_INVALID,
      message: expect.stringContaining('requires restrictive numa mode'),
    });
  });

  it('tells of each limit and pin that is changed while it runs, under libvirt’s names', async () => {
    const connection = await connect('qemu:///embed');
    const told: DomainEvent[] = [];
    const following = (async () => {
      for await (const event of connection.events()) if (event.event === 'tunable') told.push(event);
    })();
    const guest = await connection.createDomain(withElements('<iothreads>1</iothreads>'));
    await guest.pinVcpu(0, [0]);
    await guest.pinEmulator([0]);
    await guest.pinIothread(1, [0]);
    await guest.setSchedulerParameters({ cpu_shares: 512, vcpu_quota: 30_000 });
    await guest.setBlockIoTune('vda', { total_bytes_sec: 1_000_000, group_name: 'slow' });
    await codeOf(guest.setSchedulerParameters({ vcpu_period: 1 }));
    await connection.close();
    await following;
    expect(told.map((event) => (event.event === 'tunable' ? event.parameters : undefined))).toEqual([
      { 'cputune.vcpupin0': '0' },
      { 'cputune.emulatorpin': '0' },
      { 'cputune.iothreadpin1': '0' },
      { 'cputune.cpu_shares': 512, 'cputune.vcpu_quota': 30_000 },
      {
        'blkdeviotune.disk': 'vda',
        'blkdeviotune.total_bytes_sec': 1_000_000,
        'blkdeviotune.group_name': 'slow',
      },
    ]);
  });
});

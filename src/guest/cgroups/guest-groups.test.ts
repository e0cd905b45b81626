import { describe, expect, it } from 'vitest';
import type { CgroupAction } from '../../cgroup/action.ts';
import type { CgroupHierarchy, CgroupHost } from '../../cgroup/host.ts';
import { parseDomain } from '../../model/domain/domain.ts';
import { type GuestGroupsInput, planGuestGroups } from './guest-groups.ts';

/** v1, one hierarchy for each controller. */
const V1: CgroupHost = {
  mode: 'v1',
  hierarchies: ['cpu', 'cpuacct', 'cpuset', 'memory', 'devices', 'blkio', 'freezer', 'pids'].map((name) =>
    hierarchy({ version: 1, controllers: [name], mountPoint: `/cg/${name}`, ownDirectory: `/cg/${name}/job` }),
  ),
  namespace: 'host',
  systemd: false,
  disabled: [],
};

/** v2, whose root is exempt from the rule of inner processes. */
const V2: CgroupHost = {
  mode: 'v2',
  hierarchies: [
    hierarchy({
      version: 2,
      controllers: ['cpu', 'cpuset', 'io', 'memory', 'pids'],
      mountPoint: '/cg',
      ownDirectory: '/cg',
    }),
  ],
  unified: { type: 'root', enabled: ['cpu', 'cpuset', 'io', 'memory', 'pids'], processes: 3, delegation: 'none' },
  namespace: 'host',
  systemd: false,
  disabled: [],
};

function hierarchy(
  fields: Partial<CgroupHierarchy> & Pick<CgroupHierarchy, 'version' | 'mountPoint'>,
): CgroupHierarchy {
  return {
    controllers: [],
    mountRoot: '/',
    ownPath: '/job',
    ownDirectory: undefined,
    readOnly: false,
    writable: true,
    ...fields,
  };
}

function plan(elements: string, options: Partial<GuestGroupsInput> = {}) {
  const xml = `<domain type='qemu'><name>web</name><memory>65536</memory><vcpu>2</vcpu>${elements}<os><type>hvm</type></os></domain>`;
  return planGuestGroups({
    host: V1,
    domain: parseDomain(xml).domain,
    id: 7,
    root: '/r',
    layout: 'inherit',
    ...options,
  });
}

const lines = (actions: readonly CgroupAction[]): string[] =>
  actions.flatMap((action) => (action.kind === 'write' ? [`${action.directory}/${action.file}=${action.value}`] : []));
const short = (text: string): string => text.replaceAll(/qemu-embed-[0-9a-f]{8}-7-web\.libvirt-qemu/g, 'G');

describe('memory of some host nodes', () => {
  const numa = (mode: string): string => `<numatune><memory mode='${mode}' nodeset='1'/></numatune>`;
  const mems = (host: CgroupHost, mode: string): string[] =>
    lines(plan(numa(mode), { host, layout: 'machine' })?.actions ?? [])
      .filter((line) => line.includes('cpuset.mems'))
      .map((line) => line.slice(line.lastIndexOf('libvirt-qemu') + 'libvirt-qemu'.length));

  it.each([V1, V2])('binds the threads where it can be changed later, the whole guest where not: $mode', (host) => {
    expect(mems(host, 'restrictive')).toEqual([
      '/emulator/cpuset.mems=1',
      '/vcpu0/cpuset.mems=1',
      '/vcpu1/cpuset.mems=1',
    ]);
    expect(mems(host, 'strict')).toEqual(['/cpuset.mems=1']);
    expect(mems(host, 'preferred')).toEqual([]);
  });

  it('demands the controller only where a live change does', () => {
    expect(plan(numa('restrictive'))).toBeUndefined();
    const late = plan(numa('restrictive'), { force: true, demands: ['cpuset'] });
    expect(Object.keys(late?.place.v1 ?? {})).toEqual(['cpuset']);
    const none: CgroupHost = {
      ...V1,
      hierarchies: V1.hierarchies.filter(({ controllers }) => !controllers.includes('cpuset')),
    };
    expect(() => plan('', { host: none, force: true, demands: ['cpuset'] })).toThrow(/cpuset/);
  });
});

describe('a guest that stays with its caller', () => {
  it('needs no group without limits, nor for pins', () => {
    expect(plan('')).toBeUndefined();
    expect(plan("<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>")).toBeUndefined();
  });

  it('gets one in the hierarchies of its limits, and in no other', () => {
    const groups = plan('<memtune><hard_limit>1048576</hard_limit></memtune>');
    expect(groups?.directories.map(short)).toEqual(['/cg/memory/job/G']);
    expect(groups?.joins.map(short)).toEqual(['/cg/memory/job/G/cgroup.procs']);
    expect(lines(groups?.actions ?? []).map(short)).toEqual(['/cg/memory/job/G/memory.limit_in_bytes=1073741824']);
  });

  it("gets groups for its threads when they are limited, and begins among the emulator's", () => {
    const groups = plan('<cputune><quota>50000</quota><emulator_quota>9000</emulator_quota></cputune>');
    expect(groups?.threads.map(({ place }) => short(place.v1['cpu'] ?? ''))).toEqual([
      '/cg/cpu/job/G/emulator',
      '/cg/cpu/job/G/vcpu0',
      '/cg/cpu/job/G/vcpu1',
    ]);
    expect(groups?.joins.map(short)).toEqual(['/cg/cpu/job/G/emulator/cgroup.procs']);
    expect(lines(groups?.actions ?? []).map(short)).toEqual(
      expect.arrayContaining([
        '/cg/cpu/job/G/vcpu1/cpu.cfs_quota_us=50000',
        '/cg/cpu/job/G/emulator/cpu.cfs_quota_us=9000',
      ]),
    );
  });

  it("on v2 has threaded groups below its own, and enters the emulator's", () => {
    const groups = plan('<cputune><quota>50000</quota></cputune><memtune><hard_limit>1024</hard_limit></memtune>', {
      host: V2,
    });
    const written = lines(groups?.actions ?? []).map(short);
    expect(written).toEqual(
      expect.arrayContaining([
        '/cg/G/memory.max=1048576',
        '/cg/G/vcpu0/cgroup.type=threaded',
        '/cg/G/cgroup.subtree_control=+cpu',
        '/cg/G/vcpu0/cpu.max=50000 100000',
      ]),
    );
    expect(written.filter((line) => line.includes('/cg/G/cgroup.subtree_control=+memory'))).toEqual([]);
    expect(groups?.joins.map(short)).toEqual(['/cg/G/emulator/cgroup.procs']);
  });

  it('is refused limits that nothing can carry out, by name', () => {
    expect(() => plan('<memtune><hard_limit>1024</hard_limit></memtune>', { controllers: [] })).toThrow(
      /cgroup_controllers is an empty list/,
    );
    expect(() => plan('<memtune><hard_limit>1024</hard_limit></memtune>', { controllers: ['cpu'] })).toThrow(
      /'memory'|memory limits/,
    );
    expect(plan('', { controllers: [] })).toBeUndefined();
  });
});

describe("a guest in libvirt's layout", () => {
  it('lies in /machine, which is made, in all hierarchies that libvirt uses', () => {
    const groups = plan('', { layout: 'machine' });
    expect(groups?.place.path.replace(/qemu-embed-\w+/, 'X')).toBe('/machine/X-7-web.libvirt-qemu');
    expect(Object.keys(groups?.place.v1 ?? {})).toEqual([
      'cpu',
      'cpuacct',
      'cpuset',
      'memory',
      'devices',
      'blkio',
      'freezer',
      'pids',
    ]);
    expect(groups?.actions[0]).toEqual({ kind: 'mkdir', directory: '/cg/cpu/machine' });
    expect(groups?.directories.some((directory) => directory.endsWith('/machine'))).toBe(false);
  });

  it('lies in the partition that its definition names, which must exist', () => {
    const groups = plan('<resource><partition>/vms/prod</partition></resource>', { host: V2 });
    expect(groups?.directories.map((path) => path.replace(/qemu-embed-\w+/, 'X'))[0]).toBe(
      '/cg/vms.partition/prod.partition/X-7-web.libvirt-qemu',
    );
    const made = groups?.actions.flatMap((action) => (action.kind === 'mkdir' ? [action.directory] : []));
    expect(made).not.toContain('/cg/vms.partition');
  });

  it('uses only the controllers that it may', () => {
    const groups = plan('', { layout: 'machine', controllers: ['memory', 'blkio'] });
    expect(Object.keys(groups?.place.v1 ?? {})).toEqual(['memory', 'blkio', 'freezer', 'pids']);
  });
});

it('guests of different connections never share a group', () => {
  const of = (root: string): string | undefined => plan('', { layout: 'machine', root })?.place.path;
  expect(of('/a')).not.toBe(of('/b'));
  expect(of('/a')).toBe(of('/a'));
});

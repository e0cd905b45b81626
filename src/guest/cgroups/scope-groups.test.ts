import { describe, expect, it } from 'vitest';
import type { CgroupAction } from '../../cgroup/action.ts';
import { readCgroupHost } from '../../cgroup/detect.ts';
import type { CgroupPlace } from '../../cgroup/host.ts';
import { parseDomain } from '../../model/domain/domain.ts';
import { planScope, planScopeGroups, type ScopeGroupsInput, unitLimits } from './scope-groups.ts';

const V2 = readCgroupHost({ mounts: '30 1 0:26 / /cg rw - cgroup2 cgroup2 rw', selfCgroup: '0::/', cgroups: '' });
const V1 = readCgroupHost({
  mounts: ['cpu,cpuacct', 'cpuset', 'memory', 'devices']
    .map((name, index) => `${30 + index} 1 0:${26 + index} / /cg/${name} rw - cgroup cgroup rw,${name}`)
    .join('\n'),
  selfCgroup: '2:cpu,cpuacct:/\n3:cpuset:/\n4:memory:/\n5:devices:/',
  cgroups: '',
});
const SCOPE = '/machine.slice/machine-qemu\\x2d7\\x2dweb.scope';
const PLACE: CgroupPlace = {
  path: SCOPE,
  v1: {},
  v2: { directory: `/cg${SCOPE}`, controllers: ['cpu', 'cpuset', 'io', 'memory', 'pids'] },
};

function inputOf(elements = '', options: Partial<ScopeGroupsInput> = {}): ScopeGroupsInput {
  const xml = `<domain type='qemu'><name>web</name><memory>65536</memory><vcpu>2</vcpu>${elements}<os><type>hvm</type></os></domain>`;
  return { host: V2, domain: parseDomain(xml).domain, id: 7, root: '/r', ...options };
}

/** In the order in which they happen. */
function linesOf(actions: readonly CgroupAction[]): string[] {
  return actions.map((action) => {
    const line =
      action.kind === 'write'
        ? `${action.directory}/${action.file}=${action.value}`
        : `${action.kind} ${'directory' in action ? action.directory : ''}`;
    return line.replaceAll(SCOPE, '/S');
  });
}

describe("a guest's scope", () => {
  it('is named as libvirt’s, in machine.slice or in the slice of its partition', () => {
    expect(planScope(inputOf())).toMatchObject({
      machine: expect.stringMatching(/^qemu-embed-[0-9a-f]{8}-7-web$/),
      slice: 'machine.slice',
      tuning: {},
    });
    const elements = '<resource><partition>/vms/prod-1</partition></resource>';
    expect(planScope(inputOf(elements))?.slice).toBe('vms-prod\\x2d1.slice');
  });

  it('is left out when no cgroup may be touched, unless the guest is limited', () => {
    expect(planScope(inputOf('', { controllers: [] }))).toBeUndefined();
    const limited = inputOf('<memtune><hard_limit>4096</hard_limit></memtune>', { controllers: [] });
    expect(() => planScope(limited)).toThrow(/cgroup_controllers is an empty list/);
  });

  it('has the guest’s limits as properties on v2, and libvirt’s two on v1', () => {
    const tuning = { cpu: { shares: 5, quotaUs: 9 }, memory: { hardLimitKiB: 4 }, devices: [] };
    expect(unitLimits(tuning, 2)).toEqual({ cpu: tuning.cpu, memory: tuning.memory });
    expect(unitLimits(tuning, 1)).toEqual({ cpu: { shares: 5 } });
  });

  it('has its threads below a group that systemd leaves alone, entered before controllers are handed down', () => {
    const { actions, directories, place } = planScopeGroups(
      inputOf('<cputune><quota>50000</quota></cputune>'),
      PLACE,
      [11, 12],
    );
    expect(linesOf(actions)).toEqual([
      'mkdir /cg/S/libvirt',
      '/cg/S/libvirt/cgroup.procs=11',
      '/cg/S/libvirt/cgroup.procs=12',
      '/cg/S/cgroup.subtree_control=+cpu',
      '/cg/S/cgroup.subtree_control=+cpuset',
      ...['emulator', 'vcpu0', 'vcpu1'].flatMap((name) => [
        `mkdir /cg/S/libvirt/${name}`,
        `/cg/S/libvirt/${name}/cgroup.type=threaded`,
        '/cg/S/libvirt/cgroup.subtree_control=+cpu',
        '/cg/S/libvirt/cgroup.subtree_control=+cpuset',
        ...(name === 'emulator' ? [] : [`/cg/S/libvirt/${name}/cpu.max=50000 100000`]),
      ]),
      '/cg/S/libvirt/emulator/cgroup.procs=11',
      '/cg/S/libvirt/emulator/cgroup.procs=12',
    ]);
    expect(directories).toContain(`/cg${SCOPE}/libvirt`);
    expect(place.v2?.directory).toBe(`/cg${SCOPE}`);
  });

  it('restricts device nodes in the group that is ours', () => {
    const devices = [{ allow: true, type: 'c', major: 1, minor: 3, access: 'rw' }] as const;
    const { actions } = planScopeGroups(inputOf('', { devices }), PLACE, [11]);
    expect(linesOf(actions)).toContain('attach-device-program /cg/S/libvirt');
  });

  it('is made in the v1 hierarchies that systemd leaves out, and limited there', () => {
    const elements = '<memtune><hard_limit>4096</hard_limit></memtune>';
    const plan = planScopeGroups(inputOf(elements, { host: V1 }), { path: SCOPE, v1: {} }, [11]);
    const lines = linesOf(plan.actions);
    expect(lines).toEqual(
      expect.arrayContaining([
        'mkdir /cg/cpuset/machine.slice',
        'copy-from-parent /cg/cpuset/S',
        '/cg/memory/S/memory.limit_in_bytes=4194304',
        'mkdir /cg/cpu,cpuacct/S/vcpu1',
        '/cg/cpu,cpuacct/S/emulator/cgroup.procs=11',
        '/cg/memory/S/cgroup.procs=11',
      ]),
    );
    expect(lines.some((line) => line.includes('libvirt'))).toBe(false);
  });

  it('refuses a limit whose controller systemd has not got', () => {
    const elements = '<memtune><hard_limit>4096</hard_limit></memtune>';
    const bare = { ...PLACE, v2: { directory: `/cg${SCOPE}`, controllers: ['cpu'] } };
    expect(() => planScopeGroups(inputOf(elements), bare, [11])).toThrow(/controller 'memory' is not enabled/);
    const unwanted = inputOf(elements, { controllers: ['cpu'] });
    expect(() => planScopeGroups(unwanted, PLACE, [11])).toThrow(/controller 'memory' is not enabled/);
  });
});

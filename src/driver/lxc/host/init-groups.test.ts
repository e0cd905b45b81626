import { describe, expect, it } from 'vitest';
import type { CgroupHierarchy, CgroupHost } from '../../../cgroup/host.ts';
import { planInitGroups } from './init-groups.ts';

const hierarchy = (
  given: Pick<CgroupHierarchy, 'version' | 'controllers' | 'mountPoint'> & Partial<CgroupHierarchy>,
): CgroupHierarchy => ({
  mountRoot: '/',
  ownPath: '/job',
  ownDirectory: `${given.mountPoint}/job`,
  readOnly: false,
  writable: true,
  ...given,
});
const host = (mode: CgroupHost['mode'], hierarchies: CgroupHierarchy[]): CgroupHost => ({
  mode,
  hierarchies,
  namespace: 'host',
  systemd: false,
  disabled: [],
});
const MEMORY = hierarchy({ version: 1, controllers: ['memory'], mountPoint: '/cg/memory' });
const NAMED = hierarchy({ version: 1, controllers: [], name: 'systemd', mountPoint: '/cg/systemd' });
const UNIFIED = hierarchy({ version: 2, controllers: ['hugetlb'], mountPoint: '/cg/unified' });
const JOINS = ['/cg/memory/job/lxc-1-box/cgroup.procs'];
const name = 'lxc-1-box';

describe('groups for a container init', () => {
  it('are in the trees without limits, the named one is init’s to write', () => {
    const place = { path: '/job/lxc-1-box', v1: { memory: '/cg/memory/job/lxc-1-box' } };
    expect(planInitGroups(host('hybrid', [MEMORY, NAMED, UNIFIED]), place, { name, joins: JOINS })).toEqual({
      directories: ['/cg/systemd/job/lxc-1-box', '/cg/unified/job/lxc-1-box', '/cg/memory/job/lxc-1-box/init'],
      threaded: [],
      joins: [
        '/cg/memory/job/lxc-1-box/init/cgroup.procs',
        '/cg/systemd/job/lxc-1-box/cgroup.procs',
        '/cg/unified/job/lxc-1-box/cgroup.procs',
      ],
      initGroup: { at: '/cg/systemd', directory: '/cg/systemd/job/lxc-1-box' },
      v2Group: '/cg/unified/job/lxc-1-box',
    });
  });

  it('are threaded below the root of the v2 tree, which alone may have such beside others', () => {
    const hybrid = host('hybrid', [NAMED, { ...UNIFIED, ownPath: '/', ownDirectory: '/cg/unified' }]);
    const own = (type: 'root' | 'domain') => ({ type, enabled: [], processes: 1, delegation: 'none' }) as const;
    const threadedOf = (type: 'root' | 'domain') =>
      planInitGroups({ ...hybrid, unified: own(type) }, undefined, { name, joins: [] }).threaded;
    expect(threadedOf('root')).toEqual(['/cg/unified/lxc-1-box']);
    expect(threadedOf('domain')).toEqual([]);
  });

  it('are below each v1 group whose limits hold below it', () => {
    const v1 = { memory: '/m', cpu: '/c', cpuacct: '/c', cpuset: '/s', pids: '/s', devices: '/d', freezer: '/f' };
    const joins = ['/m', '/c', '/s', '/d', '/f'].map((directory) => `${directory}/cgroup.procs`);
    const planned = planInitGroups(host('v1', [MEMORY]), { path: '/', v1 }, { name, joins });
    // One that is joined with cpuset would ask for CPUs.
    expect(planned.directories).toEqual(['/m/init', '/c/init', '/d/init']);
    expect(planned.joins).toEqual(
      ['/m/init', '/c/init', '/s', '/d/init', '/f'].map((directory) => `${directory}/cgroup.procs`),
    );
    const flat = planInitGroups(host('v1', [MEMORY]), { path: '/', v1 }, { name, joins, guarded: ['devices'] });
    expect(flat.directories).toEqual(['/d/init']);
  });

  it('are left out where nobody may make any', () => {
    const closed = { ...NAMED, writable: false };
    expect(planInitGroups(host('v1', [MEMORY, closed]), undefined, { name, joins: [] })).toEqual({
      directories: [],
      threaded: [],
      joins: [],
      initGroup: undefined,
    });
  });

  it('are below the group with the limits where there is v2 alone', () => {
    const directory = '/cg/job/lxc-1-box';
    const place = { path: '/job/lxc-1-box', v1: {}, v2: { directory, controllers: ['memory'] } };
    const unified = hierarchy({ version: 2, controllers: ['memory'], mountPoint: '/cg' });
    expect(planInitGroups(host('v2', [unified]), place, { name, joins: [`${directory}/cgroup.procs`] })).toEqual({
      directories: [`${directory}/init`],
      threaded: [],
      joins: [`${directory}/init/cgroup.procs`],
      initGroup: { at: '/cg', directory: `${directory}/init` },
      v2Group: directory,
    });
  });

  describe('of a runtime that puts the container there itself', () => {
    const isPlaced = true;

    it('are all below those where the runtime is, also in hierarchies that have none else', () => {
      const place = { path: '/job/lxc-1-box', v1: { memory: '/cg/memory/job/lxc-1-box' } };
      const perf = hierarchy({ version: 1, controllers: ['perf_event'], mountPoint: '/cg/perf_event' });
      const planned = planInitGroups(host('hybrid', [MEMORY, perf, NAMED, UNIFIED]), place, {
        name,
        joins: JOINS,
        isPlaced,
      });
      expect(planned).toEqual({
        directories: [
          '/cg/perf_event/job/lxc-1-box',
          '/cg/systemd/job/lxc-1-box',
          '/cg/unified/job/lxc-1-box',
          '/cg/memory/job/lxc-1-box/init',
        ],
        threaded: [],
        joins: [
          ...JOINS,
          '/cg/perf_event/job/lxc-1-box/cgroup.procs',
          '/cg/systemd/job/lxc-1-box/cgroup.procs',
          '/cg/unified/job/lxc-1-box/cgroup.procs',
        ],
        initGroup: { at: '/cg/systemd', directory: '/cg/systemd/job/lxc-1-box/init' },
        v2Group: '/cg/unified/job/lxc-1-box',
        cgroupsPath: 'init',
      });
    });

    it('are beside that of the runtime where there is v2 alone', () => {
      const directory = '/cg/job/lxc-1-box';
      const place = { path: '/job/lxc-1-box', v1: {}, v2: { directory, controllers: ['memory'] } };
      const unified = hierarchy({ version: 2, controllers: ['memory'], mountPoint: '/cg' });
      const joins = [`${directory}/cgroup.procs`];
      expect(planInitGroups(host('v2', [unified]), place, { name, joins, isPlaced })).toEqual({
        directories: [`${directory}/init`, `${directory}/runtime`],
        threaded: [],
        joins: [`${directory}/runtime/cgroup.procs`],
        initGroup: { at: '/cg', directory: `${directory}/init` },
        v2Group: directory,
        cgroupsPath: '/job/lxc-1-box/init',
      });
    });
  });
});

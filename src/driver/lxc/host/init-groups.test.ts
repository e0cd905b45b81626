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
      directories: ['/cg/systemd/job/lxc-1-box', '/cg/unified/job/lxc-1-box'],
      threaded: [],
      joins: [...JOINS, '/cg/systemd/job/lxc-1-box/cgroup.procs', '/cg/unified/job/lxc-1-box/cgroup.procs'],
      initGroup: { at: '/cg/systemd', directory: '/cg/systemd/job/lxc-1-box' },
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
    });
  });
});

import { describe, expect, it } from 'vitest';
import { readCgroupHost } from './detect.ts';
import { type GroupRequest, planGroup } from './group-plan.ts';

const V1 = readCgroupHost({
  mounts: ['cpu', 'memory']
    .map((name, index) => `${30 + index} 1 0:${26 + index} / /cg/${name} rw - cgroup cgroup rw,${name}`)
    .join('\n'),
  selfCgroup: '2:cpu:/\n3:memory:/',
  cgroups: '',
});

const plan = (fields: Partial<GroupRequest>) =>
  planGroup({ host: V1, base: 'root', names: ['g'], makeAbove: () => true, wanted: [], demanded: [], ...fields });

describe('the plan of a group', () => {
  it('has the controllers that are demanded, wanted or not', () => {
    expect(plan({ wanted: ['cpu'], demanded: ['memory'] }).place.v1).toEqual({
      cpu: '/cg/cpu/g',
      memory: '/cg/memory/g',
    });
    expect(plan({ demanded: ['memory'] }).place.v1).toEqual({ memory: '/cg/memory/g' });
  });

  it('is refused when one of them cannot be had, with the reason', () => {
    expect(plan({ wanted: ['io'] }).place.v1).toEqual({});
    expect(() => plan({ demanded: ['io'] })).toThrow(
      /^cannot have the controller 'blkio' in \/g: it is not mounted here/,
    );
    const allows = (name: string): boolean => name !== 'memory';
    expect(() => plan({ demanded: ['memory'], allows })).toThrow(/cgroup_controllers does not name it; add "memory"/);
  });
});

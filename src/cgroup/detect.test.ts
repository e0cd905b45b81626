import { describe, expect, it } from 'vitest';
import { type CgroupFiles, readCgroupHost } from './detect.ts';
import { v1Hierarchy, v2Hierarchy } from './host.ts';

/** A host made of texts; paths that are not among `contents` cannot be read. */
function files(contents: Record<string, string>, options: { writable?: boolean; owner?: number } = {}): CgroupFiles {
  return {
    read: (path) => contents[path],
    mayWrite: () => options.writable ?? true,
    ownerOf: () => options.owner,
  };
}

const V1 = `
25 20 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
28 25 0:25 / /mnt/my\\040groups/memory rw - cgroup none rw,memory
`;

describe('v1 hosts', () => {
  const host = readCgroupHost({
    mounts: V1,
    selfCgroup: '3:memory:/user\n2:cpu,cpuacct:/\n1:name=systemd:/user.slice\n',
    cgroups: '#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t3\t1\t1\nhugetlb\t0\t1\t0\n',
  });

  it('are told from others, with co-mounted controllers and odd mount points', () => {
    expect(host.mode).toBe('v1');
    expect(v1Hierarchy(host, 'cpuacct')?.mountPoint).toBe('/sys/fs/cgroup/cpu,cpuacct');
    expect(v1Hierarchy(host, 'memory')?.ownDirectory).toBe('/mnt/my groups/memory/user');
    expect(host.hierarchies.find(({ name }) => name === 'systemd')?.ownPath).toBe('/user.slice');
    expect(host.disabled).toEqual(['hugetlb']);
  });
});

describe('containers', () => {
  it('whose mounts begin at their own group see it as the top', () => {
    const { hierarchies } = readCgroupHost({
      mounts: '30 20 0:24 /docker/0abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n',
      selfCgroup: '3:memory:/docker/0abc\n',
      cgroups: '',
    });
    expect(hierarchies[0]).toMatchObject({ ownDirectory: '/sys/fs/cgroup/memory', readOnly: true, writable: false });
  });

  it('that cannot see their own group have no directory of it', () => {
    const mounts = '30 20 0:24 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
    const host = readCgroupHost({ mounts, selfCgroup: '0::/\n', cgroups: '' }, files({}));
    expect(host.hierarchies[0]?.ownDirectory).toBeUndefined();
    expect(host.unified).toBeUndefined();
  });

  it('with a private v2 namespace sit in a populated group that is no root', () => {
    const host = readCgroupHost(
      {
        mounts: '30 20 0:24 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n',
        selfCgroup: '0::/\n',
        cgroups: '',
      },
      files({
        '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory pids\n',
        '/sys/fs/cgroup/cgroup.type': 'domain threaded\n',
        '/sys/fs/cgroup/cgroup.subtree_control': 'cpuset cpu\n',
        '/sys/fs/cgroup/cgroup.procs': '1\n17\n',
      }),
    );
    expect(host.mode).toBe('v2');
    expect(v2Hierarchy(host)?.controllers).toEqual(['cpuset', 'cpu', 'io', 'memory', 'pids']);
    expect(host.unified).toEqual({
      type: 'domain threaded',
      enabled: ['cpuset', 'cpu'],
      processes: 2,
      delegation: 'none',
    });
  });

  it('a group without cgroup.type is the root of the hierarchy', () => {
    const texts = { mounts: '30 20 0:24 / /sys/fs/cgroup rw - cgroup2 none rw\n', selfCgroup: '0::/\n', cgroups: '' };
    expect(readCgroupHost(texts, files({ '/sys/fs/cgroup/cgroup.procs': '1\n' })).unified?.type).toBe('root');
  });
});

describe('other hosts', () => {
  it("rootless: the group is the user's by its path below a slice", () => {
    const host = readCgroupHost(
      {
        mounts: '30 20 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
        selfCgroup: '0::/user.slice/user-1000.slice/run-1.scope\n',
        cgroups: '',
      },
      files({}, { writable: false }),
    );
    expect(v2Hierarchy(host)).toMatchObject({
      ownDirectory: '/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope',
      writable: false,
    });
  });

  it('hybrid hosts have both', () => {
    const mounts = `${V1}31 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n`;
    expect(readCgroupHost({ mounts, selfCgroup: '0::/\n', cgroups: '' }).mode).toBe('hybrid');
  });

  it('hosts without cgroups have none', () => {
    expect(
      readCgroupHost({ mounts: '1 0 0:1 / / rw - ext4 /dev/sda rw\n', selfCgroup: '', cgroups: '' }),
    ).toMatchObject({
      mode: 'none',
      hierarchies: [],
    });
  });
});

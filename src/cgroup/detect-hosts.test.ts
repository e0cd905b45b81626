/** Hosts and containers of several kinds, as their kernels tell of them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CgroupFiles, detectCgroups, readCgroupHost } from './detect.ts';
import { detectDelegation } from './detect-delegation.ts';
import { v1Hierarchy, v2Hierarchy } from './host.ts';

const V2_MOUNT = '30 20 0:24 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate\n';

function files(contents: Record<string, string>, options: { owner?: number; uid?: number } = {}): CgroupFiles {
  return { read: (path) => contents[path], mayWrite: () => true, ownerOf: () => options.owner, uid: options.uid ?? 0 };
}

describe('docker', () => {
  const group = {
    '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory hugetlb pids rdma misc\n',
    '/sys/fs/cgroup/cgroup.type': 'domain\n',
    '/sys/fs/cgroup/cgroup.subtree_control': '\n',
    '/sys/fs/cgroup/cgroup.procs': '1\n8\n9\n',
  };

  it('on v2: a private namespace, mounted read-only', () => {
    const mounts = V2_MOUNT.replace('/sys/fs/cgroup rw', '/sys/fs/cgroup ro');
    const host = readCgroupHost({ mounts, selfCgroup: '0::/\n', cgroups: '' }, files(group));
    expect(host).toMatchObject({ mode: 'v2', namespace: 'private', unified: { type: 'domain', processes: 3 } });
    expect(v2Hierarchy(host)).toMatchObject({ readOnly: true, writable: false, ownDirectory: '/sys/fs/cgroup' });
  });

  it('on v2 with --cgroupns=host and the host mounted: the group lies deep below the top', () => {
    const deep = '/sys/fs/cgroup/system.slice/docker-0abc.scope';
    const selfCgroup = '0::/system.slice/docker-0abc.scope\n';
    const contents = {
      '/sys/fs/cgroup/cgroup.controllers': 'cpu memory\n',
      [`${deep}/cgroup.controllers`]: 'memory\n',
      [`${deep}/cgroup.type`]: 'domain\n',
    };
    const host = readCgroupHost({ mounts: V2_MOUNT, selfCgroup, cgroups: '' }, files(contents));
    expect(host.namespace).toBe('host');
    expect(v2Hierarchy(host)).toMatchObject({ controllers: ['memory'], ownDirectory: deep });
  });

  it('that was entered from outside of its namespace: the own group is above what is visible', () => {
    const selfCgroup = '0::/../../user.slice/session-2.scope\n';
    const host = readCgroupHost({ mounts: V2_MOUNT, selfCgroup, cgroups: '' }, files(group));
    expect(host.namespace).toBe('private');
    expect(host.unified).toBeUndefined();
    expect(v2Hierarchy(host)).toMatchObject({ ownDirectory: undefined, writable: false });
  });
});

describe('podman without root', () => {
  const own = '/sys/fs/cgroup';
  const contents = {
    [`${own}/cgroup.controllers`]: 'memory pids\n',
    [`${own}/cgroup.type`]: 'domain\n',
    [`${own}/cgroup.procs`]: '1\n',
  };
  it.each([
    [1000, 1000, 'owner'],
    [1000, 0, 'none'],
    [0, 0, 'none'],
  ])('user %i in a group of user %i: %s', (uid, owner, delegation) => {
    const texts = { mounts: V2_MOUNT, selfCgroup: '0::/\n', cgroups: '' };
    expect(readCgroupHost(texts, files(contents, { owner, uid })).unified?.delegation).toBe(delegation);
  });

  it('sees only the controllers that the user was given', () => {
    const host = readCgroupHost({ mounts: V2_MOUNT, selfCgroup: '0::/\n', cgroups: '' }, files(contents));
    expect(v2Hierarchy(host)).toMatchObject({ controllers: ['memory', 'pids'], writable: true });
  });
});

describe('LXC', () => {
  it('on v1: mounts are parts of hierarchies, and the own path is the whole one', () => {
    const mounts = [
      '50 40 0:30 /lxc/c1 /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory',
      '51 40 0:31 /lxc/c1 /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct',
      '52 40 0:32 / /sys/fs/cgroup/devices ro,nosuid - cgroup cgroup rw,devices',
    ].join('\n');
    const selfCgroup = '4:devices:/lxc/c1/ns\n3:cpu,cpuacct:/lxc/c1\n2:memory:/lxc/c1/inner\n';
    const host = readCgroupHost({ mounts, selfCgroup, cgroups: '' });
    expect(v1Hierarchy(host, 'memory')?.ownDirectory).toBe('/sys/fs/cgroup/memory/inner');
    expect(v1Hierarchy(host, 'cpu')?.ownDirectory).toBe('/sys/fs/cgroup/cpu,cpuacct');
    expect(v1Hierarchy(host, 'devices')).toMatchObject({
      ownDirectory: '/sys/fs/cgroup/devices/lxc/c1/ns',
      readOnly: true,
    });
  });
});

describe('systemd', () => {
  const scope = '/sys/fs/cgroup/system.slice/run-r1.scope';
  const host = readCgroupHost(
    { mounts: V2_MOUNT, selfCgroup: '0::/system.slice/run-r1.scope/payload\n', cgroups: '' },
    files({ [`${scope}/payload/cgroup.type`]: 'domain\n' }),
  );

  it('a scope with Delegate=yes, and what is in it, is told by the mark on it', async () => {
    const delegated = await detectDelegation(host, (path, name) => path === scope && name === 'trusted.delegate');
    expect(delegated.unified?.delegation).toBe('systemd');
  });

  it('without the mark, or with one beside it, nothing was handed over', async () => {
    const looked: string[] = [];
    const left = await detectDelegation(host, (path) => {
      looked.push(path);
      return path.endsWith('other.scope');
    });
    expect(left.unified?.delegation).toBe('none');
    expect(new Set(looked)).toEqual(
      new Set([`${scope}/payload`, scope, '/sys/fs/cgroup/system.slice', '/sys/fs/cgroup']),
    );
  });
});

describe('Alpine with OpenRC', () => {
  it('is hybrid: v1 controllers, a hierarchy of OpenRC, and a v2 one with what is left', () => {
    const mounts = [
      '31 25 0:30 / /sys/fs/cgroup/openrc rw,nosuid - cgroup openrc rw,release_agent=/lib/rc/sh/cgroup-release-agent.sh,name=openrc',
      '32 25 0:31 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 none rw,nsdelegate',
      '33 25 0:32 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cpuset rw,cpuset',
      '34 25 0:33 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cpu rw,cpu',
    ].join('\n');
    const host = readCgroupHost({
      mounts,
      selfCgroup: '3:cpu:/\n2:cpuset:/\n1:name=openrc:/sshd\n0::/\n',
      cgroups: '',
    });
    expect(host.mode).toBe('hybrid');
    expect(host.hierarchies.find(({ name }) => name === 'openrc')).toMatchObject({
      controllers: [],
      ownDirectory: '/sys/fs/cgroup/openrc/sshd',
    });
    expect(v1Hierarchy(host, 'cpu')?.mountPoint).toBe('/sys/fs/cgroup/cpu');
    // The mount of cpu is not taken for cpuset's, nor the other way round.
    expect(v1Hierarchy(host, 'cpuset')?.mountPoint).toBe('/sys/fs/cgroup/cpuset');
  });
});

describe('a hierarchy that is mounted twice', () => {
  const line = (root: string, point: string) => `60 20 0:40 ${root} ${point} rw - cgroup cgroup rw,memory\n`;

  it('is taken where it was mounted first', () => {
    const host = readCgroupHost({ mounts: line('/', '/a') + line('/', '/b'), selfCgroup: '2:memory:/\n', cgroups: '' });
    expect(host.hierarchies.map(({ mountPoint }) => mountPoint)).toEqual(['/a']);
  });

  it('unless only the second shows the own group', () => {
    const mounts = line('/other', '/a') + line('/mine', '/b');
    const host = readCgroupHost({ mounts, selfCgroup: '2:memory:/mine\n', cgroups: '' });
    expect(host.hierarchies.map(({ ownDirectory }) => ownDirectory)).toEqual(['/b']);
  });
});

describe('a live host', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'cgroup-detect-'));
    mkdirSync(join(root, 'proc/self'), { recursive: true });
    mkdirSync(join(root, 'cgroup/mine'), { recursive: true });
    writeFileSync(join(root, 'proc/self/mountinfo'), `30 20 0:24 / ${root}/cgroup rw - cgroup2 none rw\n`);
    writeFileSync(join(root, 'proc/self/cgroup'), '0::/mine\n');
    writeFileSync(join(root, 'cgroup/cgroup.controllers'), 'memory\n');
    writeFileSync(join(root, 'cgroup/mine/cgroup.controllers'), 'memory\n');
    writeFileSync(join(root, 'cgroup/mine/cgroup.type'), 'threaded\n');
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('is read below the roots that are given', () => {
    const host = detectCgroups({ proc: `${root}/proc`, systemdRuntime: `${root}/none` });
    // There is no namespace to ask in this /proc, so that the files of the visible root count.
    expect(host).toMatchObject({ mode: 'v2', namespace: 'host', systemd: false, unified: { type: 'threaded' } });
    expect(v2Hierarchy(host)?.ownDirectory).toBe(`${root}/cgroup/mine`);
    expect(detectCgroups({ proc: `${root}/proc`, systemdRuntime: root }).systemd).toBe(true);
  });

  it('without /proc cannot be read', () => {
    expect(() => detectCgroups({ proc: `${root}/nothing` })).toThrow(/ENOENT/);
  });
});

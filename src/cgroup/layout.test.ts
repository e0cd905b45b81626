import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  aboveGroup,
  escapeGroupName,
  escapeUnitName,
  machineGroupName,
  machineName,
  parseGuestGroup,
  partitionOfPath,
  partitionPath,
  scopeName,
  sliceName,
  slicePath,
  unescapeUnitName,
} from './layout.ts';

describe('guests', () => {
  it.each([
    ['web', 'qemu-1-web.libvirt-qemu'],
    ['my web_server.example', 'qemu-1-mywebserver.example.libvirt-qemu'],
    ['--a..b--c', 'qemu-1-a.b-c.libvirt-qemu'],
    ['größe', 'qemu-1-gre.libvirt-qemu'],
    ['demo.-.test.', 'qemu-1-demo.test.libvirt-qemu'],
    ['', 'qemu-1.libvirt-qemu'],
  ])('%j is %s', (name, group) => expect(machineGroupName({ driver: 'qemu', id: 1, name })).toBe(group));

  it('have names of 64 characters at most', () => {
    expect(machineName({ driver: 'lxc', id: 12, name: 'x'.repeat(300) })).toHaveLength(64);
  });

  it('whose names are cut do not end with a dash or a dot', () => {
    const name = `${'x'.repeat(56)}-${'y'.repeat(20)}`;
    expect(machineName({ driver: 'qemu', id: 1, name })).toBe(`qemu-1-${'x'.repeat(56)}`);
  });

  it('tell where their starter was', () => {
    const group = 'qemu-1-web.libvirt-qemu';
    const seen = `5:cpu,cpuacct:/job:7/${group}/emulator\n4:memory:/${group}\n3:pids:/job:7\n0::/job:7/${group}\n`;
    expect(aboveGroup(seen, group)).toBe('5:cpu,cpuacct:/job:7\n4:memory:/\n3:pids:/job:7\n0::/job:7\n');
    // A guest in a guest's group, as in a test of ours: the inner one counts.
    expect(aboveGroup(`0::/${group}/x/${group}/emulator`, group)).toBe(`0::/${group}/x`);
    expect(aboveGroup('', group)).toBe('');
  });

  it('of embedded drivers are told apart by their roots', () => {
    const [one, two] = ['/tmp/root1', '/tmp/root2'].map((root) =>
      machineName({ driver: 'qemu', id: 1, name: 'demo', root }),
    );
    expect(one).toBe('qemu-embed-0991f456-1-demo');
    expect(two).toBe('qemu-embed-95d47ff5-1-demo');
  });

  it.each([
    ['/machine/qemu-embed-0991f456-4-demo.libvirt-qemu', 4, 'demo'],
    ['/machine/qemu-5.libvirt-qemu', 5, ''],
    ['/machine/qemu-joe-3-web.libvirt-qemu', undefined, 'qemu-joe-3-web'],
    ['/machine.slice/machine-qemu\\x2djoe\\x2d3\\x2dweb.scope', 3, 'web'],
    ['/machine.slice/machine-qemu\\x2dweb.scope', undefined, 'web'],
    ['/libvirt/qemu/_tasks', undefined, '_tasks'],
  ])('are read back: %s', (path, id, name) => {
    const guest = parseGuestGroup(path);
    expect([guest?.id, guest?.name]).toEqual([id, name]);
  });

  it.each(['/', '/machine', '/libvirt/qemu', '/machine.slice/machine-pod.scope', '/machine/web.libvirt-xen'])(
    'are not seen in %s',
    (path) => expect(parseGuestGroup(path)).toBeUndefined(),
  );

  it('are read back from their groups, in every layout', () => {
    expect(parseGuestGroup('/machine/qemu-3-web.libvirt-qemu')).toEqual({
      driver: 'qemu',
      id: 3,
      name: 'web',
      layout: 'machine',
    });
    expect(parseGuestGroup('/machine/web.libvirt-lxc')).toEqual({ driver: 'lxc', name: 'web', layout: 'machine' });
    expect(parseGuestGroup('/machine.slice/machine-qemu\\x2d1\\x2dmy\\x2dweb.scope')).toEqual({
      driver: 'qemu',
      id: 1,
      name: 'my-web',
      layout: 'systemd',
    });
    expect(parseGuestGroup('/system.slice/libvirtd.service/libvirt/lxc/old')).toEqual({
      driver: 'lxc',
      name: 'old',
      layout: 'legacy',
    });
    expect(parseGuestGroup('/user.slice/session.scope')).toBeUndefined();
  });

  it('whatever their names, give one directory that no kernel file can have', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(), (name, id) => {
        const group = machineGroupName({ driver: 'qemu', id, name });
        expect(group).not.toMatch(/[/\0]/);
        expect(group).toMatch(/^qemu-\d+(-.*)?\.libvirt-qemu$/);
        expect(parseGuestGroup(`/machine/${group}`)?.id).toBe(id);
      }),
    );
  });
});

describe('partitions', () => {
  it.each([
    ['/virtualmachines/production', '/virtualmachines.partition/production.partition'],
    ['/machine', '/machine'],
    ['/machine/testing', '/machine/testing.partition'],
    ['/system/machine', '/system/machine.partition'],
    ['/a//b/', '/a.partition/b.partition'],
    ['/has.dot', '/has.dot'],
    ['/_x', '/__x.partition'],
    ['/cpu', '/_cpu.partition'],
    ['/cgroup.procs', '/_cgroup.procs'],
    ['/.hidden', '/_.hidden'],
  ])('%s is the group %s', (partition, path) => expect(partitionPath(partition)).toBe(path));

  it.each(['production', '/', '', '/a/../b', '/.'])('%j is refused', (partition) => {
    expect(() => partitionPath(partition)).toThrow(TypeError);
  });

  it('are read back', () => {
    const name = fc.stringMatching(/^[a-z_][a-z0-9_-]{0,20}$/);
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), (names) => {
        const partition = `/${names.join('/')}`;
        expect(partitionOfPath(partitionPath(partition))).toBe(partition);
      }),
    );
  });

  it('keep clear of kernel files', () => {
    for (const name of ['tasks', 'notify_on_release', 'release_agent', 'memory.max', 'cpuset.cpus', '_a', '.a']) {
      expect(escapeGroupName(name)).toBe(`_${name}`);
    }
    expect(escapeGroupName('memoryful')).toBe('memoryful');
  });

  it('whatever they are called, are groups below the root, and none is a kernel file', () => {
    const part = fc.oneof(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
      fc.constantFrom('tasks', 'cgroup.procs', 'cpu.stat', 'io.max', 'irq.pressure', '_x', '.x', 'hugetlb.2MB.max'),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), (parts) => {
        const partition = `/${parts.join('/')}`;
        let path: string;
        try {
          path = partitionPath(partition);
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError);
          return;
        }
        for (const name of path.slice(1).split('/')) {
          expect(name).not.toMatch(/^(\.|\.\.|)$/);
          expect(name).not.toMatch(/^(tasks|notify_on_release|release_agent|irq\.pressure)$/);
          expect(name).not.toMatch(/^(cgroup|cpu|cpuset|memory|io|pids|hugetlb|devices|freezer|blkio)\./);
        }
      }),
    );
  });
});

describe('systemd', () => {
  it('names scopes and slices as libvirt does', () => {
    expect(scopeName('qemu-1-web')).toBe('machine-qemu\\x2d1\\x2dweb.scope');
    expect(sliceName('/machine')).toBe('machine.slice');
    expect(sliceName('/machine/my-tests')).toBe('machine-my\\x2dtests.slice');
    expect(slicePath('machine-a-b.slice')).toBe('/machine.slice/machine-a.slice/machine-a-b.slice');
    expect(slicePath('-.slice')).toBe('/');
  });

  it('escapes and gives back any text without slashes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const plain = text.replaceAll('/', '');
        expect(escapeUnitName(plain)).toMatch(/^[A-Za-z0-9:_.\\]*$/);
        expect(unescapeUnitName(escapeUnitName(plain))).toBe(plain);
      }),
    );
  });
});

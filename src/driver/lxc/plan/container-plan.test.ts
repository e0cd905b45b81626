import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import type { ContainerFacts } from './container-context.ts';
import { type ContainerPlaces, planContainer } from './container-plan.ts';
import { planPerson } from './person.ts';

const PLACES = {
  root: '/run/b/rootfs',
  mount: (index: number) => `/run/b/mount${index}`,
  terminal: (number: number) => `/run/b/tty${number}`,
  namespace: (file: string) => `/run/b/ns-${file}`,
  gate: '/run/b/gate',
  emulation: '/run/b/emulation',
};
const FACTS: ContainerFacts = {
  capabilities: (1n << 41n) - 1n,
  idOf: (kind, name) => (kind === 'user' && name === 'mail' ? 8 : undefined),
  deviceOf: (path) => (path === '/dev/sdb' ? { type: 'b', major: 8, minor: 16 } : undefined),
  initOf: (name) => (name === 'other' ? 4711 : undefined),
};

function plan(
  { os = '', devices = '', rest = '' }: { os?: string; devices?: string; rest?: string } = {},
  facts: Partial<ContainerFacts> = {},
  places: Partial<ContainerPlaces> = {},
) {
  const { domain } = parseDomain(
    `<domain type='lxc' xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><name>box</name>
     <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><os><type>exe</type>${os}</os>${rest}
     <devices><filesystem type='mount'><source dir='/srv/box'/><target dir='/'/></filesystem>${devices}</devices></domain>`,
  );
  return planContainer(domain, { ...FACTS, ...facts }, { ...PLACES, ...places });
}
const fs = (type: string, source: string, target: string, more = '') =>
  `<filesystem type='${type}'><source ${source}/><target dir='${target}'/>${more}</filesystem>`;
const mountOn = (planned: ReturnType<typeof plan>, dir: string) =>
  planned.spec.mounts.find(({ destination }) => destination === dir);

describe('the program', () => {
  it('is init with what libvirt tells it', () => {
    const { process, hostname } = plan({ os: '<cmdline>quiet</cmdline>' }).spec;
    expect(hostname).toBe('box');
    expect(process).toMatchObject({ args: ['/sbin/init'], cwd: '/', user: { uid: 0, gid: 0 }, terminal: true });
    expect(process.env).toEqual([
      'PATH=/bin:/sbin:/usr/bin:/usr/sbin',
      'TERM=linux',
      'HOME=/',
      'container=lxc-libvirt',
      'container_uuid=c7a5fdbd-edaf-9455-926a-d65c16db1809',
      'LIBVIRT_LXC_UUID=c7a5fdbd-edaf-9455-926a-d65c16db1809',
      'LIBVIRT_LXC_NAME=box',
      'LIBVIRT_LXC_CMDLINE=quiet',
    ]);
  });

  it('is what the definition names, as whom it names', () => {
    const { process } = plan({
      os: "<init>/bin/sh</init><initarg>-c</initarg><initarg>true</initarg><initenv name='A'>b</initenv><initdir>/srv</initdir><inituser>mail</inituser><initgroup>+12</initgroup>",
    }).spec;
    expect(process).toMatchObject({ args: ['/bin/sh', '-c', 'true'], cwd: '/srv', user: { uid: 8, gid: 12 } });
    expect(process.env.at(-1)).toBe('A=b');
    expect(() => plan({ os: '<inituser>nobody</inituser>' })).toThrow(/no user 'nobody' in \/etc\/passwd/);
  });

  it.each([
    ['', ['CAP_SYS_ADMIN', 'CAP_BPF'], ['CAP_MKNOD', 'CAP_SYS_MODULE', 'CAP_SYS_TIME']],
    [
      "<capabilities policy='default'><mknod state='on'/><chown state='off'/></capabilities>",
      ['CAP_MKNOD'],
      ['CAP_CHOWN'],
    ],
    ["<capabilities policy='allow'><kill state='off'/></capabilities>", ['CAP_SYS_MODULE', 'CAP_MKNOD'], ['CAP_KILL']],
    ["<capabilities policy='deny'><mknod state='on'/></capabilities>", ['CAP_MKNOD'], ['CAP_KILL', 'CAP_CHOWN']],
  ])('has capabilities: %s', (features, has, lacks) => {
    const { bounding, effective, permitted } = plan({ rest: `<features>${features}</features>` }).spec.process
      .capabilities;
    expect(bounding).toEqual(expect.arrayContaining(has));
    for (const name of lacks) expect(bounding).not.toContain(name);
    expect([effective, permitted]).toEqual([bounding, bounding]);
  });

  it('gets no capability that there is none of to give', () => {
    const { domain } = parseDomain("<domain type='lxc'><name>x</name></domain>");
    const { bounding } = planContainer(domain, { ...FACTS, capabilities: 0b11n }, PLACES).spec.process.capabilities;
    expect(bounding).toEqual(['CAP_CHOWN', 'CAP_DAC_OVERRIDE']);
  });
});

describe('file systems', () => {
  it("the root is a private copy of its tree, or the host's", () => {
    expect(plan().prepared).toEqual([{ kind: 'bind', source: '/srv/box', readonly: false, at: 'root' }]);
    const { domain } = parseDomain("<domain type='lxc'><name>x</name></domain>");
    expect(planContainer(domain, FACTS, PLACES).prepared).toEqual([
      { kind: 'bind', source: '/', readonly: false, at: 'root' },
    ]);
  });

  it("the runtime takes a directory as it is, but not one that the container's users may not walk to", () => {
    const xml = (rest: string) =>
      parseDomain(
        `<domain type='lxc'><name>x</name>${rest}<devices>${fs('mount', "dir='/srv/box'", '/')}${fs('block', "dev='/dev/sdb'", '/data')}</devices></domain>`,
      ).domain;
    const facts = { ...FACTS, rootFolder: '/srv/real' };
    const { spec, prepared } = planContainer(xml(''), facts, PLACES);
    expect(spec.root.path).toBe('/srv/real');
    expect(spec.hooks?.createContainer?.[0]?.args.at(-1)).toBe('/srv/real/dev/tty1');
    expect(prepared).toEqual([{ kind: 'device', source: '/dev/sdb', readonly: false, at: 1 }]);
    const ids = "start='0' target='100000' count='65536'";
    const mapped = planContainer(xml(`<idmap><uid ${ids}/><gid ${ids}/></idmap>`), facts, PLACES);
    expect([mapped.spec.root.path, mapped.prepared[0]?.at]).toEqual([PLACES.root, 'root']);
  });

  it('is given its /dev where somebody can make it before, and all that the runtime would put there', () => {
    const places = { dev: '/run/box/dev' };
    const plain = plan({}, {}, places);
    expect(plain.spec.mounts.find(({ destination }) => destination === '/dev')).toMatchObject({
      type: 'bind',
      source: '/run/box/dev',
    });
    expect(plain.spec.hooks).toEqual({});
    expect(plain.dev?.mount).toMatchObject({ type: 'tmpfs', target: '/run/box/dev', data: 'mode=755,size=64k' });
    const names = plain.dev?.files.map(({ path }) => path.replace('/run/box/dev/', '')).toSorted();
    expect(names?.join(' ')).toBe('console core fd full null ptmx random stderr stdin stdout tty tty1 urandom zero');
    // Other users' nodes, and those of the definition, are the runtime's.
    const ids = "start='0' target='100000' count='65536'";
    const others = [
      { rest: `<idmap><uid ${ids}/><gid ${ids}/></idmap>` },
      { devices: "<hostdev mode='capabilities' type='storage'><source><block>/dev/sdb</block></source></hostdev>" },
    ];
    for (const definition of others) {
      const { spec, dev } = plan(definition, {}, places);
      expect(dev).toBeUndefined();
      expect(spec.mounts.find(({ destination }) => destination === '/dev')).toMatchObject({ type: 'tmpfs' });
      expect(spec.hooks?.createContainer).toHaveLength(1);
    }
  });

  it('of a runtime that mounts nothing in /proc: all settings but the network’s become read-only one by one', () => {
    const settings = ['kernel', 'net', 'vm'];
    const rest = '<features><privnet/></features>';
    const at = (planned: ReturnType<typeof plan>) => planned.spec.mounts.map(({ destination }) => destination);
    const own = plan({ rest }, { settings });
    expect(at(own)).not.toContain('/proc/sys/net');
    expect(own.spec.linux.readonlyPaths.slice(0, 2)).toEqual(['/proc/sys/kernel', '/proc/sys/vm']);
    const shared = plan({}, { settings });
    expect(shared.spec.linux.readonlyPaths[0]).toBe('/proc/sys');
    expect(at(plan({ rest }))).toContain('/proc/sys/net');
  });

  it('is put into the group that the runtime is to put it, with its devices', () => {
    const rule = { allow: true, type: 'c', major: 1, access: 'rw' } as const;
    const linux = (devices: (typeof rule)[] | undefined) =>
      plan({}, { placement: { cgroupsPath: 'init', devices } }).spec.linux;
    expect(linux([rule])).toMatchObject({
      cgroupsPath: 'init',
      resources: { devices: [{ allow: false, access: 'rwm' }, rule] },
    });
    expect(linux(undefined).resources?.devices).toEqual([{ allow: true, access: 'rwm' }]);
    expect(plan().spec.linux).not.toHaveProperty('resources');
  });

  it('directories are bound, images mounted beforehand, memory sized in bytes', () => {
    const planned = plan({
      devices:
        fs('mount', "dir='/home'", '/home', '<readonly/>') +
        fs('file', "file='/x.img'", '/x') +
        fs('block', "dev='/dev/sdb'", '/data') +
        fs('ram', "usage='8' units='MB'", '/tmp') +
        fs('file', "file='/a.vhd'", '/v', "<driver type='nbd' format='vhd'/><readonly/>") +
        fs('file', "file='/b'", '/w', "<driver type='nbd' format='raw'/>"),
    });
    expect(mountOn(planned, '/home')).toMatchObject({ type: 'bind', source: '/home', options: ['bind', 'ro'] });
    expect(mountOn(planned, '/x')).toMatchObject({ source: '/run/b/mount1' });
    expect(mountOn(planned, '/data')).toMatchObject({ source: '/run/b/mount2' });
    expect(mountOn(planned, '/tmp')).toMatchObject({ type: 'tmpfs', options: ['rw', 'size=7999488'] });
    expect(planned.prepared.slice(1)).toEqual([
      { kind: 'loop', source: '/x.img', readonly: false, at: 1 },
      { kind: 'device', source: '/dev/sdb', readonly: false, at: 2 },
      { kind: 'image', format: 'vpc', source: '/a.vhd', readonly: true, at: 3 },
      { kind: 'loop', source: '/b', readonly: false, at: 4 },
    ]);
  });

  it.each([
    [fs('template', "name='x'", '/x'), /OpenVZ/],
    [fs('volume', "pool='p' volume='v'", '/x'), /no file systems of type 'volume'/],
    [fs('file', "file='/a.qcow2'", '/x', "<driver type='loop' format='qcow2'/>"), /fs format qcow2 is not supported/],
    [fs('file', "file='/a'", '/x', "<driver type='ploop' format='qcow2'/>"), /fs driver ploop is not supported/],
    [fs('file', "file='/a'", '/x', "<driver type='nbd'/>"), /needs a format/],
    [fs('file', "file='/a'", '/x', "<driver type='nbd' format='zip'/>"), /no images of format 'zip'; known are raw, /],
    [fs('ram', "units='MiB'", '/x'), /has no <source usage=…>/],
    [fs('mount', "dir='/a'", 'x'), /no absolute path/],
    [fs('mount', "dir='/a'", '/x/../../y'), /leads upwards/],
    [fs('ram', "usage='8' units='XB'", '/x'), /unit 'XB' is unknown/],
    [fs('mount', "dir='/a'", '/x', "<space_hard_limit unit='MiB'>1</space_hard_limit>"), /quotas/],
    ["<filesystem type='mount' accessmode='mapped'><source dir='/a'/><target dir='/x'/></filesystem>", /passthrough/],
  ])('%s is refused', (devices, message) => {
    expect(() => plan({ devices })).toThrow(message);
  });

  it('huge pages are where programs look for them', () => {
    const pages = "<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>";
    expect(mountOn(plan({ rest: pages }), '/dev/hugepages')).toMatchObject({
      type: 'hugetlbfs',
      options: expect.arrayContaining(['pagesize=2048K']),
    });
    const map = "<idmap><uid start='0' target='1' count='1'/><gid start='0' target='1' count='1'/></idmap>";
    expect(() => plan({ rest: map + pages })).toThrow(/leave <idmap> out/);
  });

  it('groups of processes cannot be changed, but those that init may make in its own', () => {
    expect(mountOn(plan(), '/sys/fs/cgroup')?.options).toContain('ro');
    const { domain } = parseDomain("<domain type='lxc'><name>x</name></domain>");
    const initGroup = { at: '/sys/fs/cgroup/systemd', directory: '/sys/fs/cgroup/systemd/machine/x' };
    const { mounts } = planContainer(domain, { ...FACTS, initGroup }, PLACES).spec;
    const at = mounts.findIndex(({ destination }) => destination === initGroup.at);
    expect(mounts[at]).toMatchObject({ type: 'bind', source: initGroup.directory });
    expect(mounts[at]?.options).toContain('rw');
    expect(mounts[at - 1]?.destination).toBe('/sys/fs/cgroup');
  });

  it("the kernel's own are guarded; network settings are writable only where they are the container's", () => {
    const shared = plan();
    expect(shared.spec.linux.readonlyPaths).toContain('/proc/sys');
    expect(mountOn(shared, '/proc/sys/net')).toBeUndefined();
    expect(mountOn(shared, '/sys')?.options).toContain('ro');
    expect(mountOn(plan({ rest: '<features><privnet/></features>' }), '/proc/sys/net')?.options).toContain('rw');
  });
});

describe('namespaces', () => {
  const types = (planned: ReturnType<typeof plan>) => planned.spec.linux.namespaces.map(({ type }) => type);

  it('of the network only where there is reason', () => {
    expect(types(plan())).toEqual(['pid', 'mount', 'cgroup', 'ipc', 'uts']);
    expect(plan().privateNetwork).toBe(false);
    const bridge = "<interface type='bridge'><source bridge='br0'/></interface>";
    // It is made around the runtime.
    expect(types(plan({ devices: bridge }))).not.toContain('network');
    expect(plan({ devices: bridge }).privateNetwork).toBe(true);
  });

  it('are shared with a process, a container, a named one', () => {
    const planned = plan({
      rest: "<lxc:namespace><lxc:sharenet type='netns' value='red'/><lxc:shareipc type='pid' value='12'/><lxc:shareuts type='name' value='other'/></lxc:namespace>",
    });
    expect(planned.spec.linux.namespaces).toEqual([
      { type: 'pid' },
      { type: 'mount' },
      { type: 'cgroup' },
      { type: 'ipc', path: '/run/b/ns-ipc' },
      { type: 'uts', path: '/run/b/ns-uts' },
      { type: 'network', path: '/run/netns/red' },
    ]);
    expect(planned.spec.hostname).toBeUndefined();
    // Where the runtime is, other processes than its own have no numbers.
    expect(planned.sharedNamespaces).toEqual([
      { source: '/proc/12/ns/ipc', at: '/run/b/ns-ipc' },
      { source: '/proc/4711/ns/uts', at: '/run/b/ns-uts' },
    ]);
  });

  it.each([
    ["<lxc:shareipc type='netns' value='red'/>", /is for <lxc:sharenet> alone/],
    ["<lxc:sharenet type='name' value='gone'/>", /no running container 'gone'/],
    ["<lxc:sharenet type='pid' value='../1'/>", /is no process/],
  ])('%s is refused', (share, message) => {
    expect(() => plan({ rest: `<lxc:namespace>${share}</lxc:namespace>` })).toThrow(message);
  });

  it("of users map the container's root", () => {
    const map = "<uid start='0' target='100000' count='65536'/><gid start='0' target='200000' count='65536'/>";
    const { linux, mounts } = plan({ rest: `<idmap>${map}</idmap>` }).spec;
    expect(linux.uidMappings).toEqual([{ containerID: 0, hostID: 100_000, size: 65_536 }]);
    expect(linux.gidMappings).toEqual([{ containerID: 0, hostID: 200_000, size: 65_536 }]);
    const own = plan({
      rest: `<features><privnet/></features><idmap>${map}</idmap>`.replace(/^(.*)(<idmap>.*)$/, '$2$1'),
    });
    expect(types(own)).toContain('network');
    expect(own.spec.hooks?.createRuntime).toHaveLength(1);
    // Without a network namespace of its own it may not mount sysfs.
    expect(mounts.find(({ destination }) => destination === '/sys')?.type).toBe('bind');
    expect(() => plan({ rest: "<idmap><uid start='1' target='5' count='1'/></idmap>" })).toThrow(
      /must map the container's root/,
    );
  });
});

describe('devices', () => {
  it("given ones have the host's numbers", () => {
    const devices =
      "<disk type='block'><source dev='/dev/sdb'/><target dev='vda'/></disk>" +
      "<hostdev mode='capabilities' type='storage'><source><block>/dev/sdb</block></source></hostdev>";
    expect(plan({ devices }).spec.linux.devices.map(({ path, major, minor }) => [path, major, minor])).toEqual([
      ['/dev/sdb', 8, 16],
      ['/dev/vda', 8, 16],
    ]);
  });

  it('terminals beside the first are bound', () => {
    const planned = plan({ devices: "<console type='pty'/><console type='pty'/><console type='pty'/>" });
    expect(planned.extraTerminals).toEqual([2, 3]);
    expect(mountOn(planned, '/dev/tty3')?.source).toBe('/run/b/tty3');
  });

  it.each([
    [
      "<hostdev mode='capabilities' type='misc'><source><char>/dev/nothing</char></source></hostdev>",
      /no device \/dev\/nothing/,
    ],
    [
      "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>",
      /mode='capabilities'/,
    ],
    ["<graphics type='vnc'/>", /no <graphics>/],
    ["<console type='tcp'><source mode='bind' host='x' service='1'/></console>", /of type 'pty'/],
    ["<disk type='file'><source file='/x'/><target dev='vda'/></disk>", /<filesystem type='file'>/],
  ])('%s is refused', (devices, message) => {
    expect(() => plan({ devices })).toThrow(message);
  });
});

describe('other architectures', () => {
  const emulated = (rest = '') => {
    const { domain } = parseDomain(
      `<domain type='lxc'><name>x</name><os><type arch='aarch64'>exe</type></os>${rest}</domain>`,
    );
    return planContainer(domain, { ...FACTS, foreign: { register: ':line' } }, PLACES);
  };

  it('have a user namespace in which users are the same, unless the definition maps them', () => {
    const own = emulated();
    expect(own).toMatchObject({ mapped: false, ownUsers: true });
    expect(own.spec.linux.uidMappings).toEqual([{ containerID: 0, hostID: 0, size: 4_294_967_295 }]);
    expect(own.spec.hooks?.createRuntime?.[0]?.args).toContain(':line');
    const given = emulated("<idmap><uid start='0' target='7' count='9'/><gid start='0' target='7' count='9'/></idmap>");
    expect(given.mapped).toBe(true);
    expect(given.spec.linux.uidMappings).toEqual([{ containerID: 0, hostID: 7, size: 9 }]);
    expect(() => emulated('<memoryBacking><hugepages/></memoryBacking>')).toThrow(/leave them out/);
  });

  it('natively run ones have a personality, and no namespace more', () => {
    const { domain } = parseDomain("<domain type='lxc'><name>x</name></domain>");
    const { spec } = planContainer(domain, { ...FACTS, foreign: { personality: 'LINUX32' } }, PLACES);
    expect(spec.linux).toMatchObject({ personality: { domain: 'LINUX32' } });
    expect(spec.linux.uidMappings).toBeUndefined();
  });
});

describe('started by a user', () => {
  const mappers = { uid: 'newuidmap', gid: 'newgidmap' };
  const block = [{ first: 100_000, count: 65_536 }];
  const ANN = { person: planPerson({ uid: 1000, gid: 1000, name: 'ann', uids: block, gids: block, mappers }) };
  const ALONE = { person: planPerson({ uid: 1000, gid: 1000, name: 'bob', uids: [], gids: [] }) };
  const DISK = "<disk type='block'><source dev='/dev/sdb'/><target dev='vda'/></disk>";
  const IDS = "<idmap><uid start='0' target='100000' count='10'/><gid start='0' target='100005' count='10'/></idmap>";

  it('has the host’s nodes instead of new ones, and what is below a folder with it', () => {
    const planned = plan({ devices: DISK + fs('bind', "dir='/home'", '/home') }, ANN);
    expect(planned.spec.linux.devices).toEqual([]);
    expect(mountOn(planned, '/dev/vda')).toMatchObject({ type: 'bind', source: '/dev/sdb' });
    expect(mountOn(planned, '/home')?.options).toEqual(['rbind', 'rw']);
    expect(mountOn(plan({ devices: DISK }), '/dev/vda')).toBeUndefined();
  });

  it('sees the host’s /sys, whose owner it is not, but that of a network of its own', () => {
    expect(mountOn(plan({}, ANN), '/sys')).toMatchObject({ type: 'bind' });
    expect(mountOn(plan({ rest: '<features><privnet/></features>' }, ANN), '/sys')).toMatchObject({ type: 'sysfs' });
  });

  it('has a group of terminals where it has groups', () => {
    expect(mountOn(plan({}, ANN), '/dev/pts')?.options).toContain('gid=5');
    expect(mountOn(plan({}, ALONE), '/dev/pts')?.options).not.toContain('gid=5');
  });

  it('has <idmap> in the numbers of the namespace around it', () => {
    const { linux } = plan({ rest: IDS }, ANN).spec;
    expect(linux.uidMappings).toEqual([{ containerID: 0, hostID: 1, size: 10 }]);
    expect(linux.gidMappings).toEqual([{ containerID: 0, hostID: 6, size: 10 }]);
    expect(() => plan({ rest: IDS }, ALONE)).toThrow(/user bob may use 1000; install uidmap/);
  });

  it('is root where nobody else is there', () => {
    expect(() => plan({ os: '<inituser>mail</inituser>' }, ALONE)).toThrow(/has root alone: install uidmap/);
    expect(plan({ os: '<inituser>root</inituser>' }, { ...ALONE, idOf: () => 0 }).spec.process.user.uid).toBe(0);
    expect(plan({ os: '<inituser>mail</inituser>' }, ANN).spec.process.user.uid).toBe(8);
  });
});

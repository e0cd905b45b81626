import { describe, expect, it } from 'vitest';
import { formatDomain } from '../../../model/domain/domain.ts';
import type { ReadIncluded } from './lxc-config.ts';
import { lxcToDomain } from './to-domain.ts';

const BASE = 'lxc.rootfs.path = dir:/srv/box/rootfs\nlxc.uts.name = box\n';

function convert(text: string, options: { readIncluded?: ReadIncluded } = {}) {
  const { domain, notes } = lxcToDomain(text, {
    fileName: 'config',
    uuid: 'c7a5fdbd-edaf-9455-926a-d65c16db1809',
    randomBytes: (count) => new Uint8Array(count).fill(0xab),
    ...options,
  });
  return { domain, notes, xml: formatDomain(domain) };
}

describe('root and name', () => {
  it.each([
    ['/srv/x', "type='mount'", "<source dir='/srv/x'/>"],
    ['dir:/srv/x', "type='mount'", "<source dir='/srv/x'/>"],
    ['btrfs:/srv/x', "type='mount'", "<source dir='/srv/x'/>"],
    ['/dev/vg/x', "type='block'", "<source dev='/dev/vg/x'/>"],
    ['lvm:/dev/vg/x', "type='block'", "<source dev='/dev/vg/x'/>"],
    ['loop:/srv/x.img', "type='file'", "<driver type='loop' format='raw'/>"],
    ['nbd:/srv/x.qcow2', "type='file'", "<driver type='nbd' format='qcow2'/>"],
  ])('%s', (root, type, source) => {
    const { xml } = convert(`lxc.utsname = box\nlxc.rootfs = ${root}\n`);
    expect(xml).toContain(`<filesystem ${type} accessmode='passthrough'>`);
    expect(xml).toContain(source);
  });

  it.each([
    ['overlay:/lower:/upper', /config:1: .*layers are no directory/],
    ['zfs:tank/x', /zfs get -H -o value mountpoint tank\/x/],
    ['rbd:pool/x', /roots of kind 'rbd'/],
  ])('%s is refused', (root, message) => {
    expect(() => convert(`lxc.rootfs.path = ${root}\n`)).toThrow(message);
  });

  it('a missing root is refused, a missing name made of the root and told', () => {
    expect(() => convert('lxc.uts.name = x\n')).toThrow(/config: lxc.rootfs.path .* is missing/);
    const { domain, notes } = convert('lxc.rootfs.path = dir:/var/lib/lxc/jenkins-debian11/rootfs\n');
    expect(domain.name).toBe('jenkins-debian11');
    expect(notes).toEqual([expect.stringMatching(/^config:1: lxc.uts.name .*'jenkins-debian11'/)]);
  });

  it.each([
    ['x86', 'i686'],
    ['amd64', 'x86_64'],
    ['arm64', 'aarch64'],
    ['armhf', 'armv7l'],
    ['ppc64el', 'ppc64le'],
    ['s390x', 's390x'],
  ])('architecture %s is %s', (arch, expected) => {
    expect(convert(`${BASE}lxc.arch = ${arch}\n`).xml).toContain(`<type arch='${expected}'>exe</type>`);
  });
});

describe('networks', () => {
  it('old and new keys give the same', () => {
    const old = `lxc.network.type = veth\nlxc.network.link = br0\nlxc.network.flags = up\nlxc.network.name = eth0
lxc.network.hwaddr = 02:00:00:00:00:01\nlxc.network.ipv4 = 10.0.0.2/24\nlxc.network.ipv4.gateway = 10.0.0.1
lxc.network.type = macvlan\nlxc.network.link = eno1\nlxc.network.hwaddr = 02:00:00:00:00:02\n`;
    const recent = `lxc.net.0.type = veth\nlxc.net.0.link = br0\nlxc.net.0.flags = up\nlxc.net.0.name = eth0
lxc.net.0.hwaddr = 02:00:00:00:00:01\nlxc.net.0.ipv4.address = 10.0.0.2/24\nlxc.net.0.ipv4.gateway = 10.0.0.1
lxc.net.1.type = macvlan\nlxc.net.1.link = eno1\nlxc.net.1.hwaddr = 02:00:00:00:00:02\n`;
    const { xml } = convert(BASE + recent);
    expect(convert(BASE + old).xml).toBe(xml);
    expect(xml).toContain(`    <interface type='bridge'>
      <mac address='02:00:00:00:00:01'/>
      <source bridge='br0'/>
      <ip address='10.0.0.2' family='ipv4' prefix='24'/>
      <route family='ipv4' address='0.0.0.0' gateway='10.0.0.1'/>
      <guest dev='eth0'/>
      <link state='up'/>
    </interface>
    <interface type='direct'>
      <mac address='02:00:00:00:00:02'/>
      <source dev='eno1' mode='private'/>
      <link state='down'/>
    </interface>`);
    expect(xml).not.toContain('privnet');
  });

  it('phys and vlan become host devices with their addresses', () => {
    const { xml, notes } = convert(
      `${BASE}lxc.net.0.type = phys\nlxc.net.0.link = eth7\nlxc.net.0.name = eth0\nlxc.net.0.ipv6.address = fd00::2/64
lxc.net.1.type = vlan\nlxc.net.1.link = eth7\nlxc.net.1.vlan.id = 42\n`,
    );
    expect(xml).toContain(`    <hostdev mode='capabilities' type='net'>
      <source>
        <interface>eth7</interface>
      </source>
      <ip address='fd00::2' family='ipv6' prefix='64'/>
    </hostdev>`);
    expect(xml).toContain('<interface>eth7.42</interface>');
    expect(notes).toEqual([expect.stringMatching(/^config:5: lxc.net.0.name = eth0 is not carried over: /)]);
  });

  it("no network at all is a namespace with a loopback; none is the host's", () => {
    expect(convert(BASE).xml).toContain('<privnet/>');
    expect(convert(`${BASE}lxc.net.0.type = empty\n`).xml).toContain('<privnet/>');
    expect(convert(`${BASE}lxc.net.0.type = none\n`).xml).not.toContain('<privnet/>');
    expect(convert(`${BASE}lxc.net.0.type = veth\nlxc.net =\n`).xml).toContain('<privnet/>');
  });

  it('digits of a MAC address may be left to chance', () => {
    expect(convert(`${BASE}lxc.net.0.type = veth\nlxc.net.0.hwaddr = 00:16:3e:xx:xx:0X\n`).xml).toContain(
      "<mac address='00:16:3e:bb:bb:0b'/>",
    );
  });

  it.each([
    ['lxc.net.0.type = phys', /config:3: lxc.net.0.type = phys needs a link/],
    ['lxc.net.0.type = macvlan', /needs a link/],
    ['lxc.net.0.type = veth\nlxc.net.0.ipv4.address = 10.0.0.300000/24', /is no address with a prefix/],
    ['lxc.net.0.type = veth\nlxc.net.0.ipv4.address = 10.0.0.3/33', /is no address with a prefix/],
    ['lxc.network.link = br0', /comes before the lxc.network.type/],
    ['lxc.net.x.type = veth', /names no setting of a network/],
  ])('%s is refused', (lines, message) => {
    expect(() => convert(`${BASE}${lines}\n`)).toThrow(message);
  });

  it('what interfaces cannot say is told with its line', () => {
    const { notes } = convert(
      `${BASE}lxc.net.0.type = veth\nlxc.net.0.script.up = /bin/x\nlxc.net.0.ipv4.gateway = auto\nlxc.net.1.type = ipvlan\n`,
    );
    expect(notes.map((note) => note.split(' ')[0])).toEqual(['config:4:', 'config:5:', 'config:6:']);
  });
});

describe('mounts', () => {
  it('directories, devices, memory, read-only', () => {
    const { xml } = convert(
      `${BASE}lxc.mount.entry = /home home none rw,bind 0 0
lxc.mount.entry = /etc/resolv.conf /srv/box/rootfs/etc/resolv.conf none bind,ro 0 0
lxc.mount.entry = /dev/sdb1 data ext4 defaults 0 0
lxc.mount.entry = tmpfs tmp tmpfs size=8m,mode=1777 0 0
lxc.mount.entry = /my\\040files mnt none bind\n`,
    );
    expect(xml).toContain("<source dir='/home'/>\n      <target dir='/home'/>");
    expect(xml).toContain(
      "<source dir='/etc/resolv.conf'/>\n      <target dir='/etc/resolv.conf'/>\n      <readonly/>",
    );
    expect(xml).toContain("<source dev='/dev/sdb1'/>\n      <target dir='/data'/>");
    expect(xml).toContain("<source usage='8192' units='KiB'/>\n      <target dir='/tmp'/>");
    expect(xml).toContain("<source dir='/my files'/>");
  });

  it('what every container has is left out, silently where libvirt has it, told where it is asked for by kind', () => {
    const { domain, notes } = convert(
      `${BASE}lxc.mount.entry = proc proc proc nodev 0 0\nlxc.mount.entry = mqueue dev/mqueue mqueue rw 0 0\n`,
    );
    expect(domain.devices?.filesystems).toHaveLength(1);
    expect(notes).toEqual([expect.stringMatching(/^config:4: .*mqueue of their own/)]);
  });

  it('a table in a file of its own is read, or asked for as lines', () => {
    const readIncluded: ReadIncluded = (path) =>
      path === '/srv/fstab' ? [{ path, text: '# comment\n\n/opt opt none bind 0 0\n' }] : undefined;
    const text = `${BASE}lxc.mount = /srv/fstab\n`;
    expect(convert(text, { readIncluded }).xml).toContain("<source dir='/opt'/>");
    expect(() => convert(text)).toThrow(/write its lines as lxc.mount.entry/);
  });

  it('sizes relative to the host are refused', () => {
    expect(() => convert(`${BASE}lxc.mount.entry = tmpfs tmp tmpfs size=10% 0 0\n`)).toThrow(/relative to the host/);
  });
});

describe('limits', () => {
  it('of v1', () => {
    const { xml } = convert(
      `${BASE}lxc.cgroup.memory.limit_in_bytes = 1G\nlxc.cgroup.memory.soft_limit_in_bytes = 128M
lxc.cgroup.memory.memsw.limit_in_bytes = 2G\nlxc.cgroup.cpu.shares = 1024\nlxc.cgroup.cpu.cfs_period_us = 50000
lxc.cgroup.cpu.cfs_quota_us = -1\nlxc.cgroup.blkio.weight = 500\nlxc.cgroup.blkio.device_weight = 8:16 1000
lxc.cgroup.blkio.throttle.read_bps_device = 8:16 100\n`,
    );
    expect(xml).toContain("<memory unit='KiB'>1048576</memory>");
    expect(xml).toContain("<soft_limit unit='KiB'>131072</soft_limit>");
    expect(xml).toContain("<swap_hard_limit unit='KiB'>2097152</swap_hard_limit>");
    expect(xml).toContain('<shares>1024</shares>\n    <period>50000</period>\n    <quota>-1</quota>');
    expect(xml).toContain(`<path>/dev/block/8:16</path>
      <weight>1000</weight>
      <read_bytes_sec>100</read_bytes_sec>`);
  });

  it('of v2, in the units of definitions', () => {
    const { domain } = convert(
      `${BASE}lxc.cgroup2.memory.max = 512M\nlxc.cgroup2.memory.swap.max = 512M\nlxc.cgroup2.cpu.weight = 100
lxc.cgroup2.cpu.max = 20000 100000\nlxc.cgroup2.io.max = 8:0 rbps=1000 wiops=max\nlxc.cgroup2.cpuset.cpus = 0-1\n`,
    );
    expect(domain.memtune).toEqual({ hardLimit: 524_288, swapHardLimit: 1_048_576 });
    expect(domain.cputune).toMatchObject({ shares: 2597, quota: 20_000, period: 100_000 });
    expect(domain.blkiotune?.devices).toEqual([{ path: '/dev/block/8:0', readBytesSec: 1000 }]);
    expect(domain.vcpu).toMatchObject({ cpuset: [0, 1] });
  });

  it('unlimited is no limit; other files are told', () => {
    const { domain, notes } = convert(
      `${BASE}lxc.cgroup.memory.limit_in_bytes = -1\nlxc.cgroup2.pids.max = 10\nlxc.cgroup.devices.allow = c 10:200 rwm\n`,
    );
    expect(domain.memtune).toBeUndefined();
    expect(notes).toEqual([
      expect.stringMatching(/^config:4: .*no such limit/),
      expect.stringMatching(/^config:5: .*<hostdev/),
    ]);
  });

  it.each(['lxc.cgroup.cpu.shares = many', 'lxc.cgroup.cpuset.cpus = x', 'lxc.cgroup.memory.limit_in_bytes = 1X'])(
    '%s is refused with its line',
    (line) => {
      expect(() => convert(`${BASE}${line}\n`)).toThrow(/^config:3: /);
    },
  );
});

describe('users, capabilities, programs', () => {
  it("id maps are LXC's, and libvirt's where only that can be meant", () => {
    const lxc = convert(`${BASE}lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 200000 65536\n`);
    expect(lxc.domain.idmap).toEqual({
      uids: [{ start: 0, target: 100_000, count: 65_536 }],
      gids: [{ start: 0, target: 200_000, count: 65_536 }],
    });
    expect(convert(`${BASE}lxc.id_map = u 10000 0 2000\n`).domain.idmap?.uids).toEqual([
      { start: 0, target: 10_000, count: 2000 },
    ]);
  });

  it('capabilities add up over lines, and are taken back by an empty one', () => {
    const dropped = convert(`${BASE}lxc.cap.drop = mac_admin mac_override\nlxc.cap.drop = sys_time bpf\n`);
    expect(dropped.xml).toContain(`<capabilities policy='allow'>
      <mac_admin state='off'/>
      <mac_override state='off'/>
      <sys_time state='off'/>
    </capabilities>`);
    expect(dropped.notes).toEqual([expect.stringMatching(/^config:4: .*'bpf'/)]);
    expect(convert(`${BASE}lxc.cap.drop = sys_time\nlxc.cap.drop =\n`).xml).toContain("<capabilities policy='allow'/>");
    expect(convert(`${BASE}lxc.cap.keep = chown kill\n`).xml).toContain(`<capabilities policy='deny'>
      <chown state='on'/>
      <kill state='on'/>`);
  });

  it('init, its arguments, user and environment', () => {
    const { domain } = convert(
      `${BASE}lxc.init.cmd = /bin/sh -c true\nlxc.init.uid = 1000\nlxc.init.cwd = /srv\nlxc.environment = A=b=c\n`,
    );
    expect(domain.os).toMatchObject({
      init: '/bin/sh',
      initargs: ['-c', 'true'],
      inituser: '1000',
      initdir: '/srv',
      initenvs: [{ name: 'A', value: 'b=c' }],
    });
  });

  it('consoles, labels, seccomp as metadata', () => {
    const { xml } = convert(
      `${BASE}lxc.tty.max = 2\nlxc.apparmor.profile = unconfined\nlxc.seccomp.profile = /etc/x.seccomp\n`,
    );
    expect(xml.match(/<console type='pty'>/g)).toHaveLength(2);
    expect(xml).toContain("<target type='lxc' port='1'/>");
    expect(xml).toContain("<seclabel type='none' model='apparmor'/>");
    expect(xml).toContain('<lxc:seccomp xmlns:lxc="urn:nestling:lxc:1.0" profile="/etc/x.seccomp"/>');
  });
});

describe('form', () => {
  it('comments, quotes, includes', () => {
    const readIncluded: ReadIncluded = (path) =>
      path === '/usr/share/lxc/config/common.conf'
        ? [{ path, text: 'lxc.tty.max = 4\nlxc.hook.mount = /bin/x\n' }]
        : undefined;
    const { domain, notes } = convert(
      `# head\n\nlxc.include = /usr/share/lxc/config/common.conf\nlxc.rootfs.path = "/srv/a b"\n  lxc.uts.name='box'\n`,
      { readIncluded },
    );
    expect(domain.devices?.consoles).toHaveLength(4);
    expect(domain.devices?.filesystems[0]?.source?.dir).toBe('/srv/a b');
    expect(notes).toEqual([expect.stringMatching(/^\/usr\/share\/lxc\/config\/common.conf:2: lxc.hook.mount/)]);
  });

  it.each([
    ['lxc.uts.name', /^config:1: 'lxc.uts.name' is no 'key = value'$/],
    ['lxc.include = /nowhere', /files are not included here/],
  ])('%s is refused', (line, message) => {
    expect(() => convert(line)).toThrow(message);
  });

  it('files that include each other end', () => {
    const readIncluded: ReadIncluded = (path) => [{ path, text: `lxc.include = ${path}\n` }];
    expect(() => convert('lxc.include = /a', { readIncluded })).toThrow(/nested more than/);
  });

  it('every other key is told once, with a reason', () => {
    const { notes } = convert(`${BASE}lxc.start.auto = 1\nlxc.prlimit.nofile = 9\nlxc.nonsense = 1\nlxc.autodev = 1\n`);
    expect(notes).toEqual([
      expect.stringMatching(/^config:3: .*virsh autostart/),
      expect.stringMatching(/^config:4: /),
      expect.stringMatching(/^config:5: .*no such setting/),
    ]);
  });
});

/**
 * Configurations of LXC's own tools, one for each key that a definition has a place for: what libvirtd and our daemon make of each is compared. Written for this
 * comparison.
 */

const ROOT = 'lxc.rootfs.path = /srv/box/rootfs\n';
const OLD_ROOT = 'lxc.rootfs = /srv/box/rootfs\n';

function box(lines: string): string {
  return `lxc.uts.name = box\n${ROOT}${lines}\n`;
}

function oldBox(lines: string): string {
  return `lxc.utsname = box\n${OLD_ROOT}${lines}\n`;
}

const VETH = 'lxc.net.0.type = veth\nlxc.net.0.link = br0\nlxc.net.0.hwaddr = 02:00:00:00:00:01\n';

export const CONFIGURATIONS: Readonly<Record<string, string>> = {
  'as little as there can be': box(''),
  'as little as there can be, old': oldBox(''),
  'no name': ROOT,
  'no root': 'lxc.uts.name = box\n',
  'comments, blanks and empty lines': `# one\n\n   # two\n  lxc.uts.name=box\n\tlxc.rootfs.path   =   /srv/box/rootfs\n`,
  'root by kind': 'lxc.uts.name = box\nlxc.rootfs.path = dir:/srv/box/rootfs\n',
  'root on a device': 'lxc.uts.name = box\nlxc.rootfs.path = /dev/vg/box\n',
  'architecture, 32 bits': box('lxc.arch = i686'),
  'architecture, 32 bits by another name': box('lxc.arch = x86'),
  'architecture, 64 bits': box('lxc.arch = amd64'),
  'architecture, 64 bits by its own name': box('lxc.arch = x86_64'),
  'architecture of another kind': box('lxc.arch = aarch64'),
  'program to begin with': box('lxc.init.cmd = /bin/sh -c x'),
  terminals: box('lxc.tty.max = 3'),
  'terminals, old': oldBox('lxc.tty = 2'),
  'no terminals': box('lxc.tty.max = 0'),
  'limits of memory': box(
    'lxc.cgroup.memory.limit_in_bytes = 1G\nlxc.cgroup.memory.soft_limit_in_bytes = 128M\nlxc.cgroup.memory.memsw.limit_in_bytes = 2G',
  ),
  'limit of memory in bytes': box('lxc.cgroup.memory.limit_in_bytes = 104857600'),
  'shares and quota': box(
    'lxc.cgroup.cpu.shares = 1024\nlxc.cgroup.cpu.cfs_period_us = 500000\nlxc.cgroup.cpu.cfs_quota_us = -1',
  ),
  'processors and nodes': box('lxc.cgroup.cpuset.cpus = 1,2,5-7\nlxc.cgroup.cpuset.mems = 1-4'),
  'weights and throttles of devices': box(
    'lxc.cgroup.blkio.weight = 500\nlxc.cgroup.blkio.device_weight = 8:16 1000\nlxc.cgroup.blkio.device_weight = 8:0 300\nlxc.cgroup.blkio.throttle.read_bps_device = 8:16 10485760\nlxc.cgroup.blkio.throttle.write_bps_device = 8:16 5242880\nlxc.cgroup.blkio.throttle.read_iops_device = 8:16 20\nlxc.cgroup.blkio.throttle.write_iops_device = 8:0 20',
  ),
  'capabilities without which it is': box('lxc.cap.drop = mknod sys_module mac_admin'),
  'capabilities without which it is, in lines': box('lxc.cap.drop = mknod\nlxc.cap.drop = sys_time'),
  'capabilities that it keeps': box('lxc.cap.keep = chown kill'),
  'users that are others': box('lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 200000 65536'),
  'users that are others, old': oldBox('lxc.id_map = u 0 100000 65536\nlxc.id_map = g 0 200000 65536'),
  mounts: box(
    'lxc.mount.entry = proc proc proc nodev,noexec,nosuid 0 0\nlxc.mount.entry = sysfs sys sysfs defaults 0 0\nlxc.mount.entry = /etc/resolv.conf etc/resolv.conf none bind,ro 0 0\nlxc.mount.entry = /srv/data /srv/box/rootfs/data none rw,bind 0 0\nlxc.mount.entry = /dev/sdb1 data2 ext4 defaults 0 0',
  ),
  'mounts in memory': box(
    'lxc.mount.entry = tmpfs run tmpfs size=8m,mode=0755 0 0\nlxc.mount.entry = tmpfs tmp tmpfs defaults 0 0',
  ),
  'mounts with blanks': box('lxc.mount.entry = /srv/my\\040data my\\040data none bind 0 0'),
  'no network': box('lxc.net.0.type = none'),
  'network of its own': box('lxc.net.0.type = empty'),
  'network of its own, old': oldBox('lxc.network.type = empty'),
  'pair on a bridge': box(`${VETH}lxc.net.0.flags = up\nlxc.net.0.name = eth5\nlxc.net.0.veth.pair = box0`),
  'pair on a bridge, old': oldBox(
    'lxc.network.type = veth\nlxc.network.flags = up\nlxc.network.link = br0\nlxc.network.hwaddr = 02:00:00:00:00:01\nlxc.network.name = eth5\nlxc.network.mtu = 1500',
  ),
  'pair that is down': box(VETH),
  'pair without a bridge': box('lxc.net.0.type = veth\nlxc.net.0.flags = up\nlxc.net.0.hwaddr = 02:00:00:00:00:01'),
  'addresses and gateways': box(
    `${VETH}lxc.net.0.ipv4.address = 192.0.2.5/24 192.0.2.255\nlxc.net.0.ipv4.gateway = 192.0.2.1\nlxc.net.0.ipv6.address = 2001:db8::5/64\nlxc.net.0.ipv6.gateway = 2001:db8::1`,
  ),
  'addresses and gateways, old': oldBox(
    'lxc.network.type = veth\nlxc.network.link = br0\nlxc.network.hwaddr = 02:00:00:00:00:01\nlxc.network.ipv4 = 192.0.2.5/24\nlxc.network.ipv4.gateway = 192.0.2.1\nlxc.network.ipv6 = 2001:db8::5/64\nlxc.network.ipv6.gateway = 2001:db8::1',
  ),
  'addresses by themselves': box(`${VETH}lxc.net.0.ipv4.gateway = auto`),
  macvlan: box(
    'lxc.net.0.type = macvlan\nlxc.net.0.link = eth0\nlxc.net.0.hwaddr = 02:00:00:00:00:01\nlxc.net.0.flags = up',
  ),
  'macvlan with a mode': box(
    'lxc.net.0.type = macvlan\nlxc.net.0.macvlan.mode = vepa\nlxc.net.0.link = eth0\nlxc.net.0.hwaddr = 02:00:00:00:00:01',
  ),
  'macvlan with another mode': box(
    'lxc.net.0.type = macvlan\nlxc.net.0.macvlan.mode = bridge\nlxc.net.0.link = eth0\nlxc.net.0.hwaddr = 02:00:00:00:00:01',
  ),
  'interface of the host': box('lxc.net.0.type = phys\nlxc.net.0.link = eth1\nlxc.net.0.name = eth0'),
  'interface of the host with an address': box(
    'lxc.net.0.type = phys\nlxc.net.0.link = eth1\nlxc.net.0.ipv4.address = 192.0.2.7/24\nlxc.net.0.ipv4.gateway = 192.0.2.1',
  ),
  'VLAN of the host': box('lxc.net.0.type = vlan\nlxc.net.0.vlan.id = 2\nlxc.net.0.link = eth0'),
  'VLAN of the host, old': oldBox('lxc.network.type = vlan\nlxc.network.vlan.id = 2\nlxc.network.link = eth0'),
  'two networks': box(
    `${VETH}lxc.net.1.type = veth\nlxc.net.1.link = br1\nlxc.net.1.hwaddr = 02:00:00:00:00:02\nlxc.net.1.flags = up`,
  ),
  'two networks, old': oldBox(
    'lxc.network.type = veth\nlxc.network.link = br0\nlxc.network.hwaddr = 02:00:00:00:00:01\nlxc.network.type = veth\nlxc.network.link = br1\nlxc.network.hwaddr = 02:00:00:00:00:02',
  ),
  'a network of an unknown kind': box('lxc.net.0.type = warp'),
  'macvlan without a link': box('lxc.net.0.type = macvlan'),
  'a line that is none': box('this is no line'),
  'memory that is none': box('lxc.cgroup.memory.limit_in_bytes = much'),
  'users that are none': box('lxc.idmap = x 0 1 2'),
};

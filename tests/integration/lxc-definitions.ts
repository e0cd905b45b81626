/**
 * Definitions of containers, one for each thing that libvirt's format says of them: what libvirtd and our daemon keep of each is compared. Written for this
 * comparison; nothing of them is started.
 */

export interface ContainerParts {
  readonly name?: string;
  /** Before `<os>`. */
  readonly head?: string;
  readonly os?: string;
  /** Behind `<os>`. */
  readonly rest?: string;
  readonly devices?: string;
  readonly root?: string;
  readonly console?: string;
}

const ROOT = "<filesystem type='mount'><source dir='/srv/root'/><target dir='/'/></filesystem>";

export function containerOf(parts: ContainerParts = {}): string {
  const { name = 'box', head = "<memory unit='MiB'>64</memory>", rest = '', devices = '', root = ROOT } = parts;
  const os = parts.os ?? '<type>exe</type><init>/bin/sh</init>';
  return `<domain type='lxc'><name>${name}</name><uuid>5c5a3c6e-2d64-4a9e-8d2f-0b6a4d7c9e12</uuid>${head}<os>${os}</os>${rest}<devices>${root}${devices}${parts.console ?? "<console type='pty'/>"}</devices></domain>`;
}

const MAC = "<mac address='00:16:3e:12:34:56'/>";
const bridge = (inner: string): ContainerParts => ({
  devices: `<interface type='bridge'><source bridge='br0'/>${MAC}${inner}</interface>`,
});

/** What may be defined, and what is refused at that: both say the same of each. */
export const DEFINITIONS: Readonly<Record<string, ContainerParts>> = {
  'as little as there can be': { os: '<type>exe</type>', console: '' },
  'program with arguments, environment, folder and user': {
    os: "<type arch='x86_64'>exe</type><init>/usr/bin/env</init><initarg>-i</initarg><initarg>a b</initarg><initenv name='A'>1 2</initenv><initenv name='B'>2</initenv><initdir>/srv</initdir><inituser>nobody</inituser><initgroup>65534</initgroup>",
  },
  'an argument of nothing': { os: '<type>exe</type><init>/bin/sh</init><initarg/>' },
  'a variable of nothing': { os: "<type>exe</type><init>/bin/sh</init><initenv name='EMPTY'/>" },
  'a variable with markup': { os: "<type>exe</type><init>/bin/sh</init><initenv name='A'>1 &lt; 2</initenv>" },
  'user by number': { os: '<type>exe</type><init>/bin/sh</init><inituser>1000</inituser><initgroup>+1000</initgroup>' },
  'title, description, metadata': {
    head: "<title>A box</title><description>for tests &amp; more</description><metadata><a:b xmlns:a='urn:a'><a:c d='1'>x</a:c></a:b></metadata><memory>65536</memory>",
  },
  'current memory, maximum memory': {
    head: "<memory unit='GB'>1</memory><currentMemory unit='b'>536870912</currentMemory>",
  },
  'virtual CPUs with a set': {
    head: "<memory unit='MiB'>64</memory><vcpu cpuset='0-1'>2</vcpu>",
  },
  'placement of CPUs by itself': {
    head: "<memory unit='MiB'>64</memory><vcpu placement='auto'>2</vcpu>",
  },
  'CPU shares, period, quota': {
    head: "<memory unit='MiB'>64</memory><cputune><shares>512</shares><period>50000</period><quota>25000</quota></cputune>",
  },
  'quota of all of it': {
    head: "<memory unit='MiB'>64</memory><cputune><global_period>50000</global_period><global_quota>-1</global_quota></cputune>",
  },
  'memory limits': {
    head: "<memory unit='MiB'>64</memory><memtune><hard_limit unit='MiB'>64</hard_limit><soft_limit>32768</soft_limit><swap_hard_limit unit='GiB'>1</swap_hard_limit><min_guarantee>1024</min_guarantee></memtune>",
  },
  'huge pages': {
    head: "<memory unit='MiB'>64</memory><memoryBacking><hugepages/></memoryBacking>",
  },
  'limits of block devices': {
    head: "<memory unit='MiB'>64</memory><blkiotune><weight>500</weight><device><path>/dev/sda</path><weight>200</weight><read_bytes_sec>1000</read_bytes_sec><write_iops_sec>10</write_iops_sec></device><device><path>/dev/sdb</path><weight>300</weight></device></blkiotune>",
  },
  'memory of NUMA nodes': {
    head: "<memory unit='MiB'>64</memory><numatune><memory mode='interleave' nodeset='0'/></numatune>",
  },
  'memory of NUMA nodes, by default strict': {
    head: "<memory unit='MiB'>64</memory><numatune><memory nodeset='0'/></numatune>",
  },
  'partition of groups': {
    head: "<memory unit='MiB'>64</memory><resource><partition>/machine/tests</partition></resource>",
  },
  'partition that is no path': {
    head: "<memory unit='MiB'>64</memory><resource><partition>tests</partition></resource>",
  },
  'application id of Fibre Channel': {
    head: "<memory unit='MiB'>64</memory><resource><partition>/machine</partition><fibrechannel appid='userProvidedID'/></resource>",
  },
  'user mapping': {
    rest: "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='200000' count='65536'/></idmap>",
  },
  'user mapping out of order': {
    rest: "<idmap><uid start='1000' target='1000' count='1'/><uid start='0' target='100000' count='1000'/><gid start='0' target='100000' count='1000'/></idmap>",
  },
  'user mapping without root': {
    rest: "<idmap><uid start='1' target='100000' count='10'/><gid start='0' target='100000' count='10'/></idmap>",
  },
  'user mapping without groups': { rest: "<idmap><uid start='0' target='100000' count='10'/></idmap>" },
  'network of its own': { rest: '<features><privnet/></features>' },
  'capabilities by default': {
    rest: "<features><capabilities policy='default'><mknod state='on'/><sys_chroot state='off'/></capabilities></features>",
  },
  'capabilities denied': {
    rest: "<features><capabilities policy='deny'><chown state='on'/><dac_override state='on'/><setuid state='off'/></capabilities></features>",
  },
  'capabilities allowed': {
    rest: "<features><capabilities policy='allow'><sys_admin state='off'/></capabilities></features>",
  },
  'capabilities without policy': { rest: '<features><capabilities><mknod/></capabilities></features>' },
  'capabilities that nobody knows': {
    rest: "<features><capabilities policy='deny'><fly state='on'/></capabilities></features>",
  },
  'features of machines': { rest: '<features><acpi/><apic/><pae/></features>' },
  'namespaces of others': {
    head: "<memory unit='MiB'>64</memory>",
    rest: "<lxc:namespace xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><lxc:sharenet type='netns' value='red'/><lxc:shareuts type='name' value='other'/><lxc:shareipc type='pid' value='12345'/></lxc:namespace>",
  },
  'namespaces by a way that there is not': {
    rest: "<lxc:namespace xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><lxc:shareuts type='netns' value='red'/></lxc:namespace>",
  },
  'labels of AppArmor': {
    rest: "<seclabel type='static' model='apparmor' relabel='no'><label>my-profile</label></seclabel>",
  },
  'labels of SELinux': {
    rest: "<seclabel type='static' model='selinux' relabel='yes'><label>system_u:system_r:svirt_lxc_net_t:s0:c1,c2</label></seclabel>",
  },
  'dynamic labels': { rest: "<seclabel type='dynamic' model='selinux' relabel='yes'/>" },
  'no labels': { rest: "<seclabel type='none'/>" },
  'what happens at the end': {
    rest: '<on_poweroff>restart</on_poweroff><on_reboot>destroy</on_reboot><on_crash>preserve</on_crash>',
  },
  clock: { rest: "<clock offset='localtime'/>" },
  'clock of a time zone': { rest: "<clock offset='timezone' timezone='Europe/Vienna'/>" },
  'file systems of all kinds': {
    devices: `<filesystem type='bind'><source dir='/srv/home'/><target dir='/home'/></filesystem>
      <filesystem type='file' accessmode='passthrough'><driver type='loop' format='raw'/><source file='/srv/data.img'/><target dir='/data'/></filesystem>
      <filesystem type='file'><driver type='nbd' format='qcow2'/><source file='/srv/data.qcow2'/><target dir='/qcow'/></filesystem>
      <filesystem type='block'><source dev='/dev/vg/data'/><target dir='/block'/><readonly/></filesystem>
      <filesystem type='ram'><source usage='10' units='MiB'/><target dir='/run/scratch'/></filesystem>
      <filesystem type='template'><source name='debian'/><target dir='/template'/></filesystem>`,
  },
  'access and space of file systems': {
    devices: `<filesystem type='mount' accessmode='mapped'><source dir='/srv/a'/><target dir='/a'/></filesystem>
      <filesystem type='mount' accessmode='squash'><source dir='/srv/b'/><target dir='/b'/><readonly/></filesystem>
      <filesystem type='mount'><source dir='/srv/c'/><target dir='/c'/><space_hard_limit unit='MiB'>10</space_hard_limit><space_soft_limit unit='MiB'>5</space_soft_limit></filesystem>`,
  },
  'file system without target': { devices: "<filesystem type='mount'><source dir='/srv/a'/></filesystem>" },
  'file system without source': { devices: "<filesystem type='mount'><target dir='/a'/></filesystem>" },
  'file system in memory without size': { devices: "<filesystem type='ram'><target dir='/a'/></filesystem>" },
  'file system of an unknown kind': {
    devices: "<filesystem type='cloud'><source dir='/srv/a'/><target dir='/a'/></filesystem>",
  },
  'volume of a pool': {
    devices: "<filesystem type='volume'><source pool='default' volume='data'/><target dir='/a'/></filesystem>",
  },
  'interface on a bridge': bridge(''),
  'interface with names and addresses': bridge(
    "<guest dev='eth7'/><target dev='box0'/><ip address='192.0.2.5' family='ipv4' prefix='24'/><ip address='2001:db8::5' family='ipv6' prefix='64'/><route family='ipv4' address='0.0.0.0' gateway='192.0.2.1'/><route family='ipv6' address='2001:db8:1::' prefix='48' gateway='2001:db8::1' metric='5'/><link state='down'/><mtu size='1400'/>",
  ),
  'interface with limits': bridge(
    "<bandwidth><inbound average='1000' peak='5000' burst='5120'/><outbound average='128'/></bandwidth>",
  ),
  'interface on a network': {
    devices: `<interface type='network'><source network='default' portgroup='fast'/>${MAC}</interface>`,
  },
  'interface with peers': {
    devices: `<interface type='ethernet'><source><ip address='192.0.2.1' family='ipv4' peer='192.0.2.2' prefix='32'/></source>${MAC}<guest dev='p2p'/></interface>`,
  },
  'interfaces on a device': {
    devices: `<interface type='direct'><source dev='eth0' mode='bridge'/>${MAC}</interface><interface type='direct'><source dev='eth1'/><mac address='00:16:3e:12:34:57'/></interface>`,
  },
  'interface with a switch of VLANs': bridge("<vlan><tag id='42'/></vlan>"),
  'interface behind Open vSwitch': bridge(
    "<virtualport type='openvswitch'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport>",
  ),
  'interface with a model and filter': bridge("<model type='virtio'/><filterref filter='clean-traffic'/>"),
  'interface of user mode': { devices: `<interface type='user'>${MAC}</interface>` },
  'interface without source': { devices: `<interface type='bridge'>${MAC}</interface>` },
  'interface with an address that is none': bridge("<ip address='elsewhere' family='ipv4'/>"),
  'interface with a MAC address of many': {
    devices: "<interface type='bridge'><source bridge='br0'/><mac address='01:00:5e:00:00:01'/></interface>",
  },
  'three consoles': { console: "<console type='pty'/><console type='pty'/><console type='pty'/>" },
  'console with a target': { console: "<console type='pty'><target type='lxc' port='3'/></console>" },
  'console of a serial port': { console: "<console type='pty'><target type='serial' port='0'/></console>" },
  'consoles of files': { console: "<console type='file'><source path='/tmp/out'/></console>" },
  'devices of the host': {
    devices: `<hostdev mode='capabilities' type='storage'><source><block>/dev/sdb1</block></source></hostdev>
      <hostdev mode='capabilities' type='misc'><source><char>/dev/input/event3</char></source></hostdev>
      <hostdev mode='capabilities' type='net'><source><interface>eth5</interface></source><ip address='192.0.2.9' family='ipv4' prefix='24'/><route family='ipv4' address='0.0.0.0' gateway='192.0.2.1'/></hostdev>`,
  },
  'USB devices': {
    devices:
      "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
  },
  'device of the host that is not named': {
    devices: "<hostdev mode='capabilities' type='storage'><source/></hostdev>",
  },
  'another emulator': { devices: '<emulator>/opt/libvirt/libvirt_lxc</emulator>' },
  'disk of a machine': {
    devices: "<disk type='block' device='disk'><source dev='/dev/sda'/><target dev='vda' bus='virtio'/></disk>",
  },
  'graphics of a machine': { devices: "<graphics type='vnc'/>" },
  'balloon of a machine': { devices: "<memballoon model='none'/>" },
  'another architecture': { os: "<type arch='aarch64'>exe</type><init>/bin/sh</init>" },
  'half of the host': { os: "<type arch='i686'>exe</type><init>/bin/sh</init>" },
  'architecture that nobody knows': { os: "<type arch='pdp11'>exe</type><init>/bin/sh</init>" },
  'type of a machine': { os: '<type>hvm</type>' },
  'no type at all': { os: '<init>/bin/sh</init>' },
  'no memory': { head: '' },
  'memory of nothing': { head: '<memory>0</memory>' },
  'no root': { root: '' },
  'two roots': { devices: "<filesystem type='mount'><source dir='/srv/other'/><target dir='/'/></filesystem>" },
  'name with a slash': { name: 'a/b' },
  'name of nothing': { name: '' },
  'kernel of a machine': { os: '<type>exe</type><kernel>/boot/vmlinuz</kernel><init>/bin/sh</init>' },
  'boot of a machine': { os: "<type>exe</type><boot dev='hd'/><init>/bin/sh</init>" },
  'performance events': { rest: "<perf><event name='cmt' enabled='yes'/></perf>" },
  'host information': {
    head: "<memory unit='MiB'>64</memory><sysinfo type='smbios'><bios><entry name='vendor'>X</entry></bios></sysinfo>",
  },
  'unknown elements': { rest: '<antigravity/>', devices: '<flux capacitor="1"/>' },
};

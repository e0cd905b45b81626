/** Tables of what `ci debug` collects: commands, files, logs, device nodes. Reading them is `debug.ts`'s. */

/** A command and its arguments. */
type Command = readonly [command: string, ...args: string[]];

/** File name, command, and what it tells. */
export const COMMANDS: readonly (readonly [file: string, command: Command, what: string])[] = [
  ['links.txt', ['ip', '-details', 'address'], 'network interfaces'],
  ['routes.txt', ['ip', 'route', 'show', 'table', 'all'], 'routes'],
  ['nft.txt', ['nft', 'list', 'ruleset'], 'firewall rules (nft)'],
  ['iptables.txt', ['iptables-save'], 'firewall rules (iptables, the family in use)'],
  ['iptables-legacy.txt', ['iptables-legacy-save'], 'firewall rules (legacy)'],
  ['dmesg.txt', ['dmesg'], "the kernel's messages"],
  ['df.txt', ['df', '-h'], 'space'],
  [
    'packages.txt',
    [
      'dpkg-query',
      '-W',
      'qemu*',
      'libvirt*',
      'ovmf',
      'swtpm*',
      'virtiofsd',
      'passt',
      'crun',
      'dnsmasq*',
      'iptables',
      'nftables',
    ],
    'installed packages',
  ],
];

/** Programs whose first line says their version. */
export const VERSIONS: readonly Command[] = [
  ['qemu-system-x86_64', '--version'],
  ['qemu-system-aarch64', '--version'],
  ['qemu-img', '--version'],
  ['libvirtd', '--version'],
  ['virsh', '--version'],
  ['virtlogd', '--version'],
  ['dbus-daemon', '--version'],
  ['swtpm', '--version'],
  ['passt', '--version'],
  ['crun', '--version'],
  ['runc', '--version'],
  ['dnsmasq', '--version'],
  ['iptables', '--version'],
  ['nft', '--version'],
  ['systemctl', '--version'],
];

/** File name, path, and what it tells. */
export const FILES: readonly (readonly [file: string, path: string, what: string])[] = [
  ['mountinfo.txt', '/proc/self/mountinfo', 'mounts'],
  ['self-cgroup.txt', '/proc/self/cgroup', 'the cgroups of this program'],
  ['cgroups.txt', '/proc/cgroups', "the kernel's controllers"],
  ['limits.txt', '/proc/self/limits', 'limits'],
  ['status.txt', '/proc/self/status', 'capabilities and filters'],
  ['uid-map.txt', '/proc/self/uid_map', 'user namespace'],
  ['meminfo.txt', '/proc/meminfo', 'memory'],
  ['cpuinfo.txt', '/proc/cpuinfo', 'processor'],
  ['modules.txt', '/proc/modules', 'kernel modules'],
  ['misc.txt', '/proc/misc', 'misc devices (kvm, tun)'],
  ['network.txt', '/proc/net/dev', 'network interfaces, where there is no ip'],
  ['cmdline.txt', '/proc/cmdline', 'kernel command line'],
  ['os-release.txt', '/etc/os-release', 'distribution'],
];

export const LOG_FOLDERS: readonly string[] = [
  '/var/log/libvirt',
  '/var/log/libvirt/qemu',
  '/var/log/libvirt/lxc',
  '/var/log/swtpm/libvirt/qemu',
  '/var/log/nestling',
];

export const DEVICES: readonly string[] = [
  '/dev/kvm',
  '/dev/net/tun',
  '/dev/vhost-net',
  '/dev/vhost-vsock',
  '/dev/fuse',
  '/dev/loop-control',
  '/dev/null',
  '/dev/urandom',
];

/**
 * A long table of messages that people meet when a guest does not start, each with its cause and what to do: libvirt's, QEMU's, LXC's, the
 * helpers'. Texts only, loaded when something has gone wrong.
 */

export interface Symptom {
  readonly id: string;
  /** Any of them, anywhere in a line. */
  readonly patterns: readonly RegExp[];
  readonly cause: string;
  readonly fix: string;
}

export const SYMPTOMS: readonly Symptom[] = [
  {
    id: 'cgroup-v2-populated-root',
    patterns: [
      /unable to open '?\/sys\/fs\/cgroup\/machine[^']*'?: No such file or directory/i,
      /sys\/fs\/cgroup\/machine.*No such file or directory/i,
    ],
    cause:
      "without systemd libvirt writes +cpu and +cpuset to a cgroup v2 root that holds processes; that turns it 'domain threaded', QEMU cannot enter the group 'machine' (EOPNOTSUPP), libvirt removes the group again and reports only that it is gone",
    fix: "nestling ci prepare --cgroups=move   # before libvirtd starts; or run the guest with 'nestling run', which needs no group of its own",
  },
  {
    id: 'cgroup-subtree-busy',
    patterns: [/cgroup\.subtree_control.*(Device or resource busy|EBUSY)/i],
    cause: 'a cgroup v2 group that holds processes cannot give memory, io or other domain controllers to its children',
    fix: 'nestling ci prepare --cgroups=move',
  },
  {
    id: 'cgroup-threaded',
    patterns: [
      /cgroup\.(procs|subtree_control|threads).*(Operation not supported|EOPNOTSUPP)/i,
      /domain (threaded|invalid)/i,
    ],
    cause:
      'a threaded controller (cpu, cpuset) was enabled in a group that held processes, which made the group threaded and its children invalid',
    fix: 'for c in cpu cpuset pids; do echo -$c > /sys/fs/cgroup/cgroup.subtree_control; done; nestling ci prepare --cgroups=move',
  },
  {
    id: 'lxc-join-controllers',
    patterns: [
      /Failed to create symlink \/sys\/fs\/cgroup\/net_cls: Operation not permitted/i,
      /Failed to (mount|create) .*net_cls,net_prio/i,
    ],
    cause:
      'the systemd inside an old guest (before version 226 or so) joins cgroup controllers by links, which it may not make in a container whose /sys/fs/cgroup is given',
    fix: "in the guest's root: printf 'JoinControllers=\\n' >> etc/systemd/system.conf",
  },
  {
    id: 'lxc-old-systemd-v2',
    patterns: [
      /Failed to mount cgroup at \/sys\/fs\/cgroup\/systemd/i,
      /systemd.*unified cgroup hierarchy.*not supported/i,
      /\[!+\] Failed to mount API filesystems/i,
    ],
    cause: 'the systemd inside the guest is older than cgroup v2 (before 230), and the host has nothing else',
    fix: 'boot the host with systemd.unified_cgroup_hierarchy=0, or give the guest a newer release; cgroup v1 name=systemd mounted on the host is enough',
  },
  {
    id: 'kvm-no-capabilities',
    patterns: [
      /could not find capabilities for domaintype=kvm/i,
      /invalid argument: could not find capabilities for arch=\S+ domaintype=kvm/i,
    ],
    cause:
      'libvirt found KVM unusable when it probed QEMU: /dev/kvm is missing, not accessible to the user that QEMU runs as, or no virtualization flag is there',
    fix: "nestling doctor   # says which; or define the guest with <domain type='qemu'> (emulation)",
  },
  {
    id: 'virtlogd-socket',
    patterns: [/Failed to connect socket to '?\/(var\/)?run\/libvirt\/virtlogd-sock'?/i],
    cause: "libvirt hands guests' output to virtlogd, and no virtlogd runs: there is no systemd to start it",
    fix: 'virtlogd --daemon   # or stdio_handler = "file" in qemu.conf; nestling ci prepare --services starts all in order',
  },
  {
    id: 'libvirt-socket',
    patterns: [
      /Failed to connect socket to '?\/(var\/)?run\/libvirt\/(libvirt|virtqemud)-sock(-ro)?'?/i,
      /failed to connect to the hypervisor/i,
    ],
    cause: 'no libvirtd (or virtqemud) runs, or it listens elsewhere',
    fix: 'nestling ci prepare --services   # or libvirtd --daemon; Nestling itself needs no daemon: nestling run guest.xml',
  },
  {
    id: 'kvm-module',
    patterns: [
      /Could not access KVM kernel module/i,
      /failed to initialize kvm: (No such file or directory|Permission denied)/i,
    ],
    cause:
      'QEMU could not open /dev/kvm: it is not there (module not loaded, not given to the container) or not for the user that QEMU runs as',
    fix: 'ls -l /dev/kvm; modprobe kvm_intel || modprobe kvm_amd; usermod -aG kvm USER   # in a container: --device /dev/kvm, nestling ci prepare --kvm',
  },
  {
    id: 'kvm-msr',
    patterns: [/error: failed to set MSR/i, /failed to set MSR 0x[0-9a-f]+/i, /kvm_buf_set_msrs: Assertion/i],
    cause:
      'the KVM below does not know a register that QEMU sets: it is nested in a hypervisor that does not carry it through (kvm_pvm, old hosts)',
    fix: "run under emulation: <domain type='qemu'> or nestling run --accel tcg; or use another CPU model than host-passthrough",
  },
  {
    id: 'kvm-busy',
    patterns: [/ioctl\(KVM_CREATE_VM\) failed: 16/i, /KVM_CREATE_VM.*Device or resource busy/i],
    cause: "another hypervisor (VirtualBox, VMware) holds the processor's virtualization",
    fix: 'stop its guests or unload its modules: rmmod vboxdrv vmmon',
  },
  {
    id: 'kvm-dev-permission',
    patterns: [/\/dev\/kvm'?.*Permission denied/i, /Permission denied.*\/dev\/kvm/i],
    cause:
      "libvirt's QEMU gives up root and runs as libvirt-qemu, whom the mode of /dev/kvm keeps out; in containers the node is often 0600 root",
    fix: 'chown root:kvm /dev/kvm && chmod 0660 /dev/kvm && usermod -aG kvm libvirt-qemu   # nestling ci prepare --kvm does it',
  },
  {
    id: 'device-cgroup-denied',
    patterns: [/\/dev\/\S+'?: Operation not permitted/i, /Could not open '?\/dev\/\S+'?: Operation not permitted/i],
    cause:
      "the device list of a cgroup denies the node: libvirt's for the guest, or the container's for everything in it",
    fix: 'add it to cgroup_device_acl in qemu.conf, or start the container with --device; see /sys/fs/cgroup/devices/…/devices.list (v1)',
  },
  {
    id: 'bridge-missing',
    patterns: [
      /Cannot get interface MTU on '[^']+': No such device/i,
      /failed to get mtu of bridge/i,
      /bridge '?\S+'? does not exist/i,
      /Unable to add bridge \S+ port \S+: No such device/i,
    ],
    cause: 'the bridge that the definition names does not exist on this host',
    fix: "ip link add NAME type bridge && ip link set NAME up   # or <interface type='user'>; ip -br link shows those that there are",
  },
  {
    id: 'network-not-active',
    patterns: [/network '[^']+' is not active/i],
    cause: 'the virtual network is defined but was not started: without systemd nothing starts it at boot',
    fix: 'virsh net-start default && virsh net-autostart default',
  },
  {
    id: 'network-not-found',
    patterns: [/Network not found: no network with matching name '[^']+'/i],
    cause: 'no virtual network of that name is defined on this host',
    fix: 'virsh net-define /usr/share/libvirt/networks/default.xml && virsh net-start default',
  },
  {
    id: 'oom-killed',
    patterns: [
      /Out of memory: Killed process \d+ \((qemu|kvm)/i,
      /oom-kill:.*task=qemu/i,
      /Memory cgroup out of memory: Killed process/i,
      /ended by SIGKILL|ended unexpectedly with signal SIGKILL|terminated on signal 9/i,
    ],
    cause:
      'the kernel killed QEMU for want of memory: the limit of its cgroup or of the whole container was reached; a guest needs its <memory> and some 100 to 300 MiB more',
    fix: 'dmesg | tail; give the container more memory, the guest less <memory>, or raise <hard_limit>',
  },
  {
    id: 'silent-console',
    patterns: [
      /nothing (appears )?on the serial console/i,
      /no output on (the )?(serial )?console/i,
      /console stays (empty|blank|silent)/i,
    ],
    cause:
      "the guest's kernel was not told to use the serial port, or the definition has none: output goes to the graphical display only",
    fix: "add <serial type='pty'/> to the definition and console=ttyS0 to the guest's kernel command line (GRUB_CMDLINE_LINUX, then update-grub); arm64: ttyAMA0",
  },
  {
    id: 'lxc-memory-64mib',
    patterns: [/Failed to (fork|allocate).*(init|systemd)/i, /init: .*cannot allocate memory/i],
    cause:
      'containers converted from LXC configurations get <memory>65536</memory> (64 MiB), which is a real limit for libvirt; systemd needs more',
    fix: "<memory unit='MiB'>512</memory> or more in the container's definition",
  },
  {
    id: 'virtlockd-lock',
    patterns: [/Failed to get "(write|consistent read|shared "write")" lock/i, /Is another process using the image/i],
    cause: 'another QEMU, or qemu-img, has the image open: two writers would destroy it',
    fix: 'lsof IMAGE; end the other guest, or give this one an overlay: qemu-img create -f qcow2 -b IMAGE -F qcow2 OVERLAY',
  },
  {
    id: 'backing-missing',
    patterns: [
      /Could not open backing file/i,
      /Could not open '[^']+': No such file or directory/i,
      /Cannot access (backing file|storage file) '[^']+'.*No such file/i,
    ],
    cause: 'an image, or one that it stands on, is not where the definition or the image says',
    fix: 'qemu-img info --backing-chain IMAGE; qemu-img rebase -u -b NEWPATH -F FORMAT IMAGE',
  },
  {
    id: 'image-permission',
    patterns: [/Could not open '[^']+': Permission denied/i, /Cannot access storage file '[^']+'.*Permission denied/i],
    cause:
      'the user that QEMU runs as may not read the file, or may not pass one of the folders above it (home folders are 0700)',
    fix: 'namei -l PATH; setfacl -m u:libvirt-qemu:x FOLDER for each that denies, or move the image to /var/lib/libvirt/images',
  },
  {
    id: 'image-format',
    patterns: [/Image is not in (qcow2|raw|vmdk|vdi) format/i, /Unknown driver '[^']+'/i],
    cause: 'the definition names another format than the image has, or one that this QEMU was built without',
    fix: "qemu-img info IMAGE; correct <driver type='…'/>; apt-get install qemu-block-extra for network formats",
  },
  {
    id: 'no-space',
    patterns: [/No space left on device/i, /BLOCK_IO_ERROR.*enospc/i, /paused.*(ENOSPC|I\/O error)/i],
    cause: 'a file system is full; a guest whose disk cannot grow is paused until there is room',
    fix: 'df -h; make room, then: virsh resume GUEST',
  },
  {
    id: 'emulator-missing',
    patterns: [
      /Cannot check QEMU binary \S+: No such file or directory/i,
      /there is no emulator \S+/i,
      /Cannot find suitable emulator for \S+/i,
    ],
    cause: 'the emulator that the definition names, or the one for its architecture, is not installed',
    fix: 'apt-get install qemu-system-x86   # qemu-system-arm, qemu-system-misc; leave <emulator> out to have it found',
  },
  {
    id: 'machine-unknown',
    patterns: [/unsupported machine type/i, /Emulator '[^']+' does not support machine type '[^']+'/i],
    cause: 'the machine type belongs to another version of QEMU or another distribution (rhel, ubuntu names)',
    fix: "qemu-system-x86_64 -machine help; write the alias: machine='q35' or 'pc'",
  },
  {
    id: 'cpu-incompatible',
    patterns: [
      /guest CPU doesn't match specification: missing features/i,
      /the CPU is incompatible with host CPU/i,
      /Host CPU does not provide required features/i,
    ],
    cause:
      'the CPU model that the definition asks for has features that this host has not (or not under this hypervisor)',
    fix: "<cpu mode='host-model'/>, or <cpu mode='custom' check='none'>; nestling domcapabilities lists usable models",
  },
  {
    id: 'cannot-allocate-memory',
    patterns: [
      /cannot set up guest memory '[^']*': Cannot allocate memory/i,
      /unable to map backing store for guest RAM/i,
      /os_mem_prealloc: (Insufficient free host memory|preallocating memory failed)/i,
    ],
    cause: "the host has not enough free memory (or huge pages) for the guest's <memory>",
    fix: 'free -h; grep Huge /proc/meminfo; sysctl -w vm.nr_hugepages=N, or less <memory>',
  },
  {
    id: 'memlock',
    patterns: [/(VFIO_MAP_DMA|vfio_dma_map).*(Cannot allocate memory|-12)/i, /Unable to lock .* memory/i],
    cause: 'guests with VFIO devices or <locked/> lock all of their memory, and the limit (memlock) is lower',
    fix: 'ulimit -l unlimited   # docker run --ulimit memlock=-1; libvirt: <memtune><hard_limit>',
  },
  {
    id: 'vnc-port',
    patterns: [
      /Failed to find an available port: Address already in use/i,
      /Failed to bind socket: Address already in use/i,
      /internal error: Unable to find an unused port in range/i,
    ],
    cause: 'the port of a display or forward is taken by another program or guest',
    fix: "ss -ltnp; <graphics type='vnc' autoport='yes'/>",
  },
  {
    id: 'socket-path-too-long',
    patterns: [/UNIX socket path '[^']+' (is )?too long/i, /Path \S+ too long for unix socket/i],
    cause: "a socket's path has at most 107 bytes, and it lies below a long TMPDIR or root",
    fix: 'export TMPDIR=/tmp; a shorter root (Nestling keeps its sockets in /run/nestling)',
  },
  {
    id: 'tun-permission',
    patterns: [
      /Unable to open \/dev\/net\/tun/i,
      /could not (open|configure) \/dev\/net\/tun/i,
      /Unable to create tap device/i,
    ],
    cause: '/dev/net/tun is missing, or the program lacks CAP_NET_ADMIN',
    fix: "docker run --device /dev/net/tun --cap-add NET_ADMIN; nestling ci prepare; or <interface type='user'>",
  },
  {
    id: 'bridge-helper',
    patterns: [
      /access denied by acl file/i,
      /failed to parse default acl file/i,
      /failed to create tun device: Operation not permitted/i,
    ],
    cause:
      'qemu-bridge-helper, for guests of ordinary users, lets only bridges in /etc/qemu/bridge.conf be used, and must be setuid root',
    fix: "echo 'allow virbr0' >> /etc/qemu/bridge.conf; chmod u+s /usr/lib/qemu/qemu-bridge-helper",
  },
  {
    id: 'dnsmasq-address-in-use',
    patterns: [
      /dnsmasq: failed to create listening socket for \S+: Address already in use/i,
      /dnsmasq: failed to bind/i,
    ],
    cause: 'another DNS server listens on all addresses, also on that of the virtual network',
    fix: "ss -lunp 'sport = :53'; let it listen on its own addresses only (bind-interfaces)",
  },
  {
    id: 'network-in-use',
    patterns: [/Network is already in use by interface/i],
    cause:
      "the subnet of the virtual network is one that this host already has a route to: inside a guest of libvirt it is the outer network's 192.168.122.0/24",
    fix: 'virsh net-edit default: another <ip address>, as 192.168.123.1',
  },
  {
    id: 'iptables-legacy-nft',
    patterns: [
      /iptables.*(Could not fetch rule set generation id|incompatible, use 'nft' tool)/i,
      /can't initialize iptables table `?'?nat'?.*Table does not exist/i,
      /iptables.*Failed to initialize nft: Protocol not supported/i,
    ],
    cause:
      'this iptables is for another rule family than the kernel has (legacy or nft): common in containers whose image is newer or older than the host',
    fix: 'nestling ci prepare --firewall   # or update-alternatives --set iptables /usr/sbin/iptables-legacy',
  },
  {
    id: 'firewall-permission',
    patterns: [/(iptables|nft|ebtables).*(Permission denied|Operation not permitted|you must be root)/i],
    cause: 'the program may not change firewall rules: no root, or no CAP_NET_ADMIN in the container',
    fix: 'docker run --cap-add NET_ADMIN …, or user-mode networking',
  },
  {
    id: 'virtiofsd-shared-memory',
    patterns: [
      /vhost-user.*memory.*share/i,
      /'virtiofs' requires one or more shared memory/i,
      /virtiofs requires shared memory/i,
    ],
    cause: "virtiofsd reads the guest's memory, so that memory must be shared",
    fix: "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
  },
  {
    id: 'virtiofsd-namespace',
    patterns: [
      /virtiofsd.*(unshare|sandbox|mount).*(Operation not permitted|failed)/i,
      /Failed to (enter|prepare) (namespace )?sandbox/i,
    ],
    cause: 'virtiofsd isolates itself with namespaces, which this container does not allow',
    fix: "<binary><sandbox mode='chroot'/></binary> in the <filesystem>, or docker run --cap-add SYS_ADMIN",
  },
  {
    id: 'swtpm-missing',
    patterns: [
      /Unable to find 'swtpm(_setup)?' binary/i,
      /TPM version '?2\.0'? is not supported/i,
      /swtpm_setup.*not (found|installed)/i,
    ],
    cause: 'the guest has an emulated TPM, and swtpm is not installed',
    fix: 'apt-get install swtpm swtpm-tools',
  },
  {
    id: 'swtpm-permission',
    patterns: [/swtpm.*(Permission denied|could not open|Could not create)/i],
    cause:
      "the TPM's state folder belongs to another user (swtpm_user): often after guests were run as root and then not",
    fix: "chown -R tss:tss /var/lib/libvirt/swtpm/UUID   # or remove the folder: the guest's TPM is then new",
  },
  {
    id: 'firmware-missing',
    patterns: [
      /Unable to find (any firmware|'efi' firmware)/i,
      /operation failed: Unable to find .* firmware that is compatible/i,
      /Failed to open file '\/usr\/share\/OVMF/i,
    ],
    cause: 'no firmware that fits the guest (UEFI, Secure Boot, architecture) is described in /usr/share/qemu/firmware',
    fix: 'apt-get install ovmf   # qemu-efi-aarch64 for arm64; Secure Boot needs machine q35 and <smm state="on"/>',
  },
  {
    id: 'nvram-template',
    patterns: [/Unable to find any master var store for loader/i, /nvram.*No such file or directory/i],
    cause: 'the definition names a UEFI loader without a template for its variables',
    fix: "<os firmware='efi'> without <loader>: both are found then",
  },
  {
    id: 'no-bootable-device',
    patterns: [
      /No bootable device/i,
      /Boot failed: not a bootable disk/i,
      /BdsDxe: failed to load Boot/i,
      /UEFI Interactive Shell/i,
    ],
    cause:
      'the firmware found nothing to start: no disk with a boot sector (BIOS) or no EFI partition (UEFI), or the image is for the other kind of firmware',
    fix: "qemu-img info and file IMAGE; try <os firmware='efi'> or leave it out; <boot dev='hd'/>",
  },
  {
    id: 'kernel-panic-root',
    patterns: [
      /VFS: Unable to mount root fs/i,
      /ALERT! .*does not exist\. Dropping to a shell/i,
      /Kernel panic - not syncing: .*root/i,
    ],
    cause:
      "the guest's kernel does not find its disk: the driver for the bus (virtio, scsi, sata) is not in its initramfs, or root= names another device",
    fix: 'use the bus that the guest was installed with; add virtio_blk and virtio_scsi to its initramfs; root=UUID=…',
  },
  {
    id: 'agent-unresponsive',
    patterns: [/QEMU guest agent is not (connected|available)/i, /Guest agent is not responding/i],
    cause: 'no qemu-guest-agent runs in the guest, or the definition has no channel for it',
    fix: "apt-get install qemu-guest-agent in the guest; <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
  },
  {
    id: 'apparmor-denied',
    patterns: [/apparmor="DENIED".*(libvirt|qemu)/i, /internal error: cannot load AppArmor profile/i],
    cause: "AppArmor's profile of the guest or of libvirtd does not allow a file or call",
    fix: 'dmesg | grep DENIED; add the path to /etc/apparmor.d/local/abstractions/libvirt-qemu, or security_driver = "none" in qemu.conf',
  },
  {
    id: 'selinux-denied',
    patterns: [/avc: +denied .*svirt/i, /unable to set security context '[^']+' on '[^']+'/i],
    cause: 'SELinux keeps the guest from a file that has another label, or the file system has no labels (NFS, FUSE)',
    fix: 'ausearch -m avc -ts recent; restorecon FILE; setsebool -P virt_use_nfs 1',
  },
  {
    id: 'dac-chown',
    patterns: [/unable to set user and group to '\d+:\d+' on '[^']+': Operation not permitted/i],
    cause:
      'libvirt changes the owner of images to the user that QEMU runs as, and this file system (NFS, a user namespace) refuses',
    fix: 'dynamic_ownership = 0 in qemu.conf, with files that this user may use',
  },
  {
    id: 'polkit',
    patterns: [/authentication unavailable: no polkit agent available/i, /access denied by policy/i],
    cause: 'polkit guards the system daemon, and nobody is there to ask for a password',
    fix: 'usermod -aG libvirt USER; or unix_sock_auth = "none" in libvirtd.conf inside a CI container',
  },
  {
    id: 'machined',
    patterns: [
      /org\.freedesktop\.machine1/i,
      /Failed to (register|create) machine/i,
      /Machine '[^']+' already exists/i,
    ],
    cause: 'systemd-machined does not answer, or still has a machine of that name from before',
    fix: 'machinectl list; machinectl terminate NAME; apt-get install systemd-container',
  },
  {
    id: 'no-dbus',
    patterns: [/Failed to connect (to )?socket.*dbus\/system_bus_socket/i, /Unable to get DBus system bus connection/i],
    cause: 'no D-Bus system bus runs: there is no systemd to start it',
    fix: 'mkdir -p /run/dbus && dbus-uuidgen --ensure && dbus-daemon --system   # nestling ci prepare --services',
  },
  {
    id: 'stale-pid',
    patterns: [/Failed to acquire pid file '[^']+'/i, /pid file .* already exists/i],
    cause: 'another copy of the daemon runs, or one has died and left its pid file locked by a process that it started',
    fix: 'fuser -v PIDFILE; end that process, or remove the file if none holds it',
  },
  {
    id: 'domain-exists',
    patterns: [
      /domain '[^']+' already exists with uuid/i,
      /domain is already (active|running)/i,
      /is already defined with uuid/i,
    ],
    cause: 'a guest of that name or UUID is defined or runs already',
    fix: 'virsh list --all; virsh undefine NAME, or another <name> and no <uuid>',
  },
  {
    id: 'qmp-exited',
    patterns: [
      /qemu unexpectedly closed the monitor/i,
      /process exited while connecting to monitor/i,
      /Failed to connect to monitor/i,
    ],
    cause:
      "QEMU ended before it could be spoken to; the real reason is in what it said then, behind this text or in the guest's log",
    fix: 'tail /var/log/libvirt/qemu/NAME.log; nestling doctor --explain that file',
  },
  {
    id: 'qemu-option-unknown',
    patterns: [
      /qemu-system-\S+: -\S+: invalid option/i,
      /Property '[^']+' not found/i,
      /'[^']+' is not a valid device model name/i,
    ],
    cause:
      'the definition asks for something that this QEMU was built without or has not yet; devices are in packages of their own on Debian',
    fix: 'apt-get install qemu-system-modules-spice qemu-system-modules-opengl qemu-block-extra; nestling capabilities --json shows what there is',
  },
  {
    id: 'timeout-state-change-lock',
    patterns: [/cannot acquire state change lock \(held by/i, /Timed out during operation: cannot acquire/i],
    cause:
      'another operation of the same guest has not ended: a monitor that hangs, a disk that does not answer, a migration',
    fix: 'virsh domjobinfo NAME; see whether QEMU is in state D: ps -o pid,stat,wchan -C qemu-system-x86_64',
  },
  {
    id: 'cgroup-not-mounted',
    patterns: [
      /cgroup (CPU|memory|blkio|cpuset)? ?controller is not mounted/i,
      /(CPU|Memory|Block I\/O) (tuning|cgroup) is not available on this host/i,
    ],
    cause: 'the definition has limits (<cputune>, <memtune>, <blkiotune>), and the controller for them is not there',
    fix: 'nestling doctor; nestling ci prepare --cgroups; or remove the limits',
  },
  {
    id: 'clone-mac',
    patterns: [/unsupported configuration: expected unicast mac address/i, /MAC address \S+ is already in use/i],
    cause: 'the MAC address is a multicast one (odd first byte), or another guest has it',
    fix: 'leave <mac> out, or begin with 52:54:00',
  },
  {
    id: 'qemu-user-binfmt',
    patterns: [/exec format error/i, /cannot execute binary file: Exec format error/i],
    cause: 'a program of a foreign architecture, and no emulator is registered for it',
    fix: 'apt-get install qemu-user-static binfmt-support; cat /proc/sys/fs/binfmt_misc/qemu-*',
  },
  {
    id: 'user-namespace-denied',
    patterns: [
      /unshare.*Operation not permitted/i,
      /clone.*newuser.*Operation not permitted/i,
      /write to uid_map failed/i,
    ],
    cause: 'this kernel or container does not let ordinary users make namespaces',
    fix: 'sysctl kernel.unprivileged_userns_clone user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns; docker run --security-opt seccomp=unconfined',
  },
];

/** A symptom that was found in a text. */
export interface Explained {
  readonly symptom: Symptom;
  /** 1-based. */
  readonly line: number;
  readonly text: string;
}

/** Texts that only say that something ended; what stands before or after them is the cause. */
const CONSEQUENCES = new Set(['qmp-exited', 'libvirt-socket']);

/** All known symptoms in a text, each once, causes before mere consequences, then in the order of the text. */
export function explain(text: string): Explained[] {
  const found = new Map<string, Explained>();
  text.split('\n').forEach((line, index) => {
    for (const symptom of SYMPTOMS) {
      if (!found.has(symptom.id) && symptom.patterns.some((pattern) => pattern.test(line))) {
        found.set(symptom.id, { symptom, line: index + 1, text: line.trim() });
      }
    }
  });
  const rank = ({ symptom }: Explained): number => (CONSEQUENCES.has(symptom.id) ? 1 : 0);
  return [...found.values()].toSorted((a, b) => rank(a) - rank(b) || a.line - b.line);
}

/** The known symptom that shares the most words with a text, for texts that match none. */
export function nearestSymptom(text: string): Symptom | undefined {
  const words = new Set(text.toLowerCase().match(/[a-z]{4,}/g) ?? []);
  const scored = SYMPTOMS.map((symptom) => {
    const own = new Set(`${symptom.id} ${symptom.cause}`.toLowerCase().match(/[a-z]{4,}/g) ?? []);
    return { symptom, score: [...words].filter((word) => own.has(word)).length };
  });
  const best = scored.reduce((a, b) => (b.score > a.score ? b : a));
  return best.score >= 2 ? best.symptom : undefined;
}

/**
 * A long table of messages that people meet when a guest does not start, each with its cause and what to do: libvirt's, QEMU's, LXC's, the
 * helpers'. Texts only, loaded when something has gone wrong. One file, however long: it is one table, every row
 * of which is looked at, and whose rows have no order that would make parts of it.
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
      'without systemd libvirt switches on cpu and cpuset in a cgroup v2 group that holds processes, so that QEMU cannot enter the group below it; libvirt removes that group again and says only that it is gone',
    fix: "nestling ci prepare --cgroups=move   # before libvirtd starts; 'nestling run' needs no group of its own",
  },
  {
    id: 'cgroup-subtree-busy',
    patterns: [/cgroup\.subtree_control.*(Device or resource busy|EBUSY)/i],
    cause: 'a cgroup v2 group that holds processes cannot give controllers (memory, io) to groups below it',
    fix: 'nestling ci prepare --cgroups=move',
  },
  {
    id: 'cgroup-threaded',
    patterns: [
      /cgroup\.(procs|subtree_control|threads).*(Operation not supported|EOPNOTSUPP)/i,
      /domain (threaded|invalid)/i,
    ],
    cause:
      "cpu or cpuset was switched on in a group that held processes: the group is 'domain threaded' now, and QEMU cannot enter groups below it",
    fix: 'for c in cpu cpuset pids; do echo -$c > /sys/fs/cgroup/cgroup.subtree_control; done; nestling ci prepare --cgroups=move',
  },
  {
    id: 'lxc-join-controllers',
    patterns: [
      /Failed to create symlink \/sys\/fs\/cgroup\/net_cls: Operation not permitted/i,
      /Failed to (mount|create) .*net_cls,net_prio/i,
    ],
    cause:
      'the systemd inside is older than 232 and knows only cgroup v1: it wants to make links in /sys/fs/cgroup, which is cgroup v2 on this host and takes none',
    fix: "in the container's root: printf '[Manager]\\nJoinControllers=\\n' >> etc/systemd/system.conf   # nestling doctor GUEST.xml looks for it",
  },
  {
    id: 'lxc-old-systemd-v2',
    patterns: [
      /Failed to mount cgroup at \/sys\/fs\/cgroup\/systemd/i,
      /systemd.*unified cgroup hierarchy.*not supported/i,
      /\[!+\] Failed to mount API filesystems/i,
    ],
    cause: 'the systemd inside is older than 232 and knows only cgroup v1, and this host has only v2',
    fix: 'use a newer release inside, or boot this host with systemd.unified_cgroup_hierarchy=0; some come up with: mkdir /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd',
  },
  {
    id: 'kvm-no-capabilities',
    patterns: [
      /could not find capabilities for domaintype=kvm/i,
      /invalid argument: could not find capabilities for arch=\S+ domaintype=kvm/i,
    ],
    cause:
      'libvirt found no usable KVM: /dev/kvm is not there, or not for the user that QEMU runs as, or the processor has no virtualization',
    fix: "nestling doctor   # says which; <domain type='qemu'> runs the guest without KVM, slowly",
  },
  {
    id: 'virtlogd-socket',
    patterns: [/Failed to connect socket to '?\/(var\/)?run\/libvirt\/virtlogd-sock'?/i],
    cause: "libvirt gives guests' output to virtlogd, which does not run: without systemd nothing starts it",
    fix: 'virtlogd --daemon   # nestling ci prepare --services starts it and the others in order; or stdio_handler = "file" in qemu.conf',
  },
  {
    id: 'libvirt-socket-permission',
    patterns: [/libvirt\/\S+-sock(-ro)?'?: Permission denied/i],
    cause: "only root and the group libvirt may talk to libvirt's system daemon",
    fix: 'usermod -aG libvirt USER   # and log in anew; or use guests of your own: virsh -c qemu:///session',
  },
  {
    id: 'libvirt-socket',
    patterns: [
      /Failed to connect socket to '?\/(var\/)?run\/libvirt\/(libvirt|virtqemud)-sock(-ro)?'?/i,
      /failed to connect to the hypervisor/i,
    ],
    cause: 'no libvirtd (or virtqemud) runs, or it listens elsewhere',
    fix: 'libvirtd --daemon   # in a container: nestling ci prepare --services; or nestling daemon, which virsh reaches alike',
  },
  {
    id: 'kvm-module',
    patterns: [
      /Could not access KVM kernel module/i,
      /failed to initialize kvm: (No such file or directory|Permission denied)/i,
    ],
    cause:
      "QEMU cannot open /dev/kvm: the module is not loaded, the container has not got the node, or it is not for QEMU's user",
    fix: 'ls -l /dev/kvm; modprobe kvm_intel || modprobe kvm_amd   # in a container: --device /dev/kvm, then nestling ci prepare --kvm',
  },
  {
    id: 'kvm-msr',
    patterns: [/failed to set MSR/i, /kvm_buf_set_msrs: Assertion/i],
    cause:
      'this KVM refuses a processor register that QEMU sets: it runs inside another hypervisor (kvm_pvm, old hosts) that does not pass it on',
    fix: "<domain type='qemu'>, or nestling run --accel tcg; where KVM itself works, a named CPU model in place of host-passthrough",
  },
  {
    id: 'kvm-busy',
    patterns: [/ioctl\(KVM_CREATE_VM\) failed: 16/i, /KVM_CREATE_VM.*Device or resource busy/i],
    cause: "another hypervisor (VirtualBox, VMware) holds the processor's virtualization",
    fix: 'VBoxManage list runningvms; end them, then: modprobe -r vboxnetadp vboxnetflt vboxdrv   # VMware: vmmon',
  },
  {
    id: 'kvm-dev-permission',
    patterns: [
      /\/dev\/kvm'?.*Permission denied/i,
      /Permission denied.*\/dev\/kvm/i,
      /QEMU.*(drops|dropping|dropped) root/i,
      /\/dev\/kvm permissions/i,
    ],
    cause:
      "QEMU does not run as root but as libvirt-qemu (or you), and /dev/kvm is not for that user; in containers it is often root's alone",
    fix: 'chown root:kvm /dev/kvm && chmod 0660 /dev/kvm && usermod -aG kvm libvirt-qemu   # nestling ci prepare --kvm does it',
  },
  {
    id: 'device-cgroup-denied',
    patterns: [/\/dev\/\S+'?: Operation not permitted/i, /devices? cgroup.*\bden(ial|ied|ies|y)/i],
    cause: "a cgroup's list of devices denies it: the guest's, made by libvirt, or the container's",
    fix: 'add it to cgroup_device_acl in qemu.conf, or start the container with --device',
  },
  {
    id: 'bridge-missing',
    patterns: [
      /Cannot get interface MTU on '[^']+': No such device/i,
      /failed to get mtu of bridge/i,
      /bridge '?\S+'? does not exist/i,
      /bridge (\S+ )?(is )?missing/i,
      /Unable to add bridge \S+ port \S+: No such device/i,
    ],
    cause: 'the bridge that the definition names does not exist on this host',
    fix: "ip link add NAME type bridge && ip link set NAME up   # or <interface type='user'>; ip -br link shows those that there are",
  },
  {
    id: 'network-not-active',
    patterns: [/network '[^']+' is not active/i],
    cause: 'the virtual network is defined, but nothing has started it',
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
      /\bOOM[- ]killed/i,
      /Memory cgroup out of memory: Killed process/i,
      /ended by SIGKILL|ended unexpectedly with signal SIGKILL|terminated on signal 9/i,
    ],
    cause:
      'the kernel killed QEMU for want of memory, in its cgroup, its container or the whole host: a guest takes its <memory> and 100 to 300 MiB more',
    fix: 'dmesg | tail   # says which; then more memory there, or less <memory>',
  },
  {
    id: 'silent-console',
    patterns: [
      /nothing (appears )?on the serial console/i,
      /no output on (the )?(serial )?console/i,
      /console stays (empty|blank|silent)/i,
    ],
    cause: "the guest's kernel writes to the display only, or the definition has no serial port",
    fix: "<serial type='pty'/> in the definition, and console=ttyS0 (arm64: ttyAMA0) on the guest's kernel command line: GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub",
  },
  {
    id: 'lxc-memory-64mib',
    patterns: [/Failed to (fork|allocate).*(init|systemd)/i, /init: .*cannot allocate memory/i],
    cause:
      "the container may use 64 MiB, which definitions converted from LXC's own have and libvirt enforces; systemd needs more",
    fix: "<memory unit='MiB'>512</memory> or more in the container's definition",
  },
  {
    id: 'image-locked',
    patterns: [/Failed to get "(write|consistent read|shared "write")" lock/i, /Is another process using the image/i],
    cause: 'another QEMU or qemu-img has the image open: two that write to it would destroy it',
    fix: 'fuser -v IMAGE; end the other guest, or give this one a copy: cp --reflink=auto IMAGE COPY   # an overlay only if nobody writes to IMAGE any more',
  },
  {
    id: 'lockd-locked',
    patterns: [/Lockspace resource '[^']+' is locked/i],
    cause: 'virtlockd knows of another guest that uses the image',
    fix: 'virsh list; end that guest, or give this one another image; guests that share one need <shareable/> in both',
  },
  {
    id: 'lockd-socket',
    patterns: [/Failed to connect socket to '?\/(var\/)?run\/libvirt\/virtlockd-sock'?/i],
    cause: 'qemu.conf has lock_manager = "lockd", and no virtlockd runs',
    fix: 'virtlockd --daemon   # or take lock_manager out of /etc/libvirt/qemu.conf: QEMU locks images itself',
  },
  {
    id: 'backing-missing',
    patterns: [
      /Could not open backing file/i,
      /cannot open it \(it is the backing image of/i,
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
    patterns: [
      /unsupported machine type/i,
      /has no machine type '[^']+'/i,
      /Emulator '[^']+' does not support machine type '[^']+'/i,
    ],
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
    fix: 'free -h; grep Huge /proc/meminfo; then less <memory>, or for <hugepages>: sysctl -w vm.nr_hugepages=NUMBER',
  },
  {
    id: 'memlock',
    patterns: [/(VFIO_MAP_DMA|vfio_dma_map).*(Cannot allocate memory|-12)/i, /Unable to lock .* memory/i],
    cause: 'guests with <locked/> or VFIO devices lock all of their memory, and the limit of locked memory is lower',
    fix: "ulimit -l unlimited   # docker run --ulimit memlock=-1; under libvirt: <memtune><hard_limit> above the guest's memory",
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
      'guests of ordinary users get only bridges that /etc/qemu/bridge.conf allows, from a helper that is setuid root',
    fix: "mkdir -p /etc/qemu && echo 'allow virbr0' >> /etc/qemu/bridge.conf; chmod u+s /usr/lib/qemu/qemu-bridge-helper",
  },
  {
    id: 'dnsmasq-address-in-use',
    patterns: [
      /dnsmasq: failed to create listening socket for \S+: Address already in use/i,
      /dnsmasq: failed to bind/i,
    ],
    cause:
      "another DNS server has the virtual network's address: one that listens on all addresses, or the dnsmasq of a libvirtd that died",
    fix: "ss -lunp 'sport = :53'   # end a dnsmasq with /var/lib/libvirt/dnsmasq in its arguments; others: bind-interfaces, or their own addresses only",
  },
  {
    id: 'network-in-use',
    patterns: [/Network is already in use by interface/i],
    cause:
      "this host already has a route to the virtual network's subnet: in a guest of libvirt 192.168.122.0/24 is the network outside",
    fix: 'virsh net-edit default   # another <ip address>, such as 192.168.123.1, and <range> with it',
  },
  {
    id: 'iptables-legacy-nft',
    patterns: [
      /iptables.*(Could not fetch rule set generation id|incompatible, use 'nft' tool)/i,
      /can't initialize iptables table `?'?nat'?.*Table does not exist/i,
      /iptables.*Failed to initialize nft: Protocol not supported/i,
    ],
    cause:
      'this iptables makes rules of another family (legacy, nft) than the kernel has: the image is much newer or older than the host',
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
    cause: "the TPM's folder belongs to another user than swtpm runs as (swtpm_user in qemu.conf)",
    fix: 'chown -R tss:tss /var/lib/libvirt/swtpm/UUID   # removing it gives the guest a new, empty TPM',
  },
  {
    id: 'swtpm-authority',
    patterns: [
      /Authoring the TPM state failed/i,
      /swtpm-localca exit with status/i,
      /Need (read|read\/write) rights on (statedir|signing key|.*swtpm-localca)/i,
    ],
    cause:
      'swtpm_setup could not sign the certificates of a new TPM: the keys in /var/lib/swtpm-localca belong to whoever ran it first, often root, and it runs as another user now (swtpm_user in qemu.conf)',
    fix: 'chown -R tss /var/lib/swtpm-localca   # the user of swtpm_user',
  },
  {
    id: 'firmware-missing',
    patterns: [
      /Unable to find (any firmware|'efi' firmware)/i,
      /operation failed: Unable to find .* firmware that is compatible/i,
      /Failed to open file '\/usr\/share\/OVMF/i,
    ],
    cause: 'no firmware that fits the guest (UEFI, Secure Boot, architecture) is described in /usr/share/qemu/firmware',
    fix: "apt-get install ovmf   # arm64: qemu-efi-aarch64; Secure Boot needs machine='q35' and <smm state='on'/> in <features>",
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
    cause: 'AppArmor denied a file or call to the guest or to libvirtd',
    fix: 'dmesg | grep DENIED; add the path to /etc/apparmor.d/local/abstractions/libvirt-qemu, or security_driver = "none" in qemu.conf',
  },
  {
    id: 'selinux-denied',
    patterns: [/avc: +denied .*svirt/i, /unable to set security context '[^']+' on '[^']+'/i],
    cause:
      'SELinux keeps the guest from a file with another label, or from one on a file system without labels (NFS, FUSE)',
    fix: 'ausearch -m avc -ts recent; restorecon -v FILE; for NFS: setsebool -P virt_use_nfs 1',
  },
  {
    id: 'dac-chown',
    patterns: [/unable to set user and group to '\d+:\d+' on '[^']+': Operation not permitted/i],
    cause:
      'libvirt gives images to the user that QEMU runs as, and this file system (NFS, a user namespace) does not let it',
    fix: "dynamic_ownership = 0 in qemu.conf, or <seclabel model='dac' relabel='no'/> in the disk's <source>; then that user needs access by itself",
  },
  {
    id: 'polkit',
    patterns: [/authentication unavailable: no polkit agent available/i, /access denied by policy/i],
    cause: 'polkit guards the system daemon, and nobody is there to be asked for a password',
    fix: 'usermod -aG libvirt USER   # and log in anew; in a CI container: auth_unix_rw = "none" in libvirtd.conf',
  },
  {
    id: 'machined',
    patterns: [
      /org\.freedesktop\.machine1/i,
      /Failed to (register|create) machine/i,
      /Machine '[^']+' already exists/i,
    ],
    cause: 'systemd-machined does not answer, or still has a machine of that name whose guest is gone',
    fix: 'machinectl list; machinectl terminate NAME   # not installed: apt-get install systemd-container',
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
    cause: "the daemon runs already, or a process that a dead one has left holds its pid file's lock",
    fix: 'fuser -v PIDFILE; end what holds it; if nothing does: nestling doctor --fix',
  },
  {
    id: 'domain-exists',
    patterns: [
      /domain '[^']+' already exists with uuid/i,
      /domain is already (active|running)/i,
      /is already defined with uuid/i,
    ],
    cause: 'a guest of that name or UUID is defined or runs already',
    fix: 'virsh list --all; another <name> and no <uuid>, or, if the old one is not needed any more: virsh undefine NAME',
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
    cause: 'the definition asks for something that this QEMU has not; Debian has some of it in packages of their own',
    fix: 'nestling domcapabilities   # what there is; apt-get install qemu-system-gui qemu-block-extra (newer: qemu-system-modules-spice, qemu-system-modules-opengl)',
  },
  {
    id: 'timeout-state-change-lock',
    patterns: [/cannot acquire state change lock \(held by/i, /Timed out during operation: cannot acquire/i],
    cause:
      'another operation on this guest has not ended: its monitor or a disk does not answer, or it is being saved or migrated',
    fix: 'virsh domjobinfo NAME; ps -o pid,stat,wchan,args -C qemu-system-x86   # state D: it waits for a disk',
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
    id: 'mac-address',
    patterns: [/unsupported configuration: expected unicast mac address/i, /MAC address \S+ is already in use/i],
    cause: 'the MAC address is one of a group (odd first byte), or another guest has it',
    fix: 'leave <mac> out: a new one is made',
  },
  {
    id: 'qemu-user-binfmt',
    patterns: [/exec format error/i, /cannot execute binary file: Exec format error/i],
    cause: 'the program is for another architecture, and the kernel knows no emulator for it',
    fix: 'apt-get install qemu-user-static binfmt-support   # ls /proc/sys/fs/binfmt_misc shows what is registered',
  },
  {
    id: 'user-namespace-denied',
    patterns: [
      /unshare.*Operation not permitted/i,
      /clone.*newuser.*Operation not permitted/i,
      /write to uid_map failed/i,
    ],
    cause: 'this kernel or container lets ordinary users make no namespaces',
    fix: 'sysctl kernel.unprivileged_userns_clone user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns   # in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined',
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

/** Settings of the QEMU driver, named as in libvirt's qemu.conf; `settings.ts` reads such files. */

export interface QemuConfig {
  vncListen: string;
  vncTls: boolean;
  vncTlsX509CertDir: string;
  vncTlsX509Verify: boolean;
  vncTlsX509SecretUuid: string | undefined;
  vncPassword: string | undefined;
  vncSasl: boolean;
  vncSaslDir: string | undefined;
  vncAllowHostAudio: boolean;
  vncAutoUnixSocket: boolean;
  spiceListen: string;
  spiceTls: boolean;
  spiceTlsX509CertDir: string;
  spicePassword: string | undefined;
  spiceSasl: boolean;
  spiceSaslDir: string | undefined;
  spiceAutoUnixSocket: boolean;
  chardevTls: boolean;
  chardevTlsX509CertDir: string;
  chardevTlsX509Verify: boolean;
  chardevTlsX509SecretUuid: string | undefined;
  vxhsTls: boolean;
  vxhsTlsX509CertDir: string;
  nbdTls: boolean;
  nbdTlsX509CertDir: string;
  /** Mount points of hugetlbfs with their page size in KiB. */
  hugetlbfsMounts: { path: string; sizeKiB: number; default: boolean }[];
  /** Only these mounts are used; undefined: all that there are. */
  hugetlbfsMount: readonly string[] | undefined;
  memoryBackingDir: string;
  /** `logd` writes guests' output through a log process, `file` lets QEMU write the file itself. */
  stdioHandler: 'file' | 'logd';
  setProcessName: boolean;
  dumpGuestCore: boolean;
  relaxedAcs: boolean;
  allowDiskFormatProbing: boolean;
  bridgeHelper: string;
  slirpHelper: string;
  /** Ours: `<portForward>` works on QEMU's own user-mode network too; libvirt has it for passt only. */
  slirpPortForward: boolean;
  seccompSandbox: 0 | 1 | -1;
  rdpListen: string;
  rdpTlsX509CertDir: string;
  remotePortMin: number;
  remotePortMax: number;
  /** Of QEMU's process, by name or number (`+0`); undefined: the caller's. */
  user: string | undefined;
  group: string | undefined;
  /** Files are given to that user while the guest runs, and back. */
  dynamicOwnership: boolean;
  rememberOwner: boolean;
  /** `selinux`, `apparmor`, `dac`, `none`; undefined: the host's daemon takes what the host has, others none. */
  securityDrivers: readonly string[] | undefined;
  securityDefaultConfined: boolean;
  securityRequireConfined: boolean;
  /** Variables' templates of UEFI firmware, by its path; used where the host has no firmware descriptors. */
  firmwares: Readonly<Record<string, string>> | undefined;
  /** QEMU has no capabilities; undefined: it has none when it runs as another user. */
  clearEmulatorCapabilities: boolean | undefined;
  /** Between two domains that are started with the host's daemon. */
  autoStartDelayMs: number;
  /** Domains that were saved are read past the host's cache then. */
  autoStartBypassCache: boolean;
  /** Where guests are dumped that crash or whose watchdog expires; undefined: `dump` among the guests' kept files. */
  autoDumpPath: string | undefined;
  autoDumpBypassCache: boolean;
  /** How saved guests and dumps are compressed: a name of `SAVE_FORMATS`. */
  saveImageFormat: string;
  dumpImageFormat: string;
  /** Of TPM emulators; undefined: the caller's. */
  swtpmUser: string | undefined;
  swtpmGroup: string | undefined;
  /** Ours: where guests' cgroups lie. libvirt has `machine`, or `systemd` where that runs. */
  cgroupLayout: 'inherit' | 'machine' | 'systemd';
  /** Only these are used; undefined: all there are, an empty list: no cgroup is touched. */
  cgroupControllers: readonly string[] | undefined;
  /** Device nodes that every guest may use, instead of libvirt's list. */
  cgroupDeviceAcl: readonly string[] | undefined;
  /** Limits of QEMU's process; undefined: its caller's. */
  maxProcesses: number | undefined;
  maxFiles: number | undefined;
  /** Bytes. */
  maxCore: number | 'unlimited' | undefined;
  /** What QEMU does with deprecated commands of ours, for testing. */
  deprecationBehavior: 'none' | 'omit' | 'reject' | 'crash';
  /** Ours: a guest's log is moved aside when it is larger, in bytes; 0: never. virtlogd's defaults. */
  guestLogMaxSize: number;
  guestLogMaxBackups: number;
  /** Ours: logs of guests without a definition stay below a kept root. */
  keepTransientLogs: boolean;
}

/** libvirt's defaults. */
export const DEFAULT_CONFIG: QemuConfig = {
  vncListen: '127.0.0.1',
  vncTls: false,
  vncTlsX509CertDir: '/etc/pki/qemu',
  vncTlsX509Verify: false,
  vncTlsX509SecretUuid: undefined,
  vncPassword: undefined,
  vncSasl: false,
  vncSaslDir: undefined,
  vncAllowHostAudio: false,
  vncAutoUnixSocket: false,
  spiceListen: '127.0.0.1',
  spiceTls: false,
  spiceTlsX509CertDir: '/etc/pki/qemu',
  spicePassword: undefined,
  spiceSasl: false,
  spiceSaslDir: undefined,
  spiceAutoUnixSocket: false,
  chardevTls: false,
  chardevTlsX509CertDir: '/etc/pki/qemu',
  chardevTlsX509Verify: false,
  chardevTlsX509SecretUuid: undefined,
  vxhsTls: false,
  vxhsTlsX509CertDir: '/etc/pki/qemu',
  nbdTls: false,
  nbdTlsX509CertDir: '/etc/pki/qemu',
  hugetlbfsMounts: [],
  hugetlbfsMount: undefined,
  memoryBackingDir: '/var/lib/libvirt/qemu/ram',
  stdioHandler: 'file',
  setProcessName: false,
  dumpGuestCore: false,
  relaxedAcs: false,
  allowDiskFormatProbing: false,
  bridgeHelper: '/usr/lib/qemu/qemu-bridge-helper',
  slirpHelper: '/usr/bin/slirp-helper',
  slirpPortForward: false,
  seccompSandbox: -1,
  rdpListen: '127.0.0.1',
  rdpTlsX509CertDir: '/etc/pki/libvirt-rdp',
  remotePortMin: 5900,
  remotePortMax: 65535,
  user: undefined,
  group: undefined,
  dynamicOwnership: true,
  rememberOwner: true,
  securityDrivers: undefined,
  securityDefaultConfined: true,
  securityRequireConfined: false,
  firmwares: undefined,
  clearEmulatorCapabilities: undefined,
  autoStartDelayMs: 0,
  autoStartBypassCache: false,
  autoDumpPath: undefined,
  autoDumpBypassCache: false,
  saveImageFormat: 'raw',
  dumpImageFormat: 'raw',
  swtpmUser: undefined,
  swtpmGroup: undefined,
  cgroupLayout: 'inherit',
  cgroupControllers: undefined,
  cgroupDeviceAcl: undefined,
  maxProcesses: undefined,
  maxFiles: undefined,
  maxCore: undefined,
  deprecationBehavior: 'none',
  guestLogMaxSize: 2 * 1024 * 1024,
  guestLogMaxBackups: 3,
  keepTransientLogs: true,
};

/**
 * What the keys of `qemu.conf` mean here: one long table from libvirt's names to this driver's configuration. Keys that have no meaning here
 * are in it too, with the reason, so that nothing that a user writes is passed over in silence.
 */
import { readFileSync } from 'node:fs';
import type { LogTexts } from '../../log/settings.ts';
import type { ConfValue } from '../../model/conf-file.ts';
import { parseByTable, type Setting, type SettingKind } from '../../model/conf-settings.ts';
import type { QemuConfig } from './config.ts';

export interface Settings {
  readonly config: Partial<QemuConfig>;
  readonly log: LogTexts;
  /** Unknown keys, and keys that have no effect here; one line each. */
  readonly notes: readonly string[];
  /** Files that were read. */
  readonly files: readonly string[];
}

type QemuSetting = Setting<keyof QemuConfig> & { readonly log?: keyof LogTexts };
type Kind = SettingKind;

const MIGRATION = 'guests are not migrated in this version';

const flag = (field: keyof QemuConfig): QemuSetting => ({ kind: 'flag', field });
const text = (field: keyof QemuConfig): QemuSetting => ({ kind: 'text', field });
const number = (field: keyof QemuConfig): QemuSetting => ({ kind: 'number', field });
const inert = (
  kind: Kind,
  why: string,
  granted: readonly (string | number | readonly string[])[] = [],
): QemuSetting => ({
  kind,
  inert: why,
  granted: granted.map((value) => JSON.stringify(value)),
});

/** Every key of libvirt's `qemu.conf`, and ours at the end. */
export const QEMU_SETTINGS: Readonly<Record<string, QemuSetting>> = {
  default_tls_x509_cert_dir: inert('text', 'give each kind its own …_tls_x509_cert_dir'),
  default_tls_x509_verify: inert('flag', 'give each kind its own …_tls_x509_verify'),
  default_tls_x509_secret_uuid: inert('text', 'give each kind its own …_tls_x509_secret_uuid'),
  vnc_listen: text('vncListen'),
  vnc_auto_unix_socket: flag('vncAutoUnixSocket'),
  vnc_tls: flag('vncTls'),
  vnc_tls_x509_cert_dir: text('vncTlsX509CertDir'),
  vnc_tls_x509_secret_uuid: text('vncTlsX509SecretUuid'),
  vnc_tls_x509_verify: flag('vncTlsX509Verify'),
  vnc_password: text('vncPassword'),
  vnc_sasl: flag('vncSasl'),
  vnc_sasl_dir: text('vncSaslDir'),
  vnc_allow_host_audio: flag('vncAllowHostAudio'),
  spice_listen: text('spiceListen'),
  spice_tls: flag('spiceTls'),
  spice_tls_x509_cert_dir: text('spiceTlsX509CertDir'),
  spice_auto_unix_socket: flag('spiceAutoUnixSocket'),
  spice_password: text('spicePassword'),
  spice_sasl: flag('spiceSasl'),
  spice_sasl_dir: text('spiceSaslDir'),
  rdp_listen: text('rdpListen'),
  rdp_tls_x509_cert_dir: text('rdpTlsX509CertDir'),
  chardev_tls: flag('chardevTls'),
  chardev_tls_x509_cert_dir: text('chardevTlsX509CertDir'),
  chardev_tls_x509_verify: flag('chardevTlsX509Verify'),
  chardev_tls_x509_secret_uuid: text('chardevTlsX509SecretUuid'),
  vxhs_tls: flag('vxhsTls'),
  vxhs_tls_x509_cert_dir: text('vxhsTlsX509CertDir'),
  vxhs_tls_x509_secret_uuid: inert('text', 'no QEMU since 5.2 has the driver'),
  nbd_tls: flag('nbdTls'),
  nbd_tls_x509_cert_dir: text('nbdTlsX509CertDir'),
  nbd_tls_x509_secret_uuid: inert('text', 'keys with a passphrase are not used for NBD'),
  migrate_tls_x509_cert_dir: inert('text', MIGRATION),
  migrate_tls_x509_verify: inert('flag', MIGRATION),
  migrate_tls_x509_secret_uuid: inert('text', MIGRATION),
  migrate_tls_force: inert('flag', MIGRATION),
  backup_tls_x509_cert_dir: inert('text', 'there are no backup jobs in this version'),
  backup_tls_x509_verify: inert('flag', 'there are no backup jobs in this version'),
  backup_tls_x509_secret_uuid: inert('text', 'there are no backup jobs in this version'),
  nographics_allow_host_audio: inert('flag', 'audio goes where <audio> says'),
  remote_display_port_min: number('remotePortMin'),
  remote_display_port_max: number('remotePortMax'),
  remote_websocket_port_min: inert('number', 'websocket ports are given in <graphics>'),
  remote_websocket_port_max: inert('number', 'websocket ports are given in <graphics>'),
  security_driver: {
    kind: 'text or texts',
    field: 'securityDrivers',
    choices: ['selinux', 'apparmor', 'dac', 'none'],
    convert: (value) => (typeof value === 'object' ? value : [value]),
  },
  security_default_confined: flag('securityDefaultConfined'),
  security_require_confined: flag('securityRequireConfined'),
  user: text('user'),
  group: text('group'),
  dynamic_ownership: flag('dynamicOwnership'),
  remember_owner: flag('rememberOwner'),
  cgroup_controllers: {
    kind: 'texts',
    field: 'cgroupControllers',
    choices: ['cpu', 'devices', 'memory', 'blkio', 'cpuset', 'cpuacct'],
  },
  cgroup_device_acl: { kind: 'texts', field: 'cgroupDeviceAcl' },
  save_image_format: {
    kind: 'text',
    field: 'saveImageFormat',
    choices: ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd'],
  },
  dump_image_format: {
    kind: 'text',
    field: 'dumpImageFormat',
    choices: ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd'],
  },
  snapshot_image_format: inert('text', 'there are no snapshots with memory in this version'),
  auto_dump_path: text('autoDumpPath'),
  auto_dump_bypass_cache: flag('autoDumpBypassCache'),
  auto_start_bypass_cache: flag('autoStartBypassCache'),
  auto_start_delay: number('autoStartDelayMs'),
  hugetlbfs_mount: {
    kind: 'text or texts',
    field: 'hugetlbfsMount',
    convert: (value) => (typeof value === 'object' ? value : [String(value)]).filter((path) => path !== ''),
  },
  bridge_helper: text('bridgeHelper'),
  slirp_helper: text('slirpHelper'),
  dbus_daemon: inert('text', 'dbus-daemon is found in PATH'),
  pr_helper: inert('text', 'qemu-pr-helper is found in PATH'),
  set_process_name: flag('setProcessName'),
  max_processes: number('maxProcesses'),
  max_files: number('maxFiles'),
  max_threads_per_process: inert('number', 'limit threads with a partition: nestling partition set --pids'),
  max_core: {
    kind: 'number or text',
    field: 'maxCore',
    choices: ['unlimited'],
  },
  dump_guest_core: flag('dumpGuestCore'),
  mac_filter: inert('flag', 'ebtables rules are not set in this version', [0]),
  relaxed_acs_check: flag('relaxedAcs'),
  lock_manager: inert('text', 'QEMU itself locks the images it writes'),
  max_queued: inert('number', 'calls wait for a domain as long as their client does'),
  keepalive_interval: inert('number', MIGRATION),
  keepalive_count: inert('number', MIGRATION),
  seccomp_sandbox: {
    kind: 'number',
    field: 'seccompSandbox',
    convert: (value) => (value === -1 || value === 0 ? value : 1),
  },
  migration_address: inert('text', MIGRATION),
  migration_host: inert('text', MIGRATION),
  migration_port_min: inert('number', MIGRATION),
  migration_port_max: inert('number', MIGRATION),
  log_timestamp: inert('flag', "QEMU's messages always have a time stamp"),
  nvram: { kind: 'texts', field: 'firmwares', refuse: refuseFirmwares, convert: toFirmwares },
  stdio_handler: {
    kind: 'text',
    field: 'stdioHandler',
    choices: ['file', 'logd'],
  },
  gluster_debug_level: inert('number', 'QEMU uses its own default'),
  virtiofsd_debug: inert('flag', 'run with --log-filters 1:util.command to see how virtiofsd is called'),
  namespaces: inert('texts', "guests stay in their caller's mount namespace, and see the device nodes that it sees", [
    [],
  ]),
  memory_backing_dir: text('memoryBackingDir'),
  swtpm_user: text('swtpmUser'),
  swtpm_group: text('swtpmGroup'),
  capability_filters: inert('texts', "edit the definition's <qemu:capabilities> instead"),
  deprecation_behavior: {
    kind: 'text',
    field: 'deprecationBehavior',
    choices: ['none', 'omit', 'reject', 'crash'],
  },
  sched_core: inert('text', 'core scheduling is not set in this version'),
  clear_emulator_capabilities: flag('clearEmulatorCapabilities'),
  allow_disk_format_probing: flag('allowDiskFormatProbing'),
  storage_use_nbdkit: inert('flag', "QEMU's own drivers are used"),
  shared_filesystems: inert('texts', 'it matters only to guests that are migrated, which this version does not do'),
  cgroup_layout: {
    kind: 'text',
    field: 'cgroupLayout',
    choices: ['inherit', 'machine', 'systemd'],
  },
  log_level: { kind: 'number or text', log: 'level' },
  log_filters: { kind: 'text', log: 'filters' },
  log_outputs: { kind: 'text', log: 'outputs' },
  guest_log_max_size: number('guestLogMaxSize'),
  guest_log_max_backups: number('guestLogMaxBackups'),
  keep_transient_logs: flag('keepTransientLogs'),
};

/**
 * Reads files; a later one is stronger.
 * @throws ConfSyntaxError, SettingsError, or the system's error for a file that cannot be read
 */
export function readSettings(files: readonly string[]): Settings {
  const parts = files.map((path) => parseSettings(readFileSync(path, 'utf8'), path));
  return {
    config: Object.assign({}, ...parts.map(({ config }) => config)) as Partial<QemuConfig>,
    log: Object.assign({}, ...parts.map(({ log }) => log)) as LogTexts,
    notes: parts.flatMap(({ notes }) => notes),
    files,
  };
}

/** One file. @throws ConfSyntaxError, SettingsError */
export function parseSettings(content: string, fileName: string): Omit<Settings, 'files'> {
  const { config, log, notes } = parseByTable(content, fileName, QEMU_SETTINGS);
  // Every field of the table is one of these.
  return { config, log, notes };
}

/** `FIRMWARE:VARIABLES` */
const FIRMWARE_PAIR = /^(\/[^:]+):(\/[^:]+)$/;

function refuseFirmwares(value: ConfValue): string | undefined {
  const wrong = typeof value === 'object' ? value.find((pair) => !FIRMWARE_PAIR.test(pair)) : undefined;
  return wrong === undefined ? undefined : `pairs of paths, "/FIRMWARE:/VARIABLES", not "${wrong}"`;
}

function toFirmwares(value: ConfValue): Readonly<Record<string, string>> {
  const pairs = typeof value === 'object' ? value : [];
  return Object.fromEntries(pairs.map((pair) => FIRMWARE_PAIR.exec(pair)?.slice(1) ?? []));
}

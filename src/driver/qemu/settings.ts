/**
 * What the keys of `qemu.conf` mean here: one long table from libvirt's names to this driver's configuration. Keys that have no meaning here
 * are in it too, with the reason, so that nothing that a user writes is passed over in silence.
 */
import { readFileSync } from 'node:fs';
import type { LogTexts } from '../../log/settings.ts';
import { type ConfEntry, type ConfValue, parseConf } from '../../model/conf-file.ts';
import { nearestOf } from '../../model/schema/nearest.ts';
import type { QemuConfig } from './config.ts';

/** A key with a value that it cannot have. The message begins with `FILE:LINE: `. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

export interface Settings {
  readonly config: Partial<QemuConfig>;
  readonly log: LogTexts;
  /** Unknown keys, and keys that have no effect here; one line each. */
  readonly notes: readonly string[];
  /** Files that were read. */
  readonly files: readonly string[];
}

type Kind = 'flag' | 'number' | 'text' | 'texts' | 'text or texts' | 'number or text';

interface Setting {
  readonly kind: Kind;
  readonly field?: keyof QemuConfig;
  /** Of the log. */
  readonly log?: keyof LogTexts;
  /** Why it has no effect here. */
  readonly inert?: string;
  /** Values that are taken; checked for texts. */
  readonly choices?: readonly string[];
  readonly convert?: (value: ConfValue) => unknown;
}

const MIGRATION = 'guests are not migrated in this version';
const DAEMON = 'only a daemon needs it: embedded guests live in their program';
const OWNERSHIP = 'guests run as their caller, whose files they use';
const SAVE = 'guests are not saved or dumped in this version';

const flag = (field: keyof QemuConfig): Setting => ({ kind: 'flag', field });
const text = (field: keyof QemuConfig): Setting => ({ kind: 'text', field });
const number = (field: keyof QemuConfig): Setting => ({ kind: 'number', field });
const inert = (kind: Kind, why: string): Setting => ({ kind, inert: why });

/** Every key of libvirt's `qemu.conf`, and ours at the end. */
export const QEMU_SETTINGS: Readonly<Record<string, Setting>> = {
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
    choices: ['none'],
    inert: 'no label is set in this version, as with "none"',
  },
  security_default_confined: inert('flag', 'no label is set in this version'),
  security_require_confined: inert('flag', 'no label is set in this version'),
  user: inert('text', OWNERSHIP),
  group: inert('text', OWNERSHIP),
  dynamic_ownership: inert('flag', OWNERSHIP),
  remember_owner: inert('flag', OWNERSHIP),
  cgroup_controllers: {
    kind: 'texts',
    field: 'cgroupControllers',
    choices: ['cpu', 'devices', 'memory', 'blkio', 'cpuset', 'cpuacct'],
  },
  cgroup_device_acl: { kind: 'texts', field: 'cgroupDeviceAcl' },
  save_image_format: inert('text', SAVE),
  dump_image_format: inert('text', SAVE),
  snapshot_image_format: inert('text', SAVE),
  auto_dump_path: inert('text', SAVE),
  auto_dump_bypass_cache: inert('flag', SAVE),
  auto_start_bypass_cache: inert('flag', SAVE),
  auto_start_delay: inert('number', DAEMON),
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
  mac_filter: inert('flag', 'ebtables rules are not set in this version'),
  relaxed_acs_check: flag('relaxedAcs'),
  lock_manager: inert('text', 'QEMU itself locks the images it writes'),
  max_queued: inert('number', DAEMON),
  keepalive_interval: inert('number', DAEMON),
  keepalive_count: inert('number', DAEMON),
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
  nvram: inert(
    'texts',
    "firmware is found by QEMU's descriptors (/usr/share/qemu/firmware), which packages bring along",
  ),
  stdio_handler: {
    kind: 'text',
    field: 'stdioHandler',
    choices: ['file', 'logd'],
  },
  gluster_debug_level: inert('number', 'QEMU uses its own default'),
  virtiofsd_debug: inert('flag', 'run with --log-filters 1:util.command to see how virtiofsd is called'),
  namespaces: inert('texts', 'guests stay in the namespaces of their caller'),
  memory_backing_dir: text('memoryBackingDir'),
  swtpm_user: inert('text', OWNERSHIP),
  swtpm_group: inert('text', OWNERSHIP),
  capability_filters: inert('texts', "edit the definition's <qemu:capabilities> instead"),
  deprecation_behavior: {
    kind: 'text',
    field: 'deprecationBehavior',
    choices: ['none', 'omit', 'reject', 'crash'],
  },
  sched_core: inert('text', 'core scheduling is not set in this version'),
  clear_emulator_capabilities: inert('flag', 'QEMU has the capabilities of its caller'),
  allow_disk_format_probing: flag('allowDiskFormatProbing'),
  storage_use_nbdkit: inert('flag', "QEMU's own drivers are used"),
  shared_filesystems: inert('texts', OWNERSHIP),
  cgroup_layout: {
    kind: 'text',
    field: 'cgroupLayout',
    choices: ['inherit', 'machine'],
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
  const config: Record<string, unknown> = {};
  const log: Record<string, string> = {};
  const notes: string[] = [];
  for (const entry of parseConf(content, fileName)) {
    const setting = Object.hasOwn(QEMU_SETTINGS, entry.key) ? QEMU_SETTINGS[entry.key] : undefined;
    if (setting === undefined) {
      const nearest = nearestOf(entry.key, Object.keys(QEMU_SETTINGS));
      notes.push(
        `${fileName}:${entry.line}: there is no setting '${entry.key}'${nearest === undefined ? '' : `; did you mean '${nearest}'?`}`,
      );
      continue;
    }
    const value = convert(entry, setting, fileName);
    if (setting.log !== undefined) log[setting.log] = String(value);
    if (setting.field !== undefined) config[setting.field] = value;
    if (setting.inert !== undefined && !isDefault(entry, setting)) {
      notes.push(`${fileName}:${entry.line}: ${entry.key} has no effect: ${setting.inert}`);
    }
  }
  return { config, log, notes };
}

/** What libvirt's own default says is no wish that is not granted. */
function isDefault({ key, value }: ConfEntry, { choices }: Setting): boolean {
  const values = typeof value === 'object' ? value : [String(value)];
  return key === 'security_driver' && values.every((word) => choices?.includes(word) === true);
}

function convert(entry: ConfEntry, setting: Setting, fileName: string): unknown {
  const { key, value, line } = entry;
  const refuse = (what: string): SettingsError => new SettingsError(`${fileName}:${line}: ${key} takes ${what}`);
  const isList = typeof value === 'object';
  const isText = typeof value === 'string';
  const fits: Readonly<Record<Kind, boolean>> = {
    flag: value === 0 || value === 1,
    number: typeof value === 'number',
    text: isText,
    texts: isList,
    'text or texts': isText || isList,
    'number or text': !isList,
  };
  if (!fits[setting.kind]) throw refuse(KIND_WORDS[setting.kind]);
  const { choices } = setting;
  if (choices !== undefined && setting.inert === undefined && typeof value !== 'number') {
    const wrong = (isList ? value : [value]).find((word) => !choices.includes(word));
    if (wrong !== undefined) throw refuse(`${choices.map((word) => `"${word}"`).join(', ')}, not "${wrong}"`);
  }
  if (setting.convert !== undefined) return setting.convert(value);
  return setting.kind === 'flag' ? value === 1 : value;
}

const KIND_WORDS: Readonly<Record<Kind, string>> = {
  flag: '0 or 1',
  number: 'a whole number',
  text: 'a text in quotation marks',
  texts: 'a list of texts: [ "a", "b" ]',
  'text or texts': 'a text or a list of texts',
  'number or text': 'a whole number or a text',
};

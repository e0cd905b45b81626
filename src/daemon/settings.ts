/**
 * `daemon.conf` in the format and with the keys of libvirtd.conf: one table of the keys that mean something here, and of those that do
 * not, with the reason. Text in, settings out.
 */
import { type ConfEntry, type ConfValue, parseConf } from '../model/conf-file.ts';
import { nearestOf } from '../model/schema/nearest.ts';

export interface DaemonSettings {
  readonly listenTls: boolean;
  readonly listenTcp: boolean;
  readonly tlsPort: number;
  readonly tcpPort: number;
  readonly listenAddr: string | undefined;
  readonly unixSockGroup: string | undefined;
  /** Permissions of the sockets. */
  readonly unixSockRoPerms: number;
  readonly unixSockRwPerms: number;
  readonly unixSockDir: string | undefined;
  readonly authUnixRo: Auth;
  readonly authUnixRw: Auth;
  readonly authTcp: Auth;
  readonly authTls: Auth;
  readonly keyFile: string;
  readonly certFile: string;
  readonly caFile: string;
  readonly crlFile: string | undefined;
  readonly tlsNoVerifyCertificate: boolean;
  readonly tlsAllowedDnList: readonly string[] | undefined;
  readonly saslAllowedUsernameList: readonly string[] | undefined;
  /** Ours: users of SASL, as `nestling daemon --set-user` writes them. */
  readonly saslUsersFile: string;
  readonly maxClients: number;
  readonly maxAnonymousClients: number;
  readonly maxClientRequests: number;
  readonly keepaliveInterval: number;
  readonly keepaliveCount: number;
  readonly logLevel: string | undefined;
  readonly logFilters: string | undefined;
  readonly logOutputs: string | undefined;
}

type Auth = 'none' | 'sasl';

export const DEFAULT_DAEMON_SETTINGS: DaemonSettings = {
  listenTls: false,
  listenTcp: false,
  tlsPort: 16_514,
  tcpPort: 16_509,
  listenAddr: undefined,
  unixSockGroup: undefined,
  unixSockRoPerms: 0o777,
  unixSockRwPerms: 0o700,
  unixSockDir: undefined,
  authUnixRo: 'none',
  authUnixRw: 'none',
  authTcp: 'sasl',
  authTls: 'none',
  keyFile: '/etc/pki/libvirt/private/serverkey.pem',
  certFile: '/etc/pki/libvirt/servercert.pem',
  caFile: '/etc/pki/CA/cacert.pem',
  crlFile: undefined,
  tlsNoVerifyCertificate: false,
  tlsAllowedDnList: undefined,
  saslAllowedUsernameList: undefined,
  saslUsersFile: '/etc/nestling/users',
  maxClients: 5000,
  maxAnonymousClients: 20,
  maxClientRequests: 64,
  keepaliveInterval: 5,
  keepaliveCount: 5,
  logLevel: undefined,
  logFilters: undefined,
  logOutputs: undefined,
};

/** A value that a key cannot have. The message begins with `FILE:LINE: `. */
export class DaemonSettingsError extends Error {
  override readonly name = 'DaemonSettingsError';
}

type Convert = (value: ConfValue) => unknown;

/** Throws what is wrong, in words. */
const text: Convert = (value) => (typeof value === 'string' ? value : wrong('a text'));
const texts: Convert = (value) => (Array.isArray(value) ? value : wrong('a list of texts'));
const number: Convert = (value) => (typeof value === 'number' && value >= 0 ? value : wrong('a number from 0 on'));
const flag: Convert = (value) => (value === 0 || value === 1 ? value === 1 : wrong('0 or 1'));
const port: Convert = (value) => {
  const found = Number(value);
  return Number.isInteger(found) && found >= 0 && found <= 65_535 ? found : wrong('a port, 0 to 65535');
};
const perms: Convert = (value) =>
  typeof value === 'string' && /^[0-7]{3,4}$/.test(value) ? Number.parseInt(value, 8) : wrong('a mode like "0770"');
const auth: Convert = (value) => {
  if (value === 'none' || value === 'sasl') return value;
  return wrong(value === 'polkit' ? 'none or sasl: polkit is not supported' : 'none or sasl');
};

function wrong(expected: string): never {
  throw new TypeError(expected);
}

const KEYS: Readonly<Record<string, readonly [keyof DaemonSettings, Convert]>> = {
  listen_tls: ['listenTls', flag],
  listen_tcp: ['listenTcp', flag],
  tls_port: ['tlsPort', port],
  tcp_port: ['tcpPort', port],
  listen_addr: ['listenAddr', text],
  unix_sock_group: ['unixSockGroup', text],
  unix_sock_ro_perms: ['unixSockRoPerms', perms],
  unix_sock_rw_perms: ['unixSockRwPerms', perms],
  unix_sock_dir: ['unixSockDir', text],
  auth_unix_ro: ['authUnixRo', auth],
  auth_unix_rw: ['authUnixRw', auth],
  auth_tcp: ['authTcp', auth],
  auth_tls: ['authTls', auth],
  key_file: ['keyFile', text],
  cert_file: ['certFile', text],
  ca_file: ['caFile', text],
  crl_file: ['crlFile', text],
  tls_no_verify_certificate: ['tlsNoVerifyCertificate', flag],
  tls_allowed_dn_list: ['tlsAllowedDnList', texts],
  sasl_allowed_username_list: ['saslAllowedUsernameList', texts],
  sasl_users_file: ['saslUsersFile', text],
  max_clients: ['maxClients', number],
  max_anonymous_clients: ['maxAnonymousClients', number],
  max_client_requests: ['maxClientRequests', number],
  keepalive_interval: ['keepaliveInterval', number],
  keepalive_count: ['keepaliveCount', number],
  log_level: ['logLevel', (value) => String(value)],
  log_filters: ['logFilters', text],
  log_outputs: ['logOutputs', text],
};

/** Keys of libvirtd.conf that have no effect, and why. */
const INERT: Readonly<Record<string, string>> = {
  unix_sock_admin_perms: 'there is no administration socket',
  access_drivers: 'who reaches a socket may use all of it; read-only sockets can only look',
  tls_no_sanity_certificate: 'certificates are always checked',
  tls_priority: 'it is in the language of GnuTLS',
  tcp_min_ssf: 'SASL here proves who a user is; it encrypts nothing',
  max_queued_clients: 'the kernel keeps connections that wait',
  keepalive_required: 'clients without keepalive are served like all others',
  admin_keepalive_required: 'there is no administration socket',
  min_workers: 'there are no worker threads',
  max_workers: 'there are no worker threads',
  prio_workers: 'there are no worker threads',
  max_requests: 'only the requests of one client are limited: max_client_requests',
  admin_min_workers: 'there is no administration socket',
  admin_max_workers: 'there is no administration socket',
  admin_max_clients: 'there is no administration socket',
  admin_max_queued_clients: 'there is no administration socket',
  admin_max_client_requests: 'there is no administration socket',
  admin_keepalive_interval: 'there is no administration socket',
  admin_keepalive_count: 'there is no administration socket',
  audit_level: 'nothing is written to the audit log',
  audit_logging: 'nothing is written to the audit log',
  host_uuid: 'the host is named by its firmware or machine id',
  host_uuid_source: 'the host is named by its firmware or machine id',
  mdns_adv: 'nothing is announced',
  mdns_name: 'nothing is announced',
  ovs_timeout: 'Open vSwitch is not spoken to',
};

/** @throws ConfSyntaxError, DaemonSettingsError */
export function parseDaemonSettings(
  source: string,
  fileName: string,
): { readonly settings: Partial<DaemonSettings>; readonly notes: readonly string[] } {
  const settings: Record<string, unknown> = {};
  const notes: string[] = [];
  for (const entry of parseConf(source, fileName)) {
    const known = KEYS[entry.key];
    if (known !== undefined) settings[known[0]] = convert(entry, known[1], fileName);
    else notes.push(`${fileName}:${entry.line}: ${noteOf(entry.key)}`);
  }
  return { settings, notes };
}

function convert({ key, value, line }: ConfEntry, change: Convert, fileName: string): unknown {
  try {
    return change(value);
  } catch (error) {
    const expected = error instanceof Error ? error.message : String(error);
    throw new DaemonSettingsError(`${fileName}:${line}: ${key} is ${expected}, not ${JSON.stringify(value)}`);
  }
}

function noteOf(key: string): string {
  const inert = INERT[key];
  if (inert !== undefined) return `${key} has no effect: ${inert}`;
  const nearest = nearestOf(key, [...Object.keys(KEYS), ...Object.keys(INERT)]);
  return `the key ${key} is unknown${nearest === undefined ? '' : `; did you mean ${nearest}?`}`;
}

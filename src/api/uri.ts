/**
 * Connection URIs, as libvirt documents them, parsed into what `connect` needs: embedded, of the test driver, or remote with its
 * transport. Opens nothing.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';

/** `qemu:///embed`, `lxc:///embed`: guests are children of this process. */
export interface EmbedUri {
  readonly kind: 'embed';
  readonly driver: 'qemu' | 'lxc';
  /** Absolute root, kept; absent: a temporary one. */
  readonly root?: string;
}

/** `test:///default` or `test:///path/to/definitions.xml`. */
export interface TestUri {
  readonly kind: 'test';
  /** Definitions to begin with; absent: the built-in ones. */
  readonly file?: string;
}

export type Transport = 'unix' | 'ssh' | 'tls' | 'tcp' | 'ext';

/** A daemon, here or elsewhere. */
export interface RemoteUri {
  readonly kind: 'remote';
  readonly transport: Transport;
  readonly driver: string;
  readonly user?: string;
  readonly host?: string;
  readonly port?: number;
  /** `/system`, `/session`, … */
  readonly path: string;
  /** The URI that the server opens. */
  readonly serverUri: string;
  readonly parameters: RemoteParameters;
}

/** libvirt's extra parameters by their names. */
export interface RemoteParameters {
  readonly mode: 'auto' | 'direct' | 'legacy';
  readonly proxy: 'auto' | 'netcat' | 'native';
  readonly command?: string;
  readonly socket?: string;
  readonly netcat?: string;
  readonly keyfile?: string;
  readonly noVerify: boolean;
  readonly noTty: boolean;
  readonly pkipath?: string;
  readonly knownHosts?: string;
  readonly knownHostsVerify?: 'normal' | 'auto' | 'ignore';
  readonly sshauth?: readonly string[];
  readonly tlsPriority?: string;
  readonly authfile?: string;
}

export type ConnectionUri = EmbedUri | TestUri | RemoteUri;

/** What the client's configuration says of URIs (`libvirt.conf`). */
export interface UriSettings {
  readonly aliases?: Readonly<Record<string, string>>;
  readonly mode?: RemoteParameters['mode'];
  readonly proxy?: RemoteParameters['proxy'];
}

/** Which parameters each transport knows; the others go to the server. `libssh` and `libssh2` are `ssh` here. */
const KNOWN: Readonly<Record<Transport, readonly string[]>> = {
  unix: ['mode', 'socket', 'authfile'],
  ssh: [
    'mode',
    'proxy',
    'command',
    'socket',
    'netcat',
    'keyfile',
    'no_verify',
    'no_tty',
    'known_hosts',
    'known_hosts_verify',
    'sshauth',
    'authfile',
  ],
  tls: ['tls_priority', 'no_verify', 'pkipath', 'authfile'],
  tcp: ['authfile'],
  ext: ['command', 'authfile'],
};
const TRANSPORTS: Readonly<Record<string, Transport>> = {
  unix: 'unix',
  ssh: 'ssh',
  libssh: 'ssh',
  libssh2: 'ssh',
  tls: 'tls',
  tcp: 'tcp',
  ext: 'ext',
};
/** Drivers that a daemon may have: anything else is more likely a mistake. */
const DRIVERS = [
  'qemu',
  'lxc',
  'test',
  'xen',
  'ch',
  'bhyve',
  'vz',
  'network',
  'storage',
  'secret',
  'nodedev',
  'interface',
  'nwfilter',
];

/** @throws VirtError saying what is wrong and what would be right */
export function parseUri(text: string, settings: UriSettings = {}): ConnectionUri {
  const uri = /^[\w.-]+$/.test(text) ? (settings.aliases?.[text] ?? text) : text;
  const refuse = (why: string, code: ErrorCode = ErrorCode.INVALID_ARG): VirtError =>
    new VirtError(`cannot connect to '${text}': ${why}`, { code, domain: ErrorDomain.URI });
  const parts = splitUri(uri);
  if (parts === undefined) {
    throw refuse(
      "it is no connection URI; use 'qemu:///embed', 'lxc:///embed', 'qemu:///system' or 'qemu+ssh://USER@HOST/system'",
    );
  }
  const { driver, transport: named, host, path } = parts;
  if (!DRIVERS.includes(driver)) {
    throw refuse(`there is no driver '${driver}' (known: ${DRIVERS.slice(0, 3).join(', ')})`, ErrorCode.NO_CONNECT);
  }
  const isLocal = named === undefined && host === undefined;
  if (isLocal && path === '/embed') return parseEmbed(driver, parts.parameters, refuse);
  if (isLocal && driver === 'test') return path === '/default' ? { kind: 'test' } : { kind: 'test', file: path };
  const transport = named === undefined ? (host === undefined ? 'unix' : 'tls') : TRANSPORTS[named];
  if (transport === undefined) {
    throw refuse(`there is no transport '${named}' (known: ${Object.keys(TRANSPORTS).join(', ')})`);
  }
  if (transport === 'unix' && host !== undefined) throw refuse(`a UNIX socket is on this host: leave out '${host}'`);
  if (transport !== 'unix' && transport !== 'ext' && host === undefined) {
    throw refuse(`the transport ${transport} needs a host: ${driver}+${named}://HOST${path}`);
  }
  if (path === '/embed') throw refuse('an embedded connection is in this process: use qemu:///embed');
  const { user, port, parameters } = parts;
  return {
    kind: 'remote',
    transport,
    driver,
    path,
    serverUri: serverUriOf(parts, KNOWN[transport]),
    parameters: remoteParameters(parameters, transport, settings, refuse),
    ...(user === undefined ? {} : { user }),
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
  };
}

interface UriParts {
  readonly driver: string;
  readonly transport: string | undefined;
  readonly user: string | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly path: string;
  readonly parameters: URLSearchParams;
}

function splitUri(text: string): UriParts | undefined {
  const match =
    /^([a-z]+)(?:\+([a-z0-9]+))?:\/\/(?:([^@/?#]*)@)?(\[[0-9A-Fa-f:.%\w]+\]|[^/?#:@[\]]*)(?::(\d{1,5}))?(\/[^?#]*)?(?:\?([^#]*))?$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, driver = '', transport, user, host = '', port, path, query] = match;
  if (port !== undefined && (Number(port) === 0 || Number(port) > 65_535)) return undefined;
  const decoded = decode(path ?? '/');
  const decodedUser = user === undefined ? undefined : decode(user);
  if (decoded === undefined || (user !== undefined && decodedUser === undefined)) return undefined;
  return {
    driver,
    transport,
    user: decodedUser === '' ? undefined : decodedUser,
    host: host === '' ? undefined : host.replace(/^\[|\]$/g, ''),
    port: port === undefined ? undefined : Number(port),
    path: decoded,
    parameters: new URLSearchParams(query ?? ''),
  };
}

/** Percent escapes resolved; undefined where they are wrong or hide a NUL. */
function decode(text: string): string | undefined {
  try {
    const decoded = decodeURIComponent(text);
    return decoded.includes('\0') ? undefined : decoded;
  } catch {
    return undefined;
  }
}

type Refuse = (why: string, code?: ErrorCode) => VirtError;

function parseEmbed(driver: string, parameters: URLSearchParams, refuse: Refuse): EmbedUri {
  if (driver !== 'qemu' && driver !== 'lxc') {
    throw refuse(`'${driver}' has no embedded guests: use 'qemu:///embed' or 'lxc:///embed'`, ErrorCode.NO_SUPPORT);
  }
  const unknown = [...parameters.keys()].find((name) => name !== 'root');
  if (unknown !== undefined) throw refuse(`the parameter '${unknown}' is unknown (known: root)`);
  const root = parameters.get('root');
  if (root === null) return { kind: 'embed', driver };
  if (!root.startsWith('/')) throw refuse(`root must be an absolute path, not '${root}'`);
  if (root.includes('\0')) throw refuse('no path holds a NUL character');
  return { kind: 'embed', driver, root };
}

/** `name`, or the URI without transport, user, host, port and what only the client needs. */
function serverUriOf({ driver, path, parameters }: UriParts, known: readonly string[]): string {
  const name = parameters.get('name');
  if (name !== null) return name;
  const rest = [...parameters].filter(([key]) => !known.includes(key));
  const query = rest.map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join('&');
  return `${driver}://${encodeURI(path)}${query === '' ? '' : `?${query}`}`;
}

function remoteParameters(
  parameters: URLSearchParams,
  transport: Transport,
  settings: UriSettings,
  refuse: Refuse,
): RemoteParameters {
  const known = KNOWN[transport];
  const get = (name: string): string | undefined =>
    known.includes(name) ? (parameters.get(name) ?? undefined) : undefined;
  const oneOf = <T extends string>(name: string, values: readonly T[]): T | undefined => {
    const value = get(name);
    if (value === undefined) return undefined;
    const found = values.find((candidate) => candidate === value);
    if (found === undefined) throw refuse(`${name} is one of ${values.join(', ')}, not '${value}'`);
    return found;
  };
  const isSet = (name: string): boolean => {
    const value = get(name);
    if (value === undefined) return false;
    if (!/^\d+$/.test(value)) throw refuse(`${name} is 0 or 1, not '${value}'`);
    return Number(value) !== 0;
  };
  const command = get('command');
  if (transport === 'ext' && command === undefined) throw refuse('the transport ext needs command=PROGRAM');
  const proxy = oneOf('proxy', ['auto', 'netcat', 'native']) ?? settings.proxy ?? 'auto';
  const netcat = get('netcat');
  if (netcat !== undefined && proxy === 'native') throw refuse('netcat means nothing with proxy=native');
  return {
    mode: oneOf('mode', ['auto', 'direct', 'legacy']) ?? settings.mode ?? 'auto',
    proxy,
    noVerify: isSet('no_verify'),
    noTty: isSet('no_tty'),
    ...defined({
      command,
      netcat,
      socket: get('socket'),
      keyfile: get('keyfile'),
      pkipath: get('pkipath'),
      knownHosts: get('known_hosts'),
      knownHostsVerify: oneOf('known_hosts_verify', ['normal', 'auto', 'ignore']),
      sshauth: get('sshauth')?.split(','),
      tlsPriority: get('tls_priority'),
      authfile: get('authfile'),
    }),
  };
}

/** Without the members that are undefined. */
function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Block driver properties of images reached over the network, per protocol. */
import type { StorageHost, StorageProtocol, StorageSource } from '../../../../model/domain/devices/storage-source.ts';
import { refuse } from '../../context.ts';
import type { Props } from '../../plan/props.ts';

/** Objects that a network image refers to, planned by the caller. */
export interface NetworkObjects {
  readonly username?: string | undefined;
  /** Id of the secret that goes with the user name. */
  readonly authSecret?: string | undefined;
  readonly cookieSecret?: string | undefined;
  readonly tlsCredentials?: string | undefined;
  /** `encrypt` of RBD's own encryption. */
  readonly encrypt?: Props | undefined;
}

/** Ports where the definition names none; 0: the client library decides. */
const DEFAULT_PORTS: Readonly<Record<StorageProtocol, number>> = {
  nbd: 10809,
  rbd: 0,
  sheepdog: 7000,
  gluster: 24007,
  iscsi: 3260,
  http: 80,
  https: 443,
  ftp: 21,
  ftps: 990,
  tftp: 69,
  ssh: 22,
  vxhs: 9999,
  nfs: 2049,
};

/** How verbose QEMU's gluster driver is: its own default is silent, libvirt's is this. */
const GLUSTER_DEBUG_LEVEL = 4;

/** Properties of the protocol driver, `driver` first. @throws {VirtError} for what no QEMU of today has */
export function networkProps(source: StorageSource, objects: NetworkObjects): Props {
  switch (source.protocol) {
    case 'nbd':
      return {
        driver: 'nbd',
        server: socketAddress(firstHost(source), 'nbd'),
        export: source.name,
        'tls-creds': objects.tlsCredentials,
        'tls-hostname': source.tlsHostname,
        'reconnect-delay': source.reconnect?.delay,
      };
    case 'rbd':
      return rbdProps(source, objects);
    case 'gluster': {
      const { volume, path } = splitVolume(source);
      const server = source.hosts.map((host) => socketAddress(host, 'gluster'));
      return { driver: 'gluster', volume, path, server, debug: GLUSTER_DEBUG_LEVEL };
    }
    case 'iscsi':
      return iscsiProps(source, objects);
    case 'http':
    case 'https':
    case 'ftp':
    case 'ftps':
    case 'tftp':
      return {
        driver: source.protocol,
        url: urlOf(source),
        username: objects.username,
        'password-secret': objects.authSecret,
        sslverify: source.ssl?.verify,
        'cookie-secret': objects.cookieSecret,
        readahead: source.readahead?.size,
        timeout: source.timeout?.seconds,
      };
    case 'ssh':
      return {
        driver: 'ssh',
        path: source.name,
        server: hostAndPort(firstHost(source), 'ssh'),
        user: objects.username ?? source.identity?.username,
      };
    case 'nfs':
      return {
        driver: 'nfs',
        server: { host: firstHost(source).name ?? '', type: 'inet' },
        path: source.name,
        user: numericId(source.identity?.user, 'user'),
        group: numericId(source.identity?.group, 'group'),
      };
    default:
      return refuse(`protocol '${source.protocol ?? ''}' has no driver in QEMU any more: use another protocol`);
  }
}

function rbdProps(source: StorageSource, objects: NetworkObjects): Props {
  const { volume, path } = splitVolume(source);
  const server = source.hosts.map((host) => hostAndPort(host, 'rbd'));
  return {
    driver: 'rbd',
    pool: volume,
    image: path,
    snapshot: source.snapshot?.name,
    conf: source.config?.file,
    server: server.length === 0 ? undefined : server,
    encrypt: objects.encrypt,
    user: objects.username,
    'auth-client-required': objects.username === undefined ? undefined : ['cephx', 'none'],
    'key-secret': objects.authSecret,
  };
}

function iscsiProps(source: StorageSource, objects: NetworkObjects): Props {
  const host = firstHost(source);
  const name = source.name ?? '';
  const slash = name.indexOf('/');
  const lun = slash < 0 ? 0 : Number(name.slice(slash + 1));
  if (!Number.isInteger(lun) || lun < 0) refuse(`iSCSI target '${name}' does not end with /LUN, a number`);
  const hostName = host.name ?? '';
  return {
    driver: 'iscsi',
    portal: `${hostName.includes(':') ? `[${hostName}]` : hostName}:${portOf(host, 'iscsi')}`,
    target: slash < 0 ? name : name.slice(0, slash),
    lun,
    transport: 'tcp',
    user: objects.username,
    'password-secret': objects.authSecret,
    'initiator-name': source.initiator?.iqn?.name,
  };
}

/** `pool/image` taken apart at its first slash. */
export function splitVolume(source: StorageSource): { volume: string; path: string } {
  const name = source.name ?? '';
  const slash = name.indexOf('/');
  if (slash <= 0) refuse(`source name '${name}' is not POOL/IMAGE`);
  return { volume: name.slice(0, slash), path: name.slice(slash + 1) };
}

function firstHost(source: StorageSource): StorageHost {
  return source.hosts[0] ?? refuse(`protocol '${source.protocol ?? ''}' needs a <host>`);
}

function portOf(host: StorageHost, protocol: StorageProtocol): number {
  return host.port === undefined || host.port === 0 ? DEFAULT_PORTS[protocol] : host.port;
}

function hostAndPort(host: StorageHost, protocol: StorageProtocol): Props {
  return { host: host.name ?? '', port: String(portOf(host, protocol)) };
}

function socketAddress(host: StorageHost, protocol: StorageProtocol): Props {
  if (host.transport === 'unix') return { type: 'unix', path: host.socket };
  if (host.transport === 'rdma') refuse(`transport 'rdma' is not supported by QEMU for protocol '${protocol}'`);
  return { type: 'inet', ...hostAndPort(host, protocol) };
}

function urlOf(source: StorageSource): string {
  const { protocol = 'http', name = '', query } = source;
  const host = firstHost(source);
  const hostName = host.name ?? '';
  const authority = `${hostName.includes(':') ? `[${hostName}]` : hostName}:${portOf(host, protocol)}`;
  const path = escapePath(name.startsWith('/') ? name : `/${name}`);
  return `${protocol}://${authority}${path}${query === undefined ? '' : `?${query}`}`;
}

/** The name is a plain path: whatever has a meaning in a URL is percent-encoded. */
function escapePath(path: string): string {
  return encodeURIComponent(path).replace(/%(?:2F|3B|40|26|3D|2B|24|2C)/g, decodeURIComponent);
}

function numericId(value: string | undefined, what: string): number | undefined {
  if (value === undefined) return undefined;
  if (/^\+?\d+$/.test(value)) return Number(value);
  return refuse(`NFS ${what} '${value}' is a name: give its number (as '+1000')`);
}

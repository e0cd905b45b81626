/** The UNIX socket of a daemon on this host: which one it is, and what is wrong when nobody answers. */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { homedir, userInfo } from 'node:os';
import type { RemoteUri } from '../../api/uri.ts';
import { errnoOf, noConnection, type OpenTransport, type TransportOptions, untilEvent } from './transport.ts';

/** libvirt's daemon for each driver, when there is one for each. */
const DAEMONS: Readonly<Record<string, string>> = {
  qemu: 'virtqemud',
  lxc: 'virtlxcd',
  xen: 'virtxend',
  ch: 'virtchd',
  bhyve: 'virtbhyved',
  vz: 'virtvzd',
  network: 'virtnetworkd',
  storage: 'virtstoraged',
  secret: 'virtsecretd',
  nodedev: 'virtnodedevd',
  interface: 'virtinterfaced',
  nwfilter: 'virtnwfilterd',
};

/** Facts of this host, replaceable in tests. */
export interface SocketFacts {
  readonly systemDir: string;
  readonly sessionDir: string;
  readonly exists: (path: string) => boolean;
}

export async function connectUnix(uri: RemoteUri, options: TransportOptions): Promise<OpenTransport> {
  const path = socketPath(uri, options.readOnly, hostFacts());
  const stream = connect(path);
  try {
    await untilEvent(stream, 'connect', options.signal);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw noConnection(uri, whyNot(path, uri, errnoOf(error)), error);
  }
  return { stream, encrypted: true };
}

/** libvirt's rules: the parameter, else the driver's own daemon where its socket is there, else libvirtd's. */
export function socketPath(uri: RemoteUri, readOnly: boolean, facts: SocketFacts): string {
  const { socket, mode } = uri.parameters;
  if (socket !== undefined) return socket;
  const isSession = uri.path === '/session';
  const dir = isSession ? facts.sessionDir : facts.systemDir;
  // Session daemons serve their own user only: there is no read-only socket.
  const suffix = readOnly && !isSession ? '-ro' : '';
  const legacy = `${dir}/libvirt-sock${suffix}`;
  const daemon = DAEMONS[uri.driver];
  if (mode === 'legacy' || daemon === undefined) return legacy;
  const direct = `${dir}/${daemon}-sock${suffix}`;
  return mode === 'direct' || facts.exists(direct) ? direct : legacy;
}

function hostFacts(): SocketFacts {
  const runtimeDir = process.env['XDG_RUNTIME_DIR'];
  const cacheDir = process.env['XDG_CACHE_HOME'] ?? `${homedir()}/.cache`;
  return {
    systemDir: '/run/libvirt',
    sessionDir: `${runtimeDir === undefined || runtimeDir === '' ? cacheDir : runtimeDir}/libvirt`,
    exists: existsSync,
  };
}

function whyNot(path: string, uri: RemoteUri, errno: string): string {
  const start = `nestling daemon${uri.path === '/session' ? ' --session' : ''}`;
  switch (errno) {
    case 'ENOENT':
      if (uri.parameters.socket !== undefined)
        return `nothing listens at ${path}: start what makes it: nestling daemon, 'nestling run --listen', or conn.serve()`;
      return `no daemon listens at ${path}: start '${start}' or libvirtd, or use qemu:///embed, which needs none`;
    case 'ECONNREFUSED':
      return `the daemon of ${path} is gone: start '${start}' or libvirtd again`;
    case 'EACCES':
    case 'EPERM':
      return `user ${userInfo().username} may not use ${path}: join the group that owns it (ls -l ${path}), or become root`;
    default:
      return `${path}: ${errno}`;
  }
}

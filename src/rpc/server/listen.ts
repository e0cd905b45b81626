/** Sockets that a server listens on: UNIX (with its permissions from the first moment), TCP, TLS with libvirt's certificates. */
import { chmodSync, chownSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import type { Admission, RpcServer } from './server.ts';

const log = new LogSource('rpc.netserver');

export interface Listener extends AsyncDisposable {
  /** A path, or `host:port`. */
  readonly address: string;
}

/** Who may use a listener, and how they prove it. */
export type ListenerAdmission = Pick<Admission, 'sasl'> & { readonly readOnly?: boolean };

export interface UnixListenOptions extends ListenerAdmission {
  readonly path: string;
  /** Permissions of the socket. */
  readonly mode: number;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** sun_path, without its NUL. */
const PATH_MAX_BYTES = 107;
/** LIBVIRTD_TCP_PORT and LIBVIRTD_TLS_PORT. */
export const TCP_PORT = 16_509;
export const TLS_PORT = 16_514;
/** Connections that the kernel keeps for us. */
const BACKLOG = 1024;

/**
 * Listens on a UNIX socket. It is bound in a private folder and moved into place with its owner and mode set, so that there is no moment
 * at which others could use it. One that nobody listens on any more is replaced.
 * @throws VirtError where another process listens there, or the path is too long or not usable
 */
export async function listenUnix(server: RpcServer, options: UnixListenOptions): Promise<Listener> {
  const { path, mode, uid, gid, sasl, readOnly = false } = options;
  const dir = dirname(path);
  if (Buffer.byteLength(path) > PATH_MAX_BYTES) {
    throw cannot(path, `the path is longer than ${PATH_MAX_BYTES} bytes: choose a shorter one`);
  }
  try {
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    await requireFree(path);
  } catch (error) {
    throw error instanceof VirtError ? error : cannot(path, String(error), error);
  }
  const socket = createServer({ pauseOnConnect: false });
  // Names are short: the folder must not make the path too long for the kernel.
  // Not join(), which would make it a sibling of the folder.
  const nest = mkdtempSync(`${dir}/.`);
  const draft = join(nest, 's');
  try {
    await started(socket, () => socket.listen({ path: draft, backlog: BACKLOG }));
    if (uid !== undefined || gid !== undefined) chownSync(draft, uid ?? -1, gid ?? -1);
    chmodSync(draft, mode);
    renameSync(draft, path);
  } catch (error) {
    socket.close();
    throw cannot(path, error instanceof Error ? error.message : String(error), error);
  } finally {
    rmSync(nest, { recursive: true, force: true });
  }
  const inode = statSync(path).ino;
  socket.on('connection', (stream) => {
    server.accept(stream, { transport: 'unix', readOnly, isEncrypted: true, description: `unix:${path}`, sasl });
  });
  return listener(path, socket, () => {
    // Somebody else may have put theirs there.
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path, { force: true });
  });
}

/** Serves connections of a socket that somebody else has opened for us (socket activation). */
export async function listenFd(server: RpcServer, fd: number, admission: ListenerAdmission): Promise<Listener> {
  const socket = createServer();
  await started(socket, () => socket.listen({ fd }));
  const { sasl, readOnly = false } = admission;
  socket.on('connection', (stream) => {
    const isUnix = stream.remoteAddress === undefined;
    const description = isUnix ? `unix:fd ${fd}` : `tcp:${stream.remoteAddress}`;
    const transport = isUnix ? 'unix' : 'tcp';
    server.accept(stream, { transport, readOnly, isEncrypted: isUnix, description, sasl });
  });
  return listener(`fd ${fd}`, socket);
}

export interface TcpListenOptions extends ListenerAdmission {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
}

export async function listenTcp(server: RpcServer, options: TcpListenOptions): Promise<Listener> {
  const { host, port = TCP_PORT, sasl, readOnly = false } = options;
  const socket = createServer({ noDelay: true });
  await listening(socket, host, port);
  socket.on('connection', (stream) => {
    const description = `tcp:${stream.remoteAddress ?? ''}:${stream.remotePort ?? ''}`;
    server.accept(stream, { transport: 'tcp', readOnly, isEncrypted: false, description, sasl });
  });
  return listener(addressOf(socket), socket);
}

export interface TlsListenOptions extends TcpListenOptions {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly crl?: Buffer | undefined;
  /** False: clients need no certificate. */
  readonly verifyClients: boolean;
  /** Distinguished names with `*` that may connect; undefined: whoever has a certificate. */
  readonly allowedNames?: readonly string[] | undefined;
}

export async function listenTls(server: RpcServer, options: TlsListenOptions): Promise<Listener> {
  const { host, port = TLS_PORT, sasl, readOnly = false, ca, cert, key, crl, verifyClients } = options;
  const tls: TlsOptions = {
    ca,
    cert,
    key,
    ...(crl === undefined ? {} : { crl }),
    requestCert: verifyClients,
    rejectUnauthorized: verifyClients,
    minVersion: 'TLSv1.2',
    handshakeTimeout: server.limits.authenticationMs,
  };
  const socket = createTlsServer(tls);
  await listening(socket, host, port);
  socket.on('tlsClientError', (error, stream) => {
    log.warn('tls', () => `tls:${stream.remoteAddress ?? ''}: ${error.message}`);
  });
  socket.on('secureConnection', (stream) => {
    const name = distinguishedName(stream);
    const description = `tls:${stream.remoteAddress ?? ''}${name === '' ? '' : ` ${name}`}`;
    if (verifyClients && !isAllowedName(name, options.allowedNames)) {
      log.warn('tls', () => `${description}: the certificate's name is not among those allowed`);
      stream.destroy();
      return;
    }
    // What clients wait for: their certificate is accepted.
    stream.write(Buffer.of(1));
    server.accept(stream, { transport: 'tls', readOnly, isEncrypted: true, description, sasl });
  });
  return listener(addressOf(socket), socket);
}

/** `*` stands for any text, as in libvirt's tls_allowed_dn_list. */
export function isAllowedName(name: string, allowed: readonly string[] | undefined): boolean {
  if (allowed === undefined) return true;
  return allowed.some((pattern) => {
    const escaped = pattern.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll('*', '.*');
    return new RegExp(`^${escaped}$`, 's').test(name);
  });
}

/** `C=GB,ST=London,O=Red Hat,CN=name`: the order in which GnuTLS writes it. */
function distinguishedName(stream: TLSSocket): string {
  const subject: unknown = stream.getPeerCertificate().subject;
  if (typeof subject !== 'object' || subject === null) return '';
  return Object.entries(subject)
    .flatMap(([key, value]) => (Array.isArray(value) ? value : [value]).map((one) => `${key}=${String(one)}`))
    .toReversed()
    .join(',');
}

async function requireFree(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw cannot(path, 'it is there, and it is no socket');
  if (await answers(path)) {
    throw cannot(
      path,
      'another process listens there (libvirtd? nestling daemon?): stop it, or choose --socket PATH',
      undefined,
      ErrorCode.RESOURCE_BUSY,
    );
  }
  log.info('listen', () => `${path} is left over from a process that has ended: it is replaced`);
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket: Socket = connect(path);
    const tell = (isThere: boolean): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once('connect', () => tell(true));
    // Full, or not ours to use: somebody is there.
    socket.once('error', (error) => tell('code' in error && (error.code === 'EAGAIN' || error.code === 'EACCES')));
  });
}

async function listening(socket: Server, host: string | undefined, port: number): Promise<void> {
  const where = `${host ?? '*'}:${port}`;
  try {
    await started(socket, () => socket.listen({ port, backlog: BACKLOG, ...(host === undefined ? {} : { host }) }));
  } catch (error) {
    throw cannot(where, error instanceof Error ? error.message : String(error), error);
  }
}

async function started(socket: Server, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('listening', () => {
      socket.off('error', reject);
      resolve();
    });
    listen();
  });
  socket.on('error', (error) => log.error('listen', () => error.message));
}

function addressOf(socket: Server): string {
  const address = socket.address();
  if (typeof address === 'string' || address === null) return address ?? '';
  return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}

function listener(address: string, socket: Server, cleanUp: () => void = () => {}): Listener {
  let closing: Promise<void> | undefined;
  return {
    address,
    [Symbol.asyncDispose]: async () => {
      closing ??= new Promise<void>((resolve) => {
        cleanUp();
        // Connections are the server's to close; nobody waits for them here.
        socket.close();
        resolve();
      });
      await closing;
    },
  };
}

function cannot(where: string, why: string, cause?: unknown, code: ErrorCode = ErrorCode.SYSTEM_ERROR): VirtError {
  return new VirtError(`cannot listen on ${where}: ${why}`, { code, domain: ErrorDomain.RPC, cause });
}

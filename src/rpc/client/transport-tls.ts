/** A daemon that listens on TLS, with libvirt's x509 files, and the byte with which it says that it takes our certificate. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { connect, type TLSSocket } from 'node:tls';
import type { RemoteUri } from '../../api/uri.ts';
import { errnoOf, noConnection, type OpenTransport, type TransportOptions, untilEvent } from './transport.ts';

/** LIBVIRTD_TLS_PORT. */
const TLS_PORT = 16_514;
/** What a server sends first once it has accepted the client's certificate. */
const ACCEPTED = 1;

/** Files of one set. */
export interface PkiFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export async function connectTls(uri: RemoteUri, { signal }: TransportOptions): Promise<OpenTransport> {
  const { host = 'localhost', port = TLS_PORT, parameters } = uri;
  if (parameters.tlsPriority !== undefined) {
    throw noConnection(uri, 'tls_priority is in the language of GnuTLS, which this client does not use: leave it out');
  }
  const files = pkiFiles(parameters.pkipath, { home: homedir(), uid: process.getuid?.() ?? 0, exists: existsSync });
  const read = (path: string): Buffer | undefined => readIfThere(uri, path, parameters.pkipath !== undefined);
  const [ca, cert, key] = [read(files.ca), read(files.cert), read(files.key)];
  if (ca === undefined && !parameters.noVerify) {
    throw noConnection(uri, `${files.ca} is missing: put the CA's certificate there, or give pkipath=DIR`);
  }
  const stream = connect({
    host,
    port,
    servername: /^[\d.]+$|:/.test(host) ? '' : host,
    rejectUnauthorized: !parameters.noVerify,
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  });
  try {
    await untilEvent(stream, 'secureConnect', signal);
    await untilAccepted(stream, signal);
  } catch (error) {
    stream.destroy();
    signal?.throwIfAborted();
    throw noConnection(uri, `${host} port ${port}: ${whyNot(error, files)}`, error);
  }
  return { stream, encrypted: true };
}

/** libvirt's places: `pkipath`, the user's own set where it is complete, the host's. */
export function pkiFiles(
  pkipath: string | undefined,
  { home, uid, exists }: { home: string; uid: number; exists: (path: string) => boolean },
): PkiFiles {
  const inOne = (dir: string): PkiFiles => ({
    ca: `${dir}/cacert.pem`,
    cert: `${dir}/clientcert.pem`,
    key: `${dir}/clientkey.pem`,
  });
  if (pkipath !== undefined) return inOne(pkipath);
  const own = inOne(`${home}/.pki/libvirt`);
  const host = {
    ca: '/etc/pki/CA/cacert.pem',
    cert: '/etc/pki/libvirt/clientcert.pem',
    key: '/etc/pki/libvirt/private/clientkey.pem',
  };
  if (uid === 0) return host;
  const hasPair = exists(own.cert) && exists(own.key);
  return {
    ca: exists(own.ca) ? own.ca : host.ca,
    cert: hasPair ? own.cert : host.cert,
    key: hasPair ? own.key : host.key,
  };
}

function readIfThere(uri: RemoteUri, path: string, isRequired: boolean): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' && !isRequired) return undefined;
    throw noConnection(uri, `cannot read ${path}: ${errno}`, error);
  }
}

async function untilAccepted(stream: TLSSocket, signal: AbortSignal | undefined): Promise<void> {
  for (;;) {
    const first: unknown = stream.read(1);
    if (Buffer.isBuffer(first)) {
      if (first[0] === ACCEPTED) return;
      throw new Error('the server does not accept our certificate or address');
    }
    if (stream.readableEnded) throw new Error('the server does not accept our certificate or address');
    await untilEvent(stream, 'readable', signal);
  }
}

function whyNot(error: unknown, files: PkiFiles): string {
  const errno = errnoOf(error);
  if (/^(UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|CERT_)/.test(errno)) {
    return `the server's certificate is not one of ${files.ca} (${errno}); no_verify=1 takes any`;
  }
  if (errno === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the server's certificate is for another host (${String(error)})`;
  if (errno.startsWith('ERR_SSL'))
    return `TLS failed (${errno}); does the server want a client certificate (${files.cert})?`;
  return error instanceof Error && !/^E[A-Z]+$/.test(errno)
    ? error.message
    : `${errno}; is the daemon's TLS listener on?`;
}

/** A daemon that listens on plain TCP. Authentication has to protect itself: nothing here is encrypted. */
import { connect } from 'node:net';
import type { RemoteUri } from '../../api/uri.ts';
import { errnoOf, noConnection, type OpenTransport, type TransportOptions, untilEvent } from './transport.ts';

/** LIBVIRTD_TCP_PORT. */
const TCP_PORT = 16_509;

export async function connectTcp(uri: RemoteUri, { signal }: TransportOptions): Promise<OpenTransport> {
  const { host = 'localhost', port = TCP_PORT } = uri;
  const stream = connect({ host, port, noDelay: true });
  try {
    await untilEvent(stream, 'connect', signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw noConnection(uri, `${host} port ${port}: ${errnoOf(error)}; is the daemon's TCP listener on?`, error);
  }
  return { stream, encrypted: false };
}

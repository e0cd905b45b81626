/** The server side of libvirt's protocol. */
export type { SaslUsers } from './authentication.ts';
export type { ClientInfo } from './client-info.ts';
export {
  type Listener,
  type ListenerAdmission,
  listenFd,
  listenTcp,
  listenTls,
  listenUnix,
  type TlsListenOptions,
} from './listen.ts';
export { type Admission, RpcServer, type RpcServerOptions, type ServerLimits } from './server.ts';
export type { Session } from './session.ts';

/**
 * The host end of character devices as `-chardev`: one planner for every device that has such an end (serial ports,
 * consoles, channels, smart cards, redirected USB, rng, TPM, vhost-user). Defaults and checks are in
 * `chardev-rules.ts`; the guest's end is the families' own.
 *
 * Files and listening sockets are opened by the caller and inherited (`-add-fd`, `fd=`), so that QEMU needs no
 * rights on them and nothing is left to race. An embedding program may take a device's host end over: see
 * `PlanContext.chardevOverrides` and `serialLog`.
 */
import type { ChardevSource, ChardevSourceElement } from '../../../model/domain/devices/chardev-source.ts';
import { hasFeature, type QemuCapabilities } from '../capabilities/capabilities.ts';
import type { FeatureName } from '../capabilities/features.ts';
import { type PlanContext, refuse } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';
import { planTlsCredentials, type TlsCredentials } from './tls-credentials.ts';

/** What a device adds to its source. */
export interface ChardevOptions {
  /** Path of a unix socket whose source names none. */
  readonly defaultPath?: string | undefined;
  /** Parallel ports have a backend of their own for devices of the host. */
  readonly parallel?: boolean;
  /** What a `spicevmc` source carries. */
  readonly spiceChannel?: 'vdagent' | 'usbredir' | 'smartcard';
}

/** Id of a device's chardev. */
export function chardevId(alias: string): string {
  return `char${alias}`;
}

/** The parts of a device's host end: descriptors, TLS credentials, and last the chardev itself. */
export function planChardev(
  source: ChardevSource,
  alias: string,
  context: PlanContext,
  options: ChardevOptions = {},
): Part[] {
  const parts: Part[] = [];
  const id = chardevId(alias);
  const backend = context.chardevOverrides?.has(alias)
    ? { backend: 'socket', id, fd: context.requestFd({ kind: 'socketpair', name: alias }) }
    : planBackend({ source, alias, context, options, parts });
  const log = planLog(source, alias, context, parts);
  parts.push({ kind: 'chardev', props: { ...backend, ...log } });
  return parts;
}

/** A unix socket that QEMU itself connects to or makes, as the back ends of vhost-user and TPM devices are. */
export function unixChardev(
  id: string,
  socket: { path: string; server?: boolean; reconnect?: Reconnect | undefined },
  context: Pick<PlanContext, 'caps'>,
): Part {
  const { path, server, reconnect } = socket;
  const props = {
    backend: 'socket',
    id,
    path,
    server: server === true ? true : undefined,
    ...reconnectProps(reconnect, context.caps),
  };
  return { kind: 'chardev', props };
}

/** `<reconnect>`; the timeout is in seconds. */
export interface Reconnect {
  readonly enabled?: boolean | undefined;
  readonly timeout?: number | undefined;
}

/**
 * `reconnect-ms`, or `reconnect` in seconds for a QEMU older than 9.2; 0 switches it off.
 * @param feature says whether the back end at hand takes milliseconds.
 */
export function reconnectProps(
  reconnect: Reconnect | undefined,
  caps: QemuCapabilities,
  feature: FeatureName = 'chardev-reconnect-ms',
): Props {
  if (reconnect?.enabled === undefined) return {};
  const seconds = reconnect.enabled ? (reconnect.timeout ?? 0) : 0;
  return hasFeature(caps, feature) ? { 'reconnect-ms': seconds * 1000 } : { reconnect: seconds };
}

/** A descriptor that QEMU opens by a path: the `-add-fd` part and that path. */
export function planFdSet(context: PlanContext, fd: number, opaque: string): { part: Part; path: string } {
  const set = context.nextFdSet();
  return { part: { kind: 'keyval', option: 'add-fd', props: { set, fd, opaque } }, path: `/dev/fdset/${set}` };
}

interface Work {
  readonly source: ChardevSource;
  readonly alias: string;
  readonly context: PlanContext;
  readonly options: ChardevOptions;
  readonly parts: Part[];
}

function planBackend(work: Work): Props {
  const { source, alias, options } = work;
  const id = chardevId(alias);
  const first = source.sources[0];
  switch (source.type ?? 'pty') {
    case 'dev':
      return { backend: options.parallel === true ? 'parallel' : 'serial', id, path: first?.path };
    case 'file':
      return planFile(work, first?.path ?? '', first?.append === true);
    case 'pipe':
      return { backend: 'pipe', id, path: first?.path };
    case 'udp':
      return udpProps(id, source);
    case 'tcp':
      return planTcp(work, first);
    case 'unix':
      return planUnix(work, first);
    case 'spicevmc':
      return { backend: 'spicevmc', id, name: options.spiceChannel ?? 'vdagent' };
    case 'spiceport':
    case 'dbus':
      return { backend: source.type, id, name: first?.channel };
    case 'qemu-vdagent':
      return {
        backend: 'qemu-vdagent',
        id,
        name: 'vdagent',
        clipboard: first?.clipboard?.copypaste,
        mouse: first?.mouse === undefined ? undefined : first.mouse.mode === 'client',
      };
    case 'nmdm':
      return refuse(`device '${alias}': QEMU has no character device of type 'nmdm'; use 'pty' or 'unix'`);
    default:
      return { backend: source.type ?? 'pty', id };
  }
}

function planFile({ alias, context, parts }: Work, path: string, append: boolean): Props {
  const fd = context.requestFd({ kind: 'file', path, flags: append ? 'a' : 'w' });
  const set = planFdSet(context, fd, `${alias}-source`);
  parts.push(set.part);
  // The descriptor is truncated, or not, where it is opened.
  return { backend: 'file', id: chardevId(alias), path: set.path, append: true };
}

function udpProps(id: string, { sources }: ChardevSource): Props {
  const connect = sources.find(({ mode }) => mode !== 'bind');
  const bind = sources.find(({ mode }) => mode === 'bind');
  return {
    backend: 'udp',
    id,
    host: connect?.host ?? '',
    port: connect?.service ?? '',
    localaddr: bind?.host ?? '',
    localport: bind?.service ?? '0',
  };
}

function planTcp(work: Work, source: ChardevSourceElement | undefined): Props {
  const { context, alias } = work;
  const telnet = work.source.protocol?.type === 'telnet';
  return {
    backend: 'socket',
    id: chardevId(alias),
    host: source?.host,
    port: source?.service,
    telnet: telnet ? true : undefined,
    ...listenProps(source?.mode === 'bind'),
    ...reconnectProps(source?.reconnect, context.caps),
    'tls-creds': (source?.tls ?? context.config.chardevTls) ? planTls(work, source?.mode === 'bind') : undefined,
  };
}

function planUnix({ context, alias, options }: Work, source: ChardevSourceElement | undefined): Props {
  const path = source?.path ?? options.defaultPath ?? '';
  const id = chardevId(alias);
  if (source?.mode !== 'bind' && source?.path !== undefined) {
    return { backend: 'socket', id, path, ...reconnectProps(source.reconnect, context.caps) };
  }
  const fd = context.requestFd({ kind: 'listen-unix', path });
  return { backend: 'socket', id, fd, ...listenProps(true) };
}

function listenProps(listen: boolean): Props {
  return listen ? { server: true, wait: false } : {};
}

function planTls({ context, alias, parts }: Work, listen: boolean): string {
  const { config } = context;
  const id = `obj${chardevId(alias)}_tls0`;
  const uuid = config.chardevTlsX509SecretUuid;
  const credentials: TlsCredentials = {
    id,
    dir: config.chardevTlsX509CertDir,
    endpoint: listen ? 'server' : 'client',
    // A client always looks at the server's certificate; whether a server asks for the client's is a setting.
    verifyPeer: listen ? config.chardevTlsX509Verify : true,
    keySecret: uuid === undefined ? undefined : { id: `${chardevId(alias)}-secret0`, uuid },
  };
  parts.push(...planTlsCredentials(context, credentials));
  return id;
}

function planLog(source: ChardevSource, alias: string, context: PlanContext, parts: Part[]): Props {
  const wanted = context.serialLog?.alias === alias ? context.serialLog : undefined;
  const path = source.log?.file ?? wanted?.path;
  if (path === undefined) return {};
  const append = source.log === undefined ? wanted?.append === true : source.log.append === true;
  const fd = context.requestFd({ kind: 'file', path, flags: append ? 'a' : 'w' });
  const set = planFdSet(context, fd, `${alias}-log`);
  parts.push(set.part);
  return { logfile: set.path, logappend: true };
}

/**
 * A chardev part as the argument of QMP's `chardev-add`. The command line's spelling is flat and differs from QAPI's
 * in names and nesting; the parts are in the former.
 */
import type { Props, PropValue } from './props.ts';

/** `{id, backend: {type, data}}` of a part of kind `chardev`. */
export function chardevToQapi(props: Props): Props {
  const { id, backend } = props;
  const data = { ...dataOf(props), logfile: props['logfile'], logappend: props['logappend'] };
  return { id, backend: { type: backend, data } };
}

function dataOf(props: Props): Props {
  switch (props['backend']) {
    case 'file':
      return { out: props['path'], append: props['append'] };
    case 'pipe':
    case 'serial':
    case 'parallel':
      return { device: props['path'] };
    case 'udp':
      return udpData(props);
    case 'socket':
      return socketData(props);
    case 'spicevmc':
      return { type: props['name'] };
    case 'spiceport':
      return { fqdn: props['name'] };
    case 'dbus':
      return { name: props['name'] };
    case 'qemu-vdagent':
      return { clipboard: props['clipboard'], mouse: props['mouse'] };
    default:
      return {};
  }
}

function udpData(props: Props): Props {
  const bound = props['localaddr'] !== '' || props['localport'] !== '0';
  return {
    remote: inetAddress(props['host'], props['port']),
    local: bound ? inetAddress(props['localaddr'], props['localport']) : undefined,
  };
}

function socketData(props: Props): Props {
  const { host, path, fd, server } = props;
  const addr: Props =
    host !== undefined
      ? inetAddress(host, props['port'])
      : path !== undefined
        ? { type: 'unix', data: { path } }
        : { type: 'fd', data: { str: asText(fd) } };
  return {
    addr,
    telnet: host === undefined ? undefined : props['telnet'] === true,
    // QAPI's default is to listen, the command line's to connect.
    server: server === true,
    wait: props['wait'],
    reconnect: props['reconnect'],
    'reconnect-ms': props['reconnect-ms'],
    'tls-creds': props['tls-creds'],
  };
}

function inetAddress(host: PropValue | undefined, port: PropValue | undefined): Props {
  return { type: 'inet', data: { host: asText(host), port: asText(port) } };
}

function asText(value: PropValue | undefined): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

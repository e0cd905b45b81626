/** Where message buses listen: `unix:path=/run/dbus/system_bus_socket`, several separated by semicolons. Pure. */
import { DbusFormatError } from './dbus-value.ts';

/** systemd's own socket, for root, where no bus runs: one peer, no names. */
const PRIVATE_SOCKET = '/run/systemd/private';
const SYSTEM_BUS = '/run/dbus/system_bus_socket';

/** What connect(2) is given; a path that begins with a zero is in the abstract namespace. */
export interface BusAddress {
  readonly path: string;
  /** A bus gives names and delivers; without one there is only the peer. */
  readonly isBus: boolean;
}

/** Of the environment: who the caller is, and what it says about buses. */
export interface BusEnvironment {
  readonly uid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** @throws DbusFormatError when none of them is a UNIX socket */
export function parseBusAddress(text: string): string[] {
  const paths = text.split(';').flatMap((address) => {
    const [transport, rest = ''] = address.split(/:(.*)/s);
    if (transport !== 'unix') return [];
    const values = new Map(rest.split(',').map((pair) => splitPair(pair)));
    const [path, abstract] = [values.get('path'), values.get('abstract')];
    return path !== undefined ? [path] : abstract !== undefined ? [`\0${abstract}`] : [];
  });
  if (paths.length === 0)
    throw new DbusFormatError(`'${text}' is no address of a bus on a UNIX socket, such as unix:path=${SYSTEM_BUS}`);
  return paths;
}

function splitPair(pair: string): [string, string] {
  const [key = '', value = ''] = pair.split(/=(.*)/s);
  return [key, decodeURIComponent(value)];
}

/** Where root's systemd, or the user's own, is reached, in the order of trying. */
export function managerAddresses({ uid, env }: BusEnvironment, address?: string): BusAddress[] {
  const buses = (text: string): BusAddress[] => parseBusAddress(text).map((path) => ({ path, isBus: true }));
  if (address !== undefined) return buses(address);
  if (uid === 0) {
    const text = env['DBUS_SYSTEM_BUS_ADDRESS'];
    return [...buses(text ?? `unix:path=${SYSTEM_BUS}`), { path: PRIVATE_SOCKET, isBus: false }];
  }
  const runtime = env['XDG_RUNTIME_DIR'] ?? `/run/user/${uid}`;
  const text = env['DBUS_SESSION_BUS_ADDRESS'];
  return [...buses(text ?? `unix:path=${runtime}/bus`), { path: `${runtime}/systemd/private`, isBus: false }];
}

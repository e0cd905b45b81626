/** `nestling network forward`: lists, adds and removes ports of the host that lead to guests, on a connection to a daemon. */
import { isIP } from 'node:net';
import { connect } from '../index.ts';
import { type HostPortForward, parseNetwork } from '../model/network/network.ts';
import { NAMESPACES } from '../model/schema/schema.ts';
import { escapeXml } from '../xml/format.ts';
import { onePositional, UsageError } from './usage.ts';

const HIGHEST_PORT = 65535;

/** The forwards of the running network, else of the definition, one a line or as JSON. */
export async function listForwards(
  name: string,
  { uri, json }: { uri: string | undefined; json: boolean | undefined },
): Promise<string> {
  await using connection = await connect(uri ?? defaultUri());
  const { networks } = connection;
  const { uuid } = await networks.lookupByName(name);
  const { portForwards } = parseNetwork(await networks.xmlDesc(uuid));
  if (json === true) return `${JSON.stringify(portForwards, undefined, 2)}\n`;
  return portForwards.map((forward) => `${formatHostEnd(forward)} ${formatGuestEnd(forward)}\n`).join('');
}

/** Now where the network is active, for its next starts where it is persistent. */
export async function changeForward(
  action: 'add' | 'remove',
  [network = '', host = '', ...rest]: readonly string[],
  { uri }: { uri: string | undefined },
): Promise<void> {
  if (network === '') throw new UsageError('the network is missing');
  const forward = {
    ...parseHostEnd(host),
    ...(action === 'add' ? parseGuestEnd(onePositional(rest, 'the guest')) : { guest: '' }),
  };
  if (action === 'remove' && rest.length > 0) throw new UsageError(`unexpected argument '${rest[0]}'`);
  await using connection = await connect(uri ?? defaultUri());
  const { networks } = connection;
  const { uuid } = await networks.lookupByName(network);
  const [live, config] = await Promise.all([networks.isActive(uuid), networks.isPersistent(uuid)]);
  await networks.update(uuid, {
    command: action === 'add' ? 'add-last' : 'delete',
    section: 'port-forward',
    parentIndex: -1,
    xml: forwardXml(forward),
    live,
    config,
  });
}

function defaultUri(): string {
  const uri = process.env['LIBVIRT_DEFAULT_URI'];
  return uri === undefined || uri === '' ? 'qemu:///system' : uri;
}

/** `tcp:192.0.2.1:2222`, `[2001:db8::1]:2222`, `2222`. @throws UsageError */
export function parseHostEnd(text: string): Pick<HostPortForward, 'proto' | 'address' | 'port'> {
  const match = /^(?:(tcp|udp):)?(?:(\[[^\]]*\]|[^:]+):)?(\d+)$/.exec(text);
  const [, protocol, host, port] = match ?? [];
  const address = host?.replace(/^\[|\]$/g, '');
  if (port === undefined || !isPort(Number(port)) || (address !== undefined && isIP(address) === 0)) {
    throw new UsageError(
      `a port of the host is [tcp|udp:][ADDRESS:]PORT such as 2222 or udp:192.0.2.1:53, not '${text}'`,
    );
  }
  return { proto: protocol === 'udp' ? 'udp' : 'tcp', ...(address !== undefined && { address }), port: Number(port) };
}

/** `web`, `web:22`, `192.168.122.7:22`, `[fd00::7]:22`. @throws UsageError */
export function parseGuestEnd(text: string): Pick<HostPortForward, 'guest' | 'to'> {
  if (isIP(text) !== 0) return { guest: text };
  const [, bracketed, named, port] = /^(?:\[([^\]]+)\]|(.+?))(?::(\d+))?$/.exec(text) ?? [];
  const guest = bracketed ?? named;
  const isWrong = guest === undefined || (bracketed !== undefined && isIP(bracketed) !== 6);
  if (isWrong || (port !== undefined && !isPort(Number(port)))) {
    throw new UsageError(`a guest is NAME[:PORT] or ADDRESS[:PORT] such as web:22 or [fd00::7]:22, not '${text}'`);
  }
  return { guest, ...(port !== undefined && { to: Number(port) }) };
}

function isPort(port: number): boolean {
  return port >= 1 && port <= HIGHEST_PORT;
}

function formatHostEnd({ proto, address, port }: HostPortForward): string {
  return [proto, ...(address === undefined ? [] : [bracketed(address)]), port].join(':');
}

function formatGuestEnd({ guest, to, port }: HostPortForward): string {
  return `${bracketed(guest)}:${to ?? port}`;
}

function bracketed(address: string): string {
  return isIP(address) === 6 ? `[${address}]` : address;
}

function forwardXml(forward: Readonly<HostPortForward>): string {
  const attributes = Object.entries(forward).map(([name, value]) => ` ${name}='${escapeXml(String(value))}'`);
  return `<nestling:portForward xmlns:nestling='${NAMESPACES['nestling']}'${attributes.join('')}/>`;
}

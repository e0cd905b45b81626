/** passt, the user-mode network outside QEMU: its command line and its socket. Running it is the runtime's work. */
import { dirname } from 'node:path';
import type { NetworkInterface, PortForward } from '../../../../model/domain/devices/interface.ts';
import type { PlanContext } from '../../context.ts';

/** QEMU comes back to a passt that was restarted. */
export const PASST_RECONNECT = { enabled: true, timeout: 5 } as const;

/** Plans the process that serves an interface, and returns the path of its socket. */
export function planPasst(device: NetworkInterface, context: PlanContext): string {
  const alias = device.alias?.name ?? '';
  const path = passtSocket(alias, context);
  const directory = dirname(path);
  const planned = context.files.some((file) => file.kind === 'directory' && file.path === directory);
  if (!planned) context.files.push({ kind: 'directory', path: directory, mode: 0o755, keep: true });
  context.files.push({ kind: 'socket', path });
  context.helpers.push({
    name: `${alias}-passt`,
    command: context.host.helpers.passt?.path ?? 'passt',
    args: passtArguments(device, path),
    readySocket: path,
  });
  return path;
}

function passtSocket(alias: string, { layout, id, name }: PlanContext): string {
  return `${layout.roots.run}/passt/${layout.shortName(id, name)}-${alias}.socket`;
}

/** Arguments for one interface; passt ends when QEMU closes the socket. */
export function passtArguments(device: NetworkInterface, socket: string): string[] {
  const args = ['--foreground', '--one-off', '--socket', socket];
  if (device.type === 'vhostuser') args.push('--vhost-user');
  if (device.mtu !== undefined) args.push('--mtu', String(device.mtu.size));
  if (device.source?.dev !== undefined) args.push('--interface', device.source.dev);
  if (device.backend?.logFile !== undefined) args.push('--log-file', device.backend.logFile);
  if (device.backend?.hostname !== undefined) args.push('--hostname', device.backend.hostname);
  if (device.backend?.fqdn !== undefined) args.push('--fqdn', device.backend.fqdn);
  for (const ip of device.ips) {
    args.push('--address', ip.address);
    if (ip.prefix !== undefined && ip.prefix > 0) args.push('--netmask', String(ip.prefix));
  }
  for (const forward of device.portForwards) {
    args.push(forward.proto === 'tcp' ? '--tcp-ports' : '--udp-ports', formatPortForward(forward));
  }
  return args;
}

/** `ADDRESS%DEVICE/22:2022,~1000-1050`, as passt's --tcp-ports reads it. */
export function formatPortForward({ address, dev, ranges }: PortForward): string {
  const from = `${address ?? ''}${dev === undefined ? '' : `%${dev}`}`;
  const ports = ranges.map(({ start, end, to, exclude }) => {
    const host = end === undefined ? `${start}` : `${start}-${end}`;
    if (exclude === true) return `~${host}`;
    if (to === undefined) return host;
    return end === undefined ? `${host}:${to}` : `${host}:${to}-${to + end - start}`;
  });
  const list = ports.length === 0 ? 'all' : ports.join(',');
  return from === '' ? list : `${from}/${list}`;
}

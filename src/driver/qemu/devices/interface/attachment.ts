/** What an interface is really connected to: a virtual network stands for a bridge, a host device or another kind. */
import type { InterfaceType, NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import type { NetworkAttachment } from '../../../guest-sources.ts';
import type { DomainContext } from '../../context.ts';

/** How the interface's network attaches guests; undefined for other interfaces and unknown networks. */
export function networkOf(device: NetworkInterface, { lookup }: DomainContext): NetworkAttachment | undefined {
  if (device.type !== 'network' || device.source?.network === undefined) return undefined;
  // A guest that has its place already: its live definition tells.
  const { portid, bridge } = device.source;
  if (portid !== undefined && bridge !== undefined) return { type: 'bridge', bridge };
  return lookup.network?.(device.source.network);
}

/** The kind behind the network; `network` itself where it is not known. */
export function actualType(device: NetworkInterface, context: DomainContext): InterfaceType {
  return networkOf(device, context)?.type ?? device.type;
}

/** passt, and not QEMU's own user-mode network (slirp) or a vhost-user process of somebody else's. */
export function isPasst(device: NetworkInterface): boolean {
  return device.backend?.type === 'passt' && (device.type === 'user' || device.type === 'vhostuser');
}

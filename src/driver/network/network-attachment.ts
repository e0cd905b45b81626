/** From the plug of a port's XML back to how its guest is attached. */
import type { NetworkPlug } from '../../model/network/network-port.ts';
import type { NetworkAttachment } from '../guest-sources.ts';

export function attachmentOf(plug: NetworkPlug | undefined): NetworkAttachment {
  switch (plug?.type) {
    case 'network':
    case 'bridge':
      return {
        type: 'bridge',
        bridge: plug.bridge ?? '',
        macTableManager: plug.macTableManager,
        ...(plug.type === 'bridge' && { isForeign: true }),
      };
    case 'direct':
      return { type: 'direct', dev: plug.dev ?? '', mode: plug.mode ?? 'vepa' };
    case 'hostdev-pci': {
      const { domain = 0, bus = 0, slot = 0, function: fn = 0 } = plug.address ?? {};
      return { type: 'hostdev', address: { domain, bus, slot, function: fn } };
    }
    default:
      return { type: 'user' };
  }
}

/** What the expectations assume of virtual networks, SCSI hosts and render nodes. */

import type { NetworkAttachment } from '../../src/driver/guest-sources.ts';
import type { Lookup } from '../../src/driver/qemu/context.ts';
import { mockVolume } from './mock-volumes.ts';

/** Networks say in their names how guests are plugged in: `NAME;plug-KIND`. */
export const MOCK_LOOKUP: Lookup = {
  volume: mockVolume,
  network: (name) => attachmentOf(name.split(';plug-')[1] ?? ''),
  scsiGeneric: () => 'sg0',
  renderNode: () => '/dev/dri/foo',
  // The descriptors are mocked, so that they are there for every virtio interface.
  vhostNet: () => true,
};

function attachmentOf(plug: string): NetworkAttachment {
  if (plug.startsWith('hostdev')) {
    return { type: 'hostdev', address: { domain: 1, bus: 2, slot: 3, function: 4 } };
  }
  if (plug.startsWith('direct')) return { type: 'direct', dev: 'eth0', mode: 'bridge' };
  return { type: 'bridge', bridge: 'virbr0' };
}

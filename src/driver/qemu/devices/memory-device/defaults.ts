/** What is filled in for memory devices. */
import type { MemoryDevice } from '../../../../model/domain/devices/memory-device.ts';
import type { DomainContext } from '../../context.ts';

/** The transparent huge page of x86 and of ARM with 4 KiB pages: virtio-mem plugs nothing smaller. */
export const THP_SIZE_KIB = 2048;

export function fillMemoryDeviceDefaults(device: MemoryDevice, _context: DomainContext): void {
  const { model, target, source } = device;
  if (model === 'virtio-mem') target.block ??= Math.max(THP_SIZE_KIB, source?.pagesize ?? 0);
  // What the guest writes has to reach the file behind it.
  if (model === 'virtio-pmem') device.access ??= 'shared';
}

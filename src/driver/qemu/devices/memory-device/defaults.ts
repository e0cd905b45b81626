/** What is filled in for memory devices. */
import type { MemoryDevice } from '../../../../model/domain/devices/memory-device.ts';
import type { DomainContext } from '../../context.ts';

/** The transparent huge page of x86 and of ARM with 4 KiB pages: virtio-mem plugs nothing smaller. */
export const THP_SIZE_KIB = 2048;

export function fillMemoryDeviceDefaults({ model, target, source }: MemoryDevice, _context: DomainContext): void {
  if (model === 'virtio-mem') target.block ??= Math.max(THP_SIZE_KIB, source?.pagesize ?? 0);
}

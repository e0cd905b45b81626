/** Slots of memory modules. Where in the guest's address space a module lies is QEMU's choice unless it is given. */
import type { DimmAddress } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { type DomainContext, fault } from '../context.ts';
import { memoryDeviceAddressNeed } from '../devices/memory-device/addresses.ts';

/** Gives every module a slot, the given ones first. */
export function assignMemorySlots(context: DomainContext): void {
  const { domain } = context;
  const slots = domain.maxMemory?.slots ?? 0;
  const modules = devicesOf(domain).memories.filter((memory) => memoryDeviceAddressNeed(memory)?.type === 'dimm');
  const used = new Set<number>();
  for (const memory of modules) {
    const slot = (memory.address as DimmAddress | undefined)?.slot;
    if (memory.address?.type !== 'dimm' || slot === undefined) continue;
    if (slot >= slots)
      fault(context, memory, `there is no memory slot ${slot}: maxMemory has ${slots}`, 'address/@slot');
    else if (used.has(slot)) fault(context, memory, `memory slot ${slot} is taken`, 'address/@slot');
    used.add(slot);
  }
  for (const memory of modules) {
    const { address } = memory;
    if (address !== undefined && (address.type !== 'dimm' || address.slot !== undefined)) continue;
    let slot = 0;
    while (used.has(slot)) slot++;
    if (slot >= slots) {
      fault(context, memory, `no memory slot is free: maxMemory has ${slots} (raise maxMemory/@slots)`);
      return;
    }
    used.add(slot);
    memory.address = { ...address, type: 'dimm', slot };
  }
}

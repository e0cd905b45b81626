/** The refusal of devices that are served by another process where that process cannot see the guest's memory. */
import { type DomainContext, fault } from '../context.ts';
import { hasSharedMemory } from '../definition/shared-memory.ts';

/** Adds a fault where the memory is not shared. `what` names the device in the message. */
export function requireSharedMemory(device: object, what: string, context: DomainContext): void {
  if (hasSharedMemory(context.domain)) return;
  const fix = "add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
  fault(context, device, `${what} needs memory that is shared with its server: ${fix}`);
}

/** What concerns the disks of a guest together. */
import type { DomainContext } from '../context.ts';
import { sortDisks } from '../devices/disk/target.ts';

/** Puts the disks in libvirt's order, before anything else is filled in: the order decides their PCI slots. */
export function fillDisksOrder({ domain }: Pick<DomainContext, 'domain'>): void {
  if (domain.devices !== undefined) domain.devices.disks = sortDisks(domain.devices.disks);
}

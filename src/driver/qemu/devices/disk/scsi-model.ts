/** Which SCSI controller a drive address belongs to: the LSI ones address drives in their own way. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import type { Domain } from '../../../../model/domain/domain.ts';

/** The disk's controller is an LSI 53C895A, which has targets and no logical units. */
export function isLsi(disk: Disk, context: { readonly domain: Domain }): boolean {
  return scsiModelOf(disk, context.domain) === 'lsilogic';
}

/** Model of the disk's SCSI controller; undefined where there is none (yet). */
export function scsiModelOf(disk: Disk, domain: Domain): string | undefined {
  const index = disk.address?.type === 'drive' ? (disk.address.controller ?? 0) : 0;
  return domain.devices?.controllers.find(
    (controller) => controller.type === 'scsi' && (controller.index ?? 0) === index,
  )?.model;
}

/** libvirt's names of disks: by place on controllers with drive addresses, by target number elsewhere. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import type { DomainContext } from '../../context.ts';
import { driveAddress } from './drive.ts';
import { isLsi } from './scsi-model.ts';
import { diskNameToIndex } from './target.ts';

export function diskAlias(disk: Disk, _index: number, context: DomainContext): string {
  const bus = disk.target?.bus ?? 'ide';
  switch (bus) {
    case 'ide':
    case 'sata':
    case 'fdc':
    case 'scsi': {
      const { controller, bus: channel, target, unit } = driveAddress(disk);
      const hasTarget = bus === 'scsi' && !isLsi(disk, context);
      return `${bus}${controller}-${channel}-${hasTarget ? `${target}-` : ''}${unit}`;
    }
    default:
      return `${bus}-disk${Math.max(0, diskNameToIndex(disk.target?.dev ?? ''))}`;
  }
}

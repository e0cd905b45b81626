/** What makes a disk unusable: what libvirt refuses of any hypervisor's disk first, then what QEMU cannot do. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { type DomainContext, fault } from '../../context.ts';
import { isEmptyDrive } from '../blockdev/image.ts';
import { validateSources } from '../blockdev/validate.ts';
import { isPartitionName } from './target.ts';
import { hasLimits, limitsProblem, sameLimits } from './throttle.ts';
import { validateDriver } from './validate-driver.ts';
import { validatePlace } from './validate-place.ts';
import { validateVhostUser } from './validate-vhost-user.ts';

export function validateDisk(disk: Disk, context: DomainContext): void {
  if (!validateTarget(disk, context)) return;
  validateKind(disk, context);
  validateIdentity(disk, context);
  validatePlace(disk, context);
  validateDriver(disk, context);
  validateLimits(disk, context);
  if (disk.type === 'vhostuser') validateVhostUser(disk, context);
  else validateSources(disk, context);
}

/** The target names the disk everywhere else, so nothing more is said without one. */
function validateTarget(disk: Disk, context: DomainContext): boolean {
  const name = disk.target?.dev;
  if (name === undefined || name === '') {
    fault(context, disk, `the disk has no target: add <target dev='vda' bus='virtio'/>`, 'target');
    return false;
  }
  if (isPartitionName(name)) {
    fault(context, disk, `target '${name}' names a partition; a target is a whole disk`, 'target/@dev');
    return false;
  }
  if (!/^(?:fd|hd|sd|vd|xvd|ubd)/.test(name)) {
    fault(context, disk, `target '${name}' does not start with fd, hd, sd, vd, xvd or ubd`, 'target/@dev');
  }
  const same = context.domain.devices?.disks.find((other) => other !== disk && other.target?.dev === name);
  if (same !== undefined && isLater(disk, same, context)) {
    fault(context, disk, `target '${name}' is another disk's too: each needs its own`, 'target/@dev');
  }
  return true;
}

function isLater(disk: Disk, other: Disk, context: DomainContext): boolean {
  const disks = context.domain.devices?.disks ?? [];
  return disks.indexOf(disk) > disks.indexOf(other);
}

const FLOPPY_BUSES: ReadonlySet<string> = new Set(['fdc']);

/** `device` against bus, source and the attributes that only some devices have. */
function validateKind(disk: Disk, context: DomainContext): void {
  const { device = 'disk', source, target } = disk;
  const bus = target?.bus ?? '';
  if (device === 'floppy' && !FLOPPY_BUSES.has(bus)) {
    fault(context, disk, `a floppy cannot sit on bus '${bus}': use bus 'fdc'`, 'target/@bus');
  }
  if (device !== 'floppy' && bus === 'fdc') {
    fault(context, disk, `bus 'fdc' takes only floppies`, 'target/@bus');
  }
  if (device === 'cdrom' && bus === 'virtio') {
    fault(context, disk, "a CD-ROM cannot sit on bus 'virtio': use 'sata', 'scsi', 'ide' or 'usb'", 'target/@bus');
  }
  if ((device === 'disk' || device === 'lun') && isEmptyDrive(disk)) {
    fault(context, disk, `disk '${target?.dev ?? ''}' has no <source>; only CD-ROM and floppy drives may be empty`);
  }
  if (device !== 'disk' && disk.type === 'network' && isEmptyDrive(disk)) {
    fault(context, disk, "an empty drive has no protocol: use type='file'", '@type');
  }
  if (target?.tray !== undefined && device !== 'cdrom' && device !== 'floppy') {
    fault(context, disk, 'only CD-ROM and floppy drives have a tray', 'target/@tray');
  }
  if (target?.removable !== undefined && bus !== 'usb' && bus !== 'scsi') {
    fault(context, disk, `'removable' is for disks on bus 'usb' or 'scsi'`, 'target/@removable');
  }
  if (source?.startupPolicy !== undefined) validateStartupPolicy(disk, source.startupPolicy, context);
  if (device === 'disk' && disk.readonly === true && (bus === 'ide' || bus === 'sata')) {
    fault(context, disk, `disks on bus '${bus}' cannot be read-only: use another bus or device='cdrom'`, 'readonly');
  }
  if (device === 'lun') validateLun(disk, context);
  else validateNotLun(disk, context);
}

function validateStartupPolicy(disk: Disk, policy: string, context: DomainContext): void {
  if (disk.type === 'network') {
    fault(context, disk, 'startupPolicy needs a local source; a network source has none', 'source/@startupPolicy');
  } else if (policy === 'requisite' && disk.device !== 'cdrom' && disk.device !== 'floppy') {
    fault(context, disk, "startupPolicy 'requisite' is for CD-ROM and floppy drives", 'source/@startupPolicy');
  }
}

function validateLun(disk: Disk, context: DomainContext): void {
  const { source, target } = disk;
  const bus = target?.bus ?? '';
  const fits = disk.type === 'block' || disk.type === 'volume' || source?.protocol === 'iscsi';
  if (!fits) {
    fault(context, disk, "device='lun' needs a block device, a volume or an iSCSI target as its source", 'source');
  }
  if (bus === 'virtio') {
    fault(context, disk, "device='lun' on bus 'virtio' is no longer supported by QEMU: use bus 'scsi'", 'target/@bus');
  } else if (bus !== 'scsi') {
    fault(context, disk, `device='lun' cannot sit on bus '${bus}': use bus 'scsi'`, 'target/@bus');
  }
  if (disk.sgio === 'unfiltered') fault(context, disk, "kernels no longer have sgio='unfiltered'", '@sgio');
  if (disk.wwn !== undefined) fault(context, disk, 'a LUN has its own WWN: leave out <wwn>', 'wwn');
  if (disk.vendor !== undefined || disk.product !== undefined) {
    fault(context, disk, 'a LUN has its own vendor and product: leave out <vendor> and <product>');
  }
  if ((disk.driver?.type ?? 'raw') !== 'raw') {
    fault(context, disk, "device='lun' passes the device through as it is: its format must be 'raw'", 'driver/@type');
  }
}

function validateNotLun(disk: Disk, context: DomainContext): void {
  if (disk.rawio === true) fault(context, disk, "rawio is only for device='lun'", '@rawio');
  if (disk.sgio !== undefined) fault(context, disk, "sgio is only for device='lun'", '@sgio');
  if (disk.source?.reservations !== undefined) {
    fault(context, disk, "<reservations> is only for device='lun'", 'source/reservations');
  }
}

/** Longest vendor and product of a SCSI INQUIRY answer. */
const VENDOR_MAX = 8;
const PRODUCT_MAX = 16;

function validateIdentity(disk: Disk, context: DomainContext): void {
  const { geometry, product, serial, target, vendor, wwn } = disk;
  const bus = target?.bus ?? '';
  if (wwn !== undefined && !/^(?:0x)?[0-9a-fA-F]{16}$/.test(wwn)) {
    fault(context, disk, `WWN '${wwn}' is not 16 hexadecimal digits`, 'wwn');
  }
  if (wwn !== undefined && bus !== 'ide' && bus !== 'scsi' && bus !== 'sata') {
    fault(context, disk, `a disk on bus '${bus}' has no WWN: only 'ide', 'sata' and 'scsi' do`, 'wwn');
  }
  validateText(disk, 'vendor', vendor, VENDOR_MAX, context);
  validateText(disk, 'product', product, PRODUCT_MAX, context);
  if ((vendor !== undefined || product !== undefined) && bus !== 'scsi') {
    fault(context, disk, `<vendor> and <product> are for bus 'scsi', not '${bus}'`);
  }
  if (target?.rotationRate !== undefined && bus !== 'scsi' && bus !== 'ide' && bus !== 'sata') {
    fault(context, disk, `rotation_rate is for bus 'scsi', 'ide' or 'sata'`, 'target/@rotation_rate');
  }
  if (target?.rotationRate !== undefined && (disk.device ?? 'disk') !== 'disk') {
    fault(context, disk, "rotation_rate is for device='disk'", 'target/@rotation_rate');
  }
  if (serial !== undefined && !/^[A-Za-z0-9\-_ .+]*$/.test(serial)) {
    fault(context, disk, "<serial> may hold letters, digits, spaces and '-', '_', '.', '+' only", 'serial');
  }
  if (serial !== undefined && bus === 'sd') fault(context, disk, "a disk on bus 'sd' has no serial number", 'serial');
  if (geometry !== undefined) {
    if (bus === 'usb' || bus === 'sd') fault(context, disk, `a disk on bus '${bus}' has no geometry`, 'geometry');
    if (geometry.trans !== undefined && bus !== 'ide') {
      fault(context, disk, `geometry translation is for bus 'ide', not '${bus}'`, 'geometry/@trans');
    }
  }
}

function validateText(
  disk: Disk,
  field: 'vendor' | 'product',
  value: string | undefined,
  max: number,
  context: DomainContext,
): void {
  if (value === undefined) return;
  if (value.length > max) fault(context, disk, `<${field}> is longer than ${max} characters`, field);
  if (!/^[\x20-\x7e]*$/.test(value)) fault(context, disk, `<${field}> has characters that are not printable`, field);
}

function validateLimits(disk: Disk, context: DomainContext): void {
  const { iotune, throttlefilters } = disk;
  const filters = throttlefilters?.throttlefilters ?? [];
  if (iotune !== undefined) {
    const problem = limitsProblem(iotune);
    if (problem !== undefined) fault(context, disk, problem, 'iotune');
    if (iotune.groupName !== undefined && !hasLimits(iotune)) {
      fault(context, disk, 'a throttling group needs limits beside its <group_name>', 'iotune');
    }
    validateSharedGroup(disk, context);
  }
  if (filters.length === 0) return;
  if (iotune !== undefined) {
    fault(context, disk, '<throttlefilters> and <iotune> exclude each other: keep one', 'throttlefilters');
  }
  const groups = new Set(context.domain.throttleGroups?.throttlegroups.map((group) => group.groupName));
  const seen = new Set<string>();
  for (const { group } of filters) {
    if (!groups.has(group))
      fault(context, disk, `throttle group '${group}' is not in <throttlegroups>`, 'throttlefilters');
    if (seen.has(group)) fault(context, disk, `throttle group '${group}' appears twice`, 'throttlefilters');
    seen.add(group);
  }
  if (disk.device === 'cdrom') fault(context, disk, 'a CD-ROM drive cannot have <throttlefilters>', 'throttlefilters');
}

/** Disks of one throttling group share one set of limits. */
function validateSharedGroup(disk: Disk, context: DomainContext): void {
  const { iotune } = disk;
  if (iotune?.groupName === undefined) return;
  const other = context.domain.devices?.disks.find(
    ({ iotune: its }) => its !== undefined && its.groupName === iotune.groupName && !sameLimits(its, iotune),
  );
  if (other !== undefined && isLater(disk, other, context)) {
    const names = `'${other.target?.dev ?? ''}' and '${disk.target?.dev ?? ''}'`;
    fault(context, disk, `disks ${names} of throttling group '${iotune.groupName}' have different limits`, 'iotune');
  }
}

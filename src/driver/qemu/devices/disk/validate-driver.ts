/** Whether the options of a disk's `<driver>` go together, with its bus and with this QEMU. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { hasFeature, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { isEmptyDrive } from '../blockdev/image.ts';

export function validateDriver(disk: Disk, context: DomainContext): void {
  validateVirtioOptions(disk, context);
  validateImageOptions(disk, context);
  validateThreads(disk, context);
  const { driver } = disk;
  if (driver?.name !== undefined && driver.name !== 'qemu') {
    fault(context, disk, `driver '${driver.name}' is not QEMU's: use name='qemu'`, 'driver/@name');
  }
  if (disk.transient !== undefined) validateTransient(disk, context);
}

/** Options that only virtio disks have. */
function validateVirtioOptions(disk: Disk, context: DomainContext): void {
  if (disk.target?.bus === 'virtio') return;
  const { driver } = disk;
  const given: readonly (readonly [string, unknown])[] = [
    ['queues', driver?.queues],
    ['queue_size', driver?.queueSize],
    ['ioeventfd', driver?.ioeventfd],
    ['event_idx', driver?.eventIdx],
    ['iommu', driver?.iommu],
    ['ats', driver?.ats],
    ['packed', driver?.packed],
    ['page_per_vq', driver?.pagePerVq],
    ['iothread', driver?.iothread],
    ['iothreads', driver?.iothreads],
  ];
  for (const [name, value] of given) {
    if (value !== undefined) fault(context, disk, `'${name}' is only for disks on bus 'virtio'`, `driver/@${name}`);
  }
  if (disk.model !== undefined) fault(context, disk, "'model' is only for disks on bus 'virtio'", '@model');
}

function validateImageOptions(disk: Disk, context: DomainContext): void {
  const { driver } = disk;
  if (driver === undefined) return;
  if (driver.copyOnRead === true && disk.device === 'lun') {
    fault(context, disk, "copy_on_read is not for device='lun', which passes commands through", 'driver/@copy_on_read');
  }
  const { cache } = driver;
  if (driver.io === 'native' && cache !== 'none' && cache !== 'directsync') {
    fault(context, disk, "io='native' needs cache='none' or 'directsync'", 'driver/@io');
  }
  if (driver.io === 'io_uring' && !hasFeature(context.caps, 'blockdev-aio-io-uring')) {
    fault(context, disk, "this QEMU has no io='io_uring': use 'threads' or 'native'", 'driver/@io');
  }
  if (driver.copyOnRead === true && disk.readonly === true) {
    fault(context, disk, 'copy_on_read writes to the image, which is read-only', 'driver/@copy_on_read');
  }
  if (driver.copyOnRead === true && (disk.device === 'cdrom' || disk.device === 'floppy')) {
    fault(context, disk, 'copy_on_read is not for drives with removable media', 'driver/@copy_on_read');
  }
  if (driver.discardNoUnref === true) {
    if (driver.type !== 'qcow2') {
      fault(context, disk, 'discard_no_unref is for qcow2 images', 'driver/@discard_no_unref');
    } else if (disk.readonly === true) {
      fault(context, disk, 'discard_no_unref has no use on a read-only disk', 'driver/@discard_no_unref');
    } else if (!hasFeature(context.caps, 'blockdev-qcow2-discard-no-unref')) {
      fault(context, disk, 'this QEMU has no discard_no_unref (8.1 and newer do)', 'driver/@discard_no_unref');
    }
  }
  if (driver.metadataCache !== undefined && driver.type !== 'qcow2') {
    fault(context, disk, '<metadata_cache> is for qcow2 images', 'driver/metadata_cache');
  }
  if (disk.shareable === true && !isEmptyDrive(disk) && disk.readonly !== true) validateShareable(disk, context);
}

function validateShareable(disk: Disk, context: DomainContext): void {
  const format = disk.driver?.type;
  // Formats with metadata of their own are damaged by two writers.
  if (format !== undefined && format !== 'raw') {
    fault(
      context,
      disk,
      `a shareable disk needs format 'raw': '${format}' cannot be written by two guests`,
      'shareable',
    );
  }
}

function validateTransient(disk: Disk, context: DomainContext): void {
  const wrong = (message: string) => fault(context, disk, message, 'transient');
  if (disk.readonly === true) wrong('a read-only disk keeps no changes: leave out <transient>');
  if (disk.device === 'lun' || disk.device === 'cdrom' || disk.device === 'floppy') {
    wrong(`<transient> is for plain disks, not device='${disk.device}'`);
  }
  if (disk.type !== 'file') wrong("<transient> needs a source of type 'file'");
  if (disk.transient?.shareBacking === true && disk.target?.bus !== undefined) {
    const { bus } = disk.target;
    if (bus !== 'virtio' && bus !== 'scsi' && bus !== 'usb') {
      wrong(`shareBacking plugs the disk in, which bus '${bus}' cannot do: use 'virtio', 'scsi' or 'usb'`);
    }
  }
}

function validateThreads(disk: Disk, context: DomainContext): void {
  const { driver } = disk;
  const mapping = driver?.iothreads?.iothreads ?? [];
  if (driver?.iothread === undefined && mapping.length === 0) return;
  if (disk.target?.bus !== 'virtio') return;
  if (driver?.iothread !== undefined && mapping.length > 0) {
    fault(context, disk, "'iothread' and <iothreads> exclude each other: keep one", 'driver/iothreads');
  }
  for (const id of [...(driver?.iothread === undefined ? [] : [driver.iothread]), ...mapping.map((one) => one.id)]) {
    if (!hasIothread(id, context)) {
      fault(context, disk, `there is no I/O thread ${id}: raise <iothreads> or add it to <iothreadids>`, 'driver');
    }
  }
  if (disk.address?.type === 'virtio-mmio') {
    fault(context, disk, 'I/O threads need a disk on PCI or CCW, not on virtio-mmio', 'driver');
  }
  if (mapping.length > 0) validateMapping(disk, context);
}

function validateMapping(disk: Disk, context: DomainContext): void {
  const { driver } = disk;
  const mapping = driver?.iothreads?.iothreads ?? [];
  const wrong = (message: string) => fault(context, disk, message, 'driver/iothreads');
  if (!hasProperty(context.caps, 'virtio-blk-pci', 'iothread-vq-mapping')) {
    wrong('this QEMU cannot map queues to I/O threads (9.0 and newer can): use the attribute iothread');
  }
  if (new Set(mapping.map(({ id }) => id)).size !== mapping.length) wrong('an I/O thread is listed twice');
  const queues = mapping.flatMap((one) => one.queues.map(({ id }) => id));
  const withQueues = mapping.filter((one) => one.queues.length > 0).length;
  if (withQueues === 0) return;
  if (withQueues !== mapping.length) return wrong('either every I/O thread has a list of queues or none has');
  const count = driver?.queues;
  if (count === undefined) return wrong("a mapping of single queues needs the attribute 'queues'");
  if (new Set(queues).size !== queues.length) wrong('a queue is mapped twice');
  if (queues.some((queue) => queue >= count)) wrong(`a queue above ${count - 1}, the last, is mapped`);
  if (new Set(queues.filter((queue) => queue < count)).size !== count) wrong('not every queue is mapped');
}

function hasIothread(id: number, { domain }: DomainContext): boolean {
  const listed = domain.iothreadids?.iothreads?.some((thread) => thread.id === id) ?? false;
  if (listed) return true;
  // Threads beyond the listed ones get the lowest free numbers.
  const ids = new Set(domain.iothreadids?.iothreads?.map((thread) => thread.id) ?? []);
  for (let next = 1; ids.size < (domain.iothreads ?? 0); next++) ids.add(next);
  return ids.has(id);
}

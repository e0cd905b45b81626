/** `<disk>`: a drive of any kind as the guest sees it, over an image that `storage-source.ts` describes. */
import { attr, child, children, flag, type Infer, required, struct, unsetByZero } from '../../schema/schema.ts';
import { integer, oneOf, onOff, text, uint, yesNo } from '../../schema/values.ts';
import { bootField, deviceInfoFields, virtioDriverFields } from './address.ts';
import { encryption, storageAuth } from './encryption.ts';
import {
  backingStore,
  metadataCacheField,
  STORAGE_FORMATS,
  STORAGE_TYPES,
  storageFormat,
  storageSource,
} from './storage-source.ts';

export const DISK_BUSES = ['ide', 'fdc', 'scsi', 'virtio', 'xen', 'usb', 'uml', 'sata', 'sd', 'nvme'] as const;
export type DiskBus = (typeof DISK_BUSES)[number];

const queueThread = struct(() => ({
  id: required(attr(integer({ min: 1, max: 0xffff_ffff }))),
  queues: children(struct({ id: required(attr(uint)) }), 'queue'),
}));
/** `<iothreads>` of a `<driver>`: which I/O threads serve which queues. */
export const queueThreads = struct(() => ({ iothreads: children(queueThread, 'iothread') }));
export interface QueueThreads extends Infer<typeof queueThreads> {}

const driver = struct(() => ({
  name: attr(text),
  type: attr(oneOf(...STORAGE_FORMATS)),
  cache: attr(oneOf('default', 'none', 'writethrough', 'writeback', 'directsync', 'unsafe')),
  errorPolicy: attr(oneOf('default', 'stop', 'report', 'ignore', 'enospace'), 'error_policy'),
  rerrorPolicy: attr(oneOf('default', 'stop', 'report', 'ignore'), 'rerror_policy'),
  io: attr(oneOf('default', 'native', 'threads', 'io_uring')),
  ioeventfd: attr(onOff),
  eventIdx: attr(onOff, 'event_idx'),
  copyOnRead: attr(onOff, 'copy_on_read'),
  discard: attr(oneOf('default', 'unmap', 'ignore')),
  iothread: attr(integer({ min: 1, max: 0xffff_ffff })),
  detectZeroes: attr(oneOf('default', 'off', 'on', 'unmap'), 'detect_zeroes'),
  queues: unsetByZero(attr(uint)),
  queueSize: unsetByZero(attr(uint, 'queue_size')),
  discardNoUnref: attr(onOff, 'discard_no_unref'),
  ...virtioDriverFields,
  iothreads: child(queueThreads),
  ...metadataCacheField,
}));
export interface DiskDriver extends Infer<typeof driver> {}

const geometry = struct(() => ({
  cyls: attr(uint),
  heads: attr(uint),
  secs: attr(uint),
  trans: attr(oneOf('default', 'none', 'auto', 'lba')),
}));

const blockio = struct(() => ({
  logicalBlockSize: attr(uint, 'logical_block_size'),
  physicalBlockSize: attr(uint, 'physical_block_size'),
  discardGranularity: attr(uint, 'discard_granularity'),
}));

const target = struct(() => ({
  dev: attr(text),
  bus: attr(oneOf(...DISK_BUSES)),
  tray: attr(oneOf('closed', 'open')),
  removable: attr(onOff),
  rotationRate: unsetByZero(attr(uint, 'rotation_rate')),
}));

const limitNamed = (name: string) => child(integer(), name);
/** Limits of a disk's or a throttle group's traffic, in libvirt's names and order. 0 and absent: unlimited. */
export const ioLimitFields = {
  totalBytesSec: limitNamed('total_bytes_sec'),
  readBytesSec: limitNamed('read_bytes_sec'),
  writeBytesSec: limitNamed('write_bytes_sec'),
  totalIopsSec: limitNamed('total_iops_sec'),
  readIopsSec: limitNamed('read_iops_sec'),
  writeIopsSec: limitNamed('write_iops_sec'),
  totalBytesSecMax: limitNamed('total_bytes_sec_max'),
  readBytesSecMax: limitNamed('read_bytes_sec_max'),
  writeBytesSecMax: limitNamed('write_bytes_sec_max'),
  totalIopsSecMax: limitNamed('total_iops_sec_max'),
  readIopsSecMax: limitNamed('read_iops_sec_max'),
  writeIopsSecMax: limitNamed('write_iops_sec_max'),
  sizeIopsSec: limitNamed('size_iops_sec'),
  groupName: child(text, 'group_name'),
  totalBytesSecMaxLength: limitNamed('total_bytes_sec_max_length'),
  readBytesSecMaxLength: limitNamed('read_bytes_sec_max_length'),
  writeBytesSecMaxLength: limitNamed('write_bytes_sec_max_length'),
  totalIopsSecMaxLength: limitNamed('total_iops_sec_max_length'),
  readIopsSecMaxLength: limitNamed('read_iops_sec_max_length'),
  writeIopsSecMaxLength: limitNamed('write_iops_sec_max_length'),
};
const iotune = struct(ioLimitFields);
/** Traffic limits, per second. */
export interface IoLimits extends Infer<typeof iotune> {}

const throttleFilters = struct(() => ({
  throttlefilters: children(struct({ group: required(attr(text)) }), 'throttlefilter'),
}));

const mirror = struct(() => ({
  type: attr(oneOf(...STORAGE_TYPES)),
  file: attr(text),
  formatName: attr(text, 'format'),
  job: attr(oneOf('copy', 'active-commit')),
  ready: attr(oneOf('yes', 'abort', 'pivot')),
  format: child(storageFormat),
  source: child(storageSource),
  backingStore: child(backingStore),
}));

export const disk = struct(() => ({
  type: attr(oneOf(...STORAGE_TYPES)),
  device: attr(oneOf('disk', 'cdrom', 'floppy', 'lun')),
  model: attr(oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional')),
  rawio: attr(yesNo),
  sgio: attr(oneOf('filtered', 'unfiltered')),
  snapshot: attr(oneOf('no', 'internal', 'external', 'manual')),
  driver: child(driver),
  auth: child(storageAuth),
  source: child(storageSource),
  backingStore: child(backingStore),
  backenddomain: child(struct({ name: required(attr(text)) })),
  geometry: child(geometry),
  blockio: child(blockio),
  mirror: child(mirror),
  target: child(target),
  iotune: child(iotune),
  throttlefilters: child(throttleFilters),
  readonly: flag(),
  shareable: flag(),
  transient: child(struct({ shareBacking: attr(yesNo) })),
  serial: child(text),
  wwn: child(text),
  vendor: child(text),
  product: child(text),
  encryption: child(encryption),
  ...bootField,
  ...deviceInfoFields,
}));
export interface Disk extends Infer<typeof disk> {}

/** Disks and drives. What kind of drive it is only udev's rules know; without them only names that say it are understood. */
import type { NodeDeviceDetails } from '../../model/node-device.ts';
import type { Described } from './details.ts';
import { parseNumber, type SysDevice } from './sys-device.ts';

type Storage = Extract<NodeDeviceDetails, { type: 'storage' }>;

/** Undefined for what is no drive to libvirt: loop devices, device mapper, RAM disks. */
export function describeStorage(device: SysDevice): Described | undefined {
  const { node } = device;
  const kind = node === undefined ? undefined : (driveType(device) ?? typeByName(node));
  if (node === undefined || kind === undefined) return undefined;
  const common = {
    type: 'storage' as const,
    block: node,
    bus: device.property('ID_BUS'),
    drive_type: kind === 'cd' ? 'cdrom' : kind,
    model: device.attribute('device/model')?.trim(),
    vendor: device.attribute('device/vendor')?.trim(),
    serial: (kind === 'dasd' ? device.attribute('device/uid') : undefined) ?? device.property('ID_SERIAL'),
  };
  const details = detailsOf(kind, common, device);
  return details === undefined ? undefined : { details, suffix: common.serial };
}

function detailsOf(
  kind: string,
  common: Omit<Storage, keyof Blocks | 'capability'>,
  device: SysDevice,
): Storage | undefined {
  switch (kind) {
    case 'disk':
    case 'sd':
    case 'dasd':
      return { ...common, ...blocksOf(device), capability: [] };
    case 'cd':
      return removable(common, device, parseNumber(device.property('ID_CDROM_MEDIA')) === 1);
    case 'floppy':
      return removable(common, device, hasFloppy(device));
    default:
      return undefined;
  }
}

interface Blocks {
  readonly size: number;
  readonly logical_block_size: number | undefined;
  readonly num_blocks: number | undefined;
}

/** The kernel counts 512 bytes to a block whatever the drive's blocks are; libvirt multiplies the two, and so do we. */
function blocksOf(device: SysDevice): Blocks {
  const count = device.number('size') ?? 0;
  const size = device.number('queue/logical_block_size') ?? 0;
  return {
    size: count * size,
    logical_block_size: size > 0 ? size : undefined,
    num_blocks: count > 0 ? count : undefined,
  };
}

function removable(
  common: Omit<Storage, keyof Blocks | 'capability'>,
  device: SysDevice,
  hasMedium: boolean,
): Storage | undefined {
  const blocks = hasMedium ? blocksOf(device) : { size: 0, logical_block_size: undefined, num_blocks: undefined };
  if (device.number('removable') !== 1) return { ...common, ...blocks, size: 0, capability: [] };
  const { size, ...rest } = blocks;
  const media = {
    type: 'removable' as const,
    media_available: hasMedium ? 1 : 0,
    media_size: size,
    media_label: hasMedium ? device.property('ID_FS_LABEL') : undefined,
    ...rest,
  };
  return { ...common, capability: [media] };
}

function driveType(device: SysDevice): string | undefined {
  const type = device.property('ID_TYPE');
  if (type !== undefined && type !== 'generic') return type;
  if (device.property('ID_DRIVE_FLOPPY') === '1') return 'floppy';
  if (device.property('ID_CDROM') === '1') return 'cd';
  return device.property('ID_DRIVE_FLASH_SD') === '1' ? 'sd' : undefined;
}

function typeByName(node: string): string | undefined {
  if (/^\/dev\/(vd|nvme)/.test(node)) return 'disk';
  return node.startsWith('/dev/dasd') ? 'dasd' : undefined;
}

function hasFloppy(device: SysDevice): boolean {
  const cdrom = device.property('ID_CDROM_MEDIA');
  return cdrom === undefined
    ? device.property('ID_FS_LABEL') !== undefined
    : device.property('DKD_MEDIA_AVAILABLE') === '1';
}

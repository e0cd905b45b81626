/**
 * The images behind a disk as a chain of resolved layers: volumes looked up, formats decided, numbers of the block
 * nodes attached. Turning layers into QEMU's block nodes is done in `layers.ts`.
 */
import type { Disk, DiskDriver } from '../../../../model/domain/devices/disk.ts';
import type { Encryption, StorageAuth } from '../../../../model/domain/devices/encryption.ts';
import type {
  BackingStore,
  DataStore,
  StorageFormat,
  StorageSource,
  StorageType,
} from '../../../../model/domain/devices/storage-source.ts';
import { type DriverContext, refuse } from '../../context.ts';

/** One image of a chain. */
export interface Image {
  readonly type: Exclude<StorageType, 'volume'>;
  readonly source: StorageSource;
  readonly format: StorageFormat;
  readonly encryption: Encryption | undefined;
  readonly auth: StorageAuth | undefined;
  /** Bytes; undefined: QEMU's own choice. */
  readonly metadataCacheBytes: number | undefined;
  readonly readonly: boolean;
  /** The image that the guest writes to (or the only one). */
  readonly top: boolean;
  readonly floppy: boolean;
  readonly cdrom: boolean;
  /** The disk's `<driver>`: cache, I/O and discard modes hold for the whole chain. */
  readonly driver: DiskDriver;
  readonly dataStore: Image | undefined;
  /** What the nodes' names begin with; otherwise `libvirt-` and the source's number. */
  readonly nodePrefix?: string;
  /** The image below; null: the definition says there is none; undefined: it does not say. */
  readonly backing: Image | null | undefined;
}

/** Whether the source says where its bytes are; a drive without is empty. */
export function hasSource(type: StorageType | undefined, source: StorageSource | undefined): source is StorageSource {
  if (source === undefined) return false;
  switch (type ?? 'file') {
    case 'file':
      return isText(source.file);
    case 'block':
    case 'vhostvdpa':
      return isText(source.dev);
    case 'dir':
      return isText(source.dir);
    case 'network':
      return source.protocol !== undefined;
    case 'volume':
      return isText(source.pool) || isText(source.volume);
    case 'nvme':
      return source.address !== undefined;
    default:
      return isText(source.path);
  }
}

/** The drive holds no medium (or, as for a disk that is a fault, has no source). */
export function isEmptyDrive(disk: Disk): boolean {
  return !hasSource(disk.type, disk.source);
}

/** A shared, writable disk must not be cached by the host unless the definition says how. */
export function effectiveDriver(disk: Disk): DiskDriver {
  const driver = disk.driver ?? {};
  const uncached = driver.cache === undefined && disk.shareable === true && disk.readonly !== true;
  return uncached ? { ...driver, cache: 'none' } : driver;
}

/** The disk's chain from its top image down; undefined where the drive is empty. @throws {VirtError} unknown volume */
export function imageOf(disk: Disk, context: DriverContext): Image | undefined {
  if (!hasSource(disk.type, disk.source)) return undefined;
  const driver = effectiveDriver(disk);
  const shared = { driver, floppy: disk.device === 'floppy', cdrom: disk.device === 'cdrom' };
  const resolved = resolveVolume(disk.type ?? 'file', disk.source, context);
  const base = { ...shared, ...resolved, readonly: disk.readonly === true };
  return {
    ...base,
    format: driver.type ?? resolved.format ?? (resolved.type === 'dir' ? 'fat' : 'raw'),
    encryption: disk.source.encryption ?? disk.encryption,
    // A volume's credentials are its pool's.
    auth: resolved.source.auth ?? (disk.type === 'volume' ? undefined : disk.auth),
    metadataCacheBytes: driver.metadataCache?.maxSize,
    top: true,
    dataStore: storeImage(disk.source.dataStore, shared, disk.readonly === true, context),
    backing: backingImage(disk.backingStore, shared, context),
  };
}

type Shared = Pick<Image, 'driver' | 'floppy' | 'cdrom'>;

function backingImage(store: BackingStore | undefined, shared: Shared, context: DriverContext): Image['backing'] {
  if (store === undefined) return undefined;
  const image = storeImage(store, shared, true, context);
  if (image === undefined) return null;
  return { ...image, backing: backingImage(store.backingStore, shared, context) };
}

function storeImage(
  store: DataStore | undefined,
  shared: Shared,
  readonly: boolean,
  context: DriverContext,
): Image | undefined {
  if (store === undefined || !hasSource(store.type, store.source)) return undefined;
  const resolved = resolveVolume(store.type ?? 'file', store.source, context);
  return {
    ...shared,
    ...resolved,
    format: store.format?.type ?? resolved.format ?? 'raw',
    encryption: store.source.encryption,
    auth: resolved.source.auth,
    metadataCacheBytes: store.format?.metadataCache?.maxSize,
    readonly,
    top: false,
    dataStore: storeImage(store.source.dataStore, shared, readonly, context),
    backing: undefined,
  };
}

interface Resolved {
  readonly type: Image['type'];
  readonly source: StorageSource;
  readonly format: StorageFormat | undefined;
}

/** A volume of a storage pool becomes what it really is; the node numbers stay on the definition's own source. */
function resolveVolume(type: StorageType, source: StorageSource, context: DriverContext): Resolved {
  if (type !== 'volume') return { type, source, format: undefined };
  const { pool = '', volume = '', mode, file, dev, dir } = source;
  const named = { ...source, pool: undefined, volume: undefined, mode: undefined };
  // Found by whoever starts the guest.
  if (file !== undefined) return { type: 'file', source: named, format: undefined };
  if (dev !== undefined) return { type: 'block', source: named, format: undefined };
  if (dir !== undefined) return { type: 'dir', source: named, format: 'fat' };
  const found = context.lookup.volume?.(pool, volume, mode);
  if (found === undefined) {
    return refuse(`storage volume '${volume}' of pool '${pool}' is not known: define and start the pool first`);
  }
  const format = STORAGE_FORMAT_OF_VOLUME[found.format];
  if (found.source !== undefined) {
    return { type: 'network', source: { ...found.source, index: source.index }, format };
  }
  switch (found.type) {
    case 'block':
      return { type: 'block', source: { ...named, dev: found.path }, format };
    case 'dir':
      return { type: 'dir', source: { ...named, dir: found.path }, format: 'fat' };
    case 'file':
      return { type: 'file', source: { ...named, file: found.path }, format };
    default:
      return refuse(`storage volume '${volume}' of pool '${pool}' is of type '${found.type}', which no disk can use`);
  }
}

const STORAGE_FORMAT_OF_VOLUME: Readonly<Record<string, StorageFormat>> = {
  raw: 'raw',
  qcow: 'qcow',
  qcow2: 'qcow2',
  qed: 'qed',
  vmdk: 'vmdk',
  vdi: 'vdi',
  vpc: 'vpc',
  ploop: 'ploop',
  bochs: 'bochs',
  cloop: 'cloop',
  dmg: 'dmg',
};

function isText(value: string | undefined): boolean {
  return value !== undefined && value !== '';
}

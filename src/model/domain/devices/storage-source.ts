/**
 * Where the bytes of an image are: `<source>`, with what its kind (`type` of the element around it) needs, and the
 * chain of `<backingStore>` and `<dataStore>` below it. Which combinations make sense is checked by the drivers.
 */
import {
  attr,
  child,
  children,
  content,
  type ElementCodec,
  type Infer,
  lazy,
  required,
  type StructOf,
  struct,
  unsetByZero,
} from '../../schema/schema.ts';
import { sizeBytes } from '../../schema/sizes.ts';
import { integer, oneOf, text, uint, ulong, yesNo } from '../../schema/values.ts';
import { deviceSeclabel } from '../seclabel.ts';
import { pciSourceAddress } from './address.ts';
import { encryption, storageAuth } from './encryption.ts';

export const STORAGE_TYPES = ['file', 'block', 'dir', 'network', 'volume', 'nvme', 'vhostuser', 'vhostvdpa'] as const;
export type StorageType = (typeof STORAGE_TYPES)[number];

export const STORAGE_PROTOCOLS = [
  'nbd',
  'rbd',
  'sheepdog',
  'gluster',
  'iscsi',
  'http',
  'https',
  'ftp',
  'ftps',
  'tftp',
  'ssh',
  'vxhs',
  'nfs',
] as const;
export type StorageProtocol = (typeof STORAGE_PROTOCOLS)[number];

/** Formats of images that are files. */
export const IMAGE_FORMATS = [
  'raw',
  'dir',
  'bochs',
  'cloop',
  'dmg',
  'iso',
  'vpc',
  'vdi',
  'fat',
  'vhd',
  'ploop',
  'cow',
  'qcow',
  'qcow2',
  'qed',
  'vmdk',
] as const;
/** Formats of disks in libvirt's XML; QEMU does not take all of them. `aio` is old Xen's name of raw. */
export const STORAGE_FORMATS = [...IMAGE_FORMATS, 'luks', 'aio'] as const;
export type StorageFormat = (typeof STORAGE_FORMATS)[number];

const host = struct(() => ({
  name: attr(text),
  port: attr(integer({ max: 65535 })),
  transport: attr(oneOf('tcp', 'unix', 'rdma')),
  socket: attr(text),
}));
export interface StorageHost extends Infer<typeof host> {}

const slice = struct(() => ({
  type: required(attr(oneOf('storage'))),
  offset: required(attr(integer())),
  size: required(attr(integer({ min: 1 }))),
}));

const reconnect = struct(() => ({ enabled: attr(yesNo), timeout: attr(uint), delay: attr(uint) }));

const reservationsSource = struct(() => ({
  type: required(attr(oneOf('unix'))),
  path: required(attr(text)),
  mode: attr(oneOf('client', 'server')),
  reconnect: child(reconnect),
}));
const reservations = struct(() => ({
  managed: required(attr(yesNo)),
  source: child(reservationsSource),
}));

const cookie = struct(() => ({ name: required(attr(text)), value: content(text) }));
const named = struct(() => ({ name: required(attr(text)) }));

const metadataCache = struct(() => ({ maxSize: child(sizeBytes(), 'max_size') }));
/** `<metadata_cache>`: QEMU's cache of an image's tables, in bytes. */
export const metadataCacheField = { metadataCache: child(metadataCache, 'metadata_cache') };

/** `<format type='…'>` of a backing store. */
export const storageFormat = struct(() => ({ type: required(attr(oneOf(...STORAGE_FORMATS))), ...metadataCacheField }));

const sourceFields = {
  file: attr(text),
  dev: attr(text),
  dir: attr(text),
  protocol: attr(oneOf(...STORAGE_PROTOCOLS)),
  name: attr(text),
  query: attr(text),
  tls: attr(yesNo),
  tlsHostname: attr(text),
  pool: attr(text),
  volume: attr(text),
  mode: attr(oneOf('host', 'direct', 'client', 'server')),
  type: attr(oneOf('pci', 'unix')),
  path: attr(text),
  managed: attr(yesNo),
  namespace: attr(integer({ min: 1 })),
  fdgroup: attr(text),
  startupPolicy: attr(oneOf('mandatory', 'requisite', 'optional')),
  index: unsetByZero(attr(uint)),
  hosts: children(host, 'host'),
  snapshot: child(named),
  config: child(struct(() => ({ file: required(attr(text)) }))),
  address: child(pciSourceAddress),
  initiator: child(struct(() => ({ iqn: child(named) }))),
  ssl: child(struct(() => ({ verify: attr(yesNo) }))),
  cookies: child(struct(() => ({ cookies: children(cookie, 'cookie') }))),
  readahead: child(struct(() => ({ size: unsetByZero(required(attr(ulong))) }))),
  timeout: child(struct(() => ({ seconds: unsetByZero(required(attr(ulong))) }))),
  knownHosts: child(struct(() => ({ path: required(attr(text)) }))),
  identity: child(
    struct(() => ({
      user: attr(text),
      group: attr(text),
      username: attr(text),
      keyfile: attr(text),
      agentsock: attr(text),
    })),
  ),
  reconnect: child(reconnect),
  slices: child(struct(() => ({ slices: children(slice, 'slice') }))),
  auth: child(storageAuth),
  encryption: child(encryption),
  reservations: child(reservations),
  seclabels: children(deviceSeclabel, 'seclabel'),
};

/** `<dataStore>`: the file with the data of a qcow2 image whose data is kept apart. */
export interface DataStore {
  type?: StorageType | undefined;
  index?: number | undefined;
  format?: Infer<typeof storageFormat> | undefined;
  source?: StorageSource | undefined;
}

/** `<source>`. */
export interface StorageSource extends StructOf<typeof sourceFields> {
  dataStore?: DataStore | undefined;
}

export const storageSource: ElementCodec<StorageSource> = struct(() => ({
  ...sourceFields,
  dataStore: child(lazy((): ElementCodec<DataStore> => dataStore)),
}));

const storeFields = {
  type: attr(oneOf(...STORAGE_TYPES)),
  index: unsetByZero(attr(uint)),
  format: child(storageFormat),
  source: child(storageSource),
};

const dataStore: ElementCodec<DataStore> = struct(storeFields);

/** `<backingStore>`: the image below; without a source it says that there is none. */
export interface BackingStore extends DataStore {
  backingStore?: BackingStore | undefined;
}

export const backingStore: ElementCodec<BackingStore> = struct(() => ({
  ...storeFields,
  backingStore: child(lazy((): ElementCodec<BackingStore> => backingStore)),
}));

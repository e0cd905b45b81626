/** Procedures about storage pools and volumes. */
import {
  POOL_STATES,
  POOL_TYPES,
  type PoolCreateOptions,
  type PoolFilter,
  type PoolIdentity,
  type StorageOperations,
  VOLUME_TYPES,
  type VolumeInfo,
  WIPE_ALGORITHMS,
} from '../../../driver/storage-operations.ts';
import type { STORAGE_PROCEDURES } from '../../../protocol/remote/storage.ts';
import { uuidFromWire } from '../../convert.ts';
import {
  ObjectListFlag,
  POOL_TYPE_SHIFT,
  PoolBuildFlag,
  PoolCreateFlag,
  PoolDefineFlag,
  PoolDeleteFlag,
  PoolXmlFlag,
  VolumeCreateFlag,
  VolumeDeleteFlag,
  VolumeInfoFlag,
  VolumeResizeFlag,
  VolumeStreamFlag,
} from '../../flags.ts';
import { poolToWire, volumeToWire, type WirePool } from '../../storage-convert.ts';
import { atMost, checkFlags, DONE, group, type HandlerSession, type Handlers, invalidArg, oneOf } from '../handler.ts';

export const storageHandlers: Handlers<typeof STORAGE_PROCEDURES> = {
  connectNumOfStoragePools: async (session) => ({ num: (await storage(session).list({ active: true })).length }),
  connectListStoragePools: async (session, { maxnames }) => ({
    names: atMost((await storage(session).list({ active: true })).map(nameOf), maxnames),
  }),
  connectNumOfDefinedStoragePools: async (session) => ({
    num: (await storage(session).list({ active: false })).length,
  }),
  connectListDefinedStoragePools: async (session, { maxnames }) => ({
    names: atMost((await storage(session).list({ active: false })).map(nameOf), maxnames),
  }),
  connectListAllStoragePools: async (session, { needResults, flags }) => {
    checkFlags(flags, LIST_FLAGS, 'virConnectListAllStoragePools');
    const found = await storage(session).list(filterOf(flags));
    return { pools: needResults === 0 ? [] : found.map(poolToWire), ret: found.length };
  },
  connectFindStoragePoolSources: async (session, { type, srcSpec, flags }) => {
    checkFlags(flags, 0, 'virConnectFindStoragePoolSources');
    return { xml: await storage(session).findSources(type, srcSpec) };
  },
  connectGetStoragePoolCapabilities: async (session, { flags }) => {
    checkFlags(flags, 0, 'virConnectGetStoragePoolCapabilities');
    return { capabilities: await storage(session).capabilities() };
  },
  storagePoolCreateXml: async (session, { xml, flags }) => {
    checkFlags(flags, 0xf, 'virStoragePoolCreateXML');
    const validate = (flags & PoolCreateFlag.VALIDATE) !== 0;
    return { pool: poolToWire(await storage(session).createXml(xml, { ...createOptions(flags), validate })) };
  },
  storagePoolDefineXml: async (session, { xml, flags }) => {
    checkFlags(flags, PoolDefineFlag.VALIDATE, 'virStoragePoolDefineXML');
    const validate = (flags & PoolDefineFlag.VALIDATE) !== 0;
    return { pool: poolToWire(await storage(session).define(xml, { validate })) };
  },
  storagePoolCreate: async (session, { pool, flags }) => {
    checkFlags(flags, 0x7, 'virStoragePoolCreate');
    await storage(session).create(uuidOf(pool), createOptions(flags));
    return DONE;
  },
  storagePoolBuild: async (session, { pool, flags }) => {
    checkFlags(flags, PoolBuildFlag.NO_OVERWRITE | PoolBuildFlag.OVERWRITE, 'virStoragePoolBuild');
    const overwrite = (flags & PoolBuildFlag.OVERWRITE) !== 0;
    const noOverwrite = (flags & PoolBuildFlag.NO_OVERWRITE) !== 0;
    await storage(session).build(uuidOf(pool), { overwrite, noOverwrite });
    return DONE;
  },
  storagePoolDestroy: async (session, { pool }) => {
    await storage(session).destroy(uuidOf(pool));
    return DONE;
  },
  storagePoolDelete: async (session, { pool, flags }) => {
    checkFlags(flags, PoolDeleteFlag.ZEROED, 'virStoragePoolDelete');
    await storage(session).delete(uuidOf(pool), { zeroed: (flags & PoolDeleteFlag.ZEROED) !== 0 });
    return DONE;
  },
  storagePoolUndefine: async (session, { pool }) => {
    await storage(session).undefine(uuidOf(pool));
    return DONE;
  },
  storagePoolRefresh: async (session, { pool, flags }) => {
    checkFlags(flags, 0, 'virStoragePoolRefresh');
    await storage(session).refresh(uuidOf(pool));
    return DONE;
  },
  storagePoolLookupByName: async (session, { name }) => ({
    pool: poolToWire(await storage(session).lookupByName(name)),
  }),
  storagePoolLookupByUuid: async (session, { uuid }) => ({
    pool: poolToWire(await storage(session).lookupByUuid(uuidFromWire(uuid))),
  }),
  storagePoolLookupByVolume: async (session, { vol }) => ({
    pool: poolToWire(await storage(session).lookupByVolume(vol)),
  }),
  storagePoolLookupByTargetPath: async (session, { path }) => ({
    pool: poolToWire(await storage(session).lookupByTargetPath(path)),
  }),
  storagePoolGetInfo: async (session, { pool }) => {
    const { state, capacity, allocation, available } = await storage(session).info(uuidOf(pool));
    return { state: POOL_STATES.indexOf(state), capacity, allocation, available };
  },
  storagePoolGetXmlDesc: async (session, { pool, flags }) => {
    checkFlags(flags, PoolXmlFlag.INACTIVE, 'virStoragePoolGetXMLDesc');
    const inactive = (flags & PoolXmlFlag.INACTIVE) !== 0;
    return { xml: await storage(session).xmlDesc(uuidOf(pool), { inactive }) };
  },
  storagePoolGetAutostart: async (session, { pool }) => ({
    autostart: (await storage(session).autostart(uuidOf(pool))) ? 1 : 0,
  }),
  storagePoolSetAutostart: async (session, { pool, autostart }) => {
    await storage(session).setAutostart(uuidOf(pool), autostart !== 0);
    return DONE;
  },
  storagePoolIsActive: async (session, { pool }) => ({
    active: (await storage(session).isActive(uuidOf(pool))) ? 1 : 0,
  }),
  storagePoolIsPersistent: async (session, { pool }) => ({
    persistent: (await storage(session).isPersistent(uuidOf(pool))) ? 1 : 0,
  }),
  storagePoolNumOfVolumes: async (session, { pool }) => ({
    num: (await storage(session).listVolumes(uuidOf(pool))).length,
  }),
  storagePoolListVolumes: async (session, { pool, maxnames }) => ({
    names: atMost((await storage(session).listVolumes(uuidOf(pool))).map(nameOf), maxnames),
  }),
  storagePoolListAllVolumes: async (session, { pool, needResults, flags }) => {
    checkFlags(flags, 0, 'virStoragePoolListAllVolumes');
    const found = await storage(session).listVolumes(uuidOf(pool));
    return { vols: needResults === 0 ? [] : found.map(volumeToWire), ret: found.length };
  },
  storageVolLookupByName: async (session, { pool, name }) => ({
    vol: volumeToWire(await storage(session).lookupVolume(uuidOf(pool), name)),
  }),
  storageVolLookupByKey: async (session, { key }) => ({
    vol: volumeToWire(await storage(session).lookupVolumeByKey(key)),
  }),
  storageVolLookupByPath: async (session, { path }) => ({
    vol: volumeToWire(await storage(session).lookupVolumeByPath(path)),
  }),
  storageVolCreateXml: async (session, { pool, xml, flags }) => {
    checkFlags(flags, VolumeCreateFlag.PREALLOC_METADATA | VolumeCreateFlag.VALIDATE, 'virStorageVolCreateXML');
    return { vol: volumeToWire(await storage(session).createVolume(uuidOf(pool), xml, volumeOptions(flags))) };
  },
  storageVolCreateXmlFrom: async (session, { pool, xml, clonevol, flags }) => {
    checkFlags(flags, 0x7, 'virStorageVolCreateXMLFrom');
    const options = { ...volumeOptions(flags), from: clonevol };
    return { vol: volumeToWire(await storage(session).createVolume(uuidOf(pool), xml, options)) };
  },
  storageVolDelete: async (session, { vol, flags }) => {
    checkFlags(flags, VolumeDeleteFlag.ZEROED | VolumeDeleteFlag.WITH_SNAPSHOTS, 'virStorageVolDelete');
    const zeroed = (flags & VolumeDeleteFlag.ZEROED) !== 0;
    const withSnapshots = (flags & VolumeDeleteFlag.WITH_SNAPSHOTS) !== 0;
    await storage(session).deleteVolume(vol, { zeroed, withSnapshots });
    return DONE;
  },
  storageVolResize: async (session, { vol, capacity, flags }) => {
    checkFlags(flags, 0x7, 'virStorageVolResize');
    await storage(session).resizeVolume(vol, capacity, {
      allocate: (flags & VolumeResizeFlag.ALLOCATE) !== 0,
      delta: (flags & VolumeResizeFlag.DELTA) !== 0,
      shrink: (flags & VolumeResizeFlag.SHRINK) !== 0,
    });
    return DONE;
  },
  storageVolWipe: async (session, { vol, flags }) => {
    checkFlags(flags, 0, 'virStorageVolWipe');
    await storage(session).wipeVolume(vol);
    return DONE;
  },
  storageVolWipePattern: async (session, { vol, algorithm, flags }) => {
    checkFlags(flags, 0, 'virStorageVolWipePattern');
    await storage(session).wipeVolume(vol, { algorithm: oneOf(WIPE_ALGORITHMS, algorithm, 'wiping algorithm') });
    return DONE;
  },
  storageVolGetInfo: async (session, { vol }) => infoToWire(await storage(session).volumeInfo(vol)),
  storageVolGetInfoFlags: async (session, { vol, flags }) => {
    checkFlags(flags, VolumeInfoFlag.GET_PHYSICAL, 'virStorageVolGetInfoFlags');
    const physical = (flags & VolumeInfoFlag.GET_PHYSICAL) !== 0;
    return infoToWire(await storage(session).volumeInfo(vol, { physical }));
  },
  storageVolGetXmlDesc: async (session, { vol, flags }) => {
    checkFlags(flags, 0, 'virStorageVolGetXMLDesc');
    return { xml: await storage(session).volumeXmlDesc(vol) };
  },
  storageVolGetPath: async (session, { vol }) => ({ name: await storage(session).volumePath(vol) }),
  storageVolUpload: async (session, { vol, offset, length, flags }) => {
    checkFlags(flags, VolumeStreamFlag.SPARSE, 'virStorageVolUpload');
    session.attach(await storage(session).uploadVolume(vol, { offset, length, sparse: isSparse(flags) }));
    return DONE;
  },
  storageVolDownload: async (session, { vol, offset, length, flags }) => {
    checkFlags(flags, VolumeStreamFlag.SPARSE, 'virStorageVolDownload');
    session.attach(await storage(session).downloadVolume(vol, { offset, length, sparse: isSparse(flags) }));
    return DONE;
  },
};

const LIST_FLAGS = (1 << (POOL_TYPE_SHIFT + POOL_TYPES.length)) - 1;

function storage(session: HandlerSession): StorageOperations {
  return group(session, 'storage');
}

function uuidOf({ uuid }: WirePool): string {
  return uuidFromWire(uuid);
}

function nameOf({ name }: Pick<PoolIdentity, 'name'>): string {
  return name;
}

function isSparse(flags: number): boolean {
  return (flags & VolumeStreamFlag.SPARSE) !== 0;
}

function infoToWire({ type, capacity, allocation }: VolumeInfo): {
  type: number;
  capacity: bigint;
  allocation: bigint;
} {
  return { type: VOLUME_TYPES.indexOf(type), capacity, allocation };
}

function filterOf(flags: number): PoolFilter {
  const { ACTIVE, INACTIVE, PERSISTENT, TRANSIENT, AUTOSTART, NO_AUTOSTART } = ObjectListFlag;
  const types = POOL_TYPES.filter((_, index) => (flags & (1 << (POOL_TYPE_SHIFT + index))) !== 0);
  return {
    active: either(flags, ACTIVE, INACTIVE),
    persistent: either(flags, PERSISTENT, TRANSIENT),
    autostart: either(flags, AUTOSTART, NO_AUTOSTART),
    ...(types.length > 0 && { types }),
  };
}

function either(flags: number, yes: number, no: number): boolean | undefined {
  const wanted = flags & (yes | no);
  return wanted === yes ? true : wanted === no ? false : undefined;
}

function createOptions(flags: number): PoolCreateOptions {
  const overwrite = (flags & PoolCreateFlag.WITH_BUILD_OVERWRITE) !== 0;
  const noOverwrite = (flags & PoolCreateFlag.WITH_BUILD_NO_OVERWRITE) !== 0;
  if (overwrite && noOverwrite) {
    throw invalidArg('flags for building with and without overwriting are mutually exclusive');
  }
  return { build: (flags & PoolCreateFlag.WITH_BUILD) !== 0, overwrite, noOverwrite };
}

function volumeOptions(flags: number): { preallocMetadata: boolean; reflink: boolean; validate: boolean } {
  return {
    preallocMetadata: (flags & VolumeCreateFlag.PREALLOC_METADATA) !== 0,
    reflink: (flags & VolumeCreateFlag.REFLINK) !== 0,
    validate: (flags & VolumeCreateFlag.VALIDATE) !== 0,
  };
}

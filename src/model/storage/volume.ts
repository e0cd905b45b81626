/** `<volume>`: a storage volume, as it is asked for and as it is found. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { formatXml } from '../../xml/format.ts';
import { parseXml } from '../../xml/parse.ts';
import { type Encryption, encryption } from '../domain/devices/encryption.ts';
import { FaultList } from '../schema/faults.ts';
import {
  attr,
  child,
  children,
  EXTRA,
  type Extra,
  flag,
  type Infer,
  ReadContext,
  required,
  struct,
  withEndTag,
} from '../schema/schema.ts';
import { sizeBigBytes } from '../schema/sizes.ts';
import { oneOf, text, uint64 } from '../schema/values.ts';
import { givenPermissions, permissions } from './permissions.ts';
import { type PoolTypeName, rulesOf } from './pool-types.ts';

/** In the order of virStorageVolType. */
export const VOLUME_TYPE_NAMES = ['file', 'block', 'dir', 'network', 'netdir', 'ploop'] as const;
export type VolumeTypeName = (typeof VOLUME_TYPE_NAMES)[number];

const extent = struct(() => ({ start: required(attr(uint64)), end: required(attr(uint64)) }));
const sourceDevice = struct(() => ({ path: required(attr(text)), extents: children(extent, 'extent') }));
const timestamps = struct(() => ({ atime: child(text), mtime: child(text), ctime: child(text), btime: child(text) }));
export interface Timestamps extends Infer<typeof timestamps> {}
const format = struct(() => ({ type: required(attr(text)) }));
const features = struct(() => ({ lazyRefcounts: flag('lazy_refcounts'), extendedL2: flag('extended_l2') }));

const volumeSchema = struct(() => ({
  type: attr(oneOf(...VOLUME_TYPE_NAMES)),
  name: child(text),
  key: child(text),
  source: child(withEndTag(struct({ devices: children(sourceDevice, 'device') }))),
  capacity: child(sizeBigBytes()),
  allocation: child(sizeBigBytes()),
  physical: child(sizeBigBytes()),
  target: child(
    struct({
      path: child(text),
      format: child(format),
      permissions: child(permissions),
      timestamps: child(timestamps),
      encryption: child(withEndTag(encryption)),
      compat: child(text),
      nocow: flag(),
      clusterSize: child(sizeBigBytes('B')),
      features: child(features),
    }),
  ),
  backingStore: child(
    struct({
      path: child(text),
      format: child(format),
      permissions: child(permissions),
      timestamps: child(timestamps),
    }),
  ),
}));

/** A volume's XML. */
export interface Volume extends Infer<typeof volumeSchema> {}
export type VolumeTarget = NonNullable<Volume['target']>;
export type { Encryption as VolumeEncryption };

/** What a volume that is to be made must be, with all defaults filled in. Sizes in bytes. */
export interface VolumeRequest {
  readonly name: string;
  readonly capacity: bigint;
  /** Undefined: not said, which means all of its capacity. */
  readonly allocation: bigint | undefined;
  readonly target: VolumeTarget;
  readonly backingStore: Volume['backingStore'];
}

/** Reads a volume's XML as it stands. @throws XmlSyntaxError, DefinitionError */
export function parseVolume(source: string, options: { fileName?: string } = {}): Volume {
  const { root } = parseXml(source, options);
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const volume = context.inside(root.name, () => {
    if (root.name !== 'volume') {
      context.fault(root, `expecting root element of 'volume', not '${root.name}'`);
      faults.throwIfAny('storage volume XML', options.fileName);
    }
    return volumeSchema.readElement(root, context);
  });
  const fault = (message: string): void =>
    faults.add({ path: root.name, line: root.line, column: root.column }, message);
  if (root.name === 'volume' && (volume.name ?? '') === '') fault('missing volume name element');
  const { compat, features: wanted } = volume.target ?? {};
  if (compat !== undefined && !/^\d+\.\d+$/.test(compat)) fault("forbidden characters in 'compat' attribute");
  const unknown = (wanted as { [EXTRA]?: Extra } | undefined)?.[EXTRA]?.children[0];
  if (unknown !== undefined) fault(`unsupported volume feature <${unknown.name}>`);
  faults.throwIfAny('storage volume XML', options.fileName);
  return volume;
}

/**
 * A volume that is to be made in a pool of that kind.
 * @param input the volume it is a copy of: its size is the default
 * @throws XmlSyntaxError, DefinitionError, VirtError
 */
export function parseVolumeRequest(
  xml: string,
  poolType: PoolTypeName,
  input?: { readonly capacity: bigint; readonly allocation: bigint },
): VolumeRequest {
  const volume = parseVolume(xml);
  const capacity = volume.capacity ?? input?.capacity ?? (volume.backingStore?.path === undefined ? undefined : 0n);
  if (capacity === undefined) throw xmlError('missing capacity element');
  const target = volume.target ?? {};
  const { volumes } = rulesOf(poolType);
  if (volumes !== undefined && target.format !== undefined && volumes.names.length > 0) {
    if (!volumes.names.includes(target.format.type)) {
      throw new VirtError(`unknown volume format type ${target.format.type}: use one of ${volumes.names.join(', ')}`, {
        code: ErrorCode.CONFIG_UNSUPPORTED,
        domain: ErrorDomain.STORAGE,
      });
    }
  }
  const needsCompat = target.features !== undefined && target.compat === undefined;
  return {
    name: volume.name ?? '',
    capacity,
    allocation: volume.allocation,
    target: {
      ...target,
      ...(volumes !== undefined && { format: target.format ?? { type: volumes.fallback } }),
      ...(needsCompat && { compat: '1.1' }),
    },
    backingStore: volume.backingStore?.path === undefined ? undefined : volume.backingStore,
  };
}

/** Writes it as libvirt does. */
export function formatVolume(volume: Volume): string {
  const { target, backingStore } = volume;
  const full: Volume = {
    ...volume,
    physical: volume.physical === 0n ? undefined : volume.physical,
    target: target && { ...target, nocow: undefined, permissions: givenPermissions(target.permissions) },
    backingStore: backingStore && { ...backingStore, permissions: givenPermissions(backingStore.permissions) },
  };
  return formatXml(volumeSchema.writeElement('volume', full));
}

function xmlError(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.XML_ERROR, domain: ErrorDomain.STORAGE });
}

/** `<pool>`: a storage pool's definition. What its kind does with it is the driver's. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { formatXml } from '../../xml/format.ts';
import { XmlElement } from '../../xml/node.ts';
import { parseXml } from '../../xml/parse.ts';
import { storageAuth } from '../domain/devices/encryption.ts';
import { FaultList } from '../schema/faults.ts';
import {
  attr,
  child,
  children,
  emptyAsAbsent,
  type Infer,
  NAMESPACES,
  ReadContext,
  required,
  struct,
  withEndTag,
} from '../schema/schema.ts';
import { sizeBigBytes } from '../schema/sizes.ts';
import { integer, oneOf, text, uint64, uuid, yesNo } from '../schema/values.ts';
import { givenPermissions, permissions } from './permissions.ts';
import { POOL_TYPE_NAMES, type PoolSourcePart, type PoolTypeName, rulesOf } from './pool-types.ts';

const host = struct(() => ({ name: required(attr(text)), port: attr(integer({ max: 65535 })) }));
const freeExtent = struct(() => ({ start: required(attr(uint64)), end: required(attr(uint64)) }));
const device = struct(() => ({
  path: required(attr(text)),
  partSeparator: attr(yesNo, 'part_separator'),
  freeExtents: children(freeExtent, 'freeExtent'),
}));
const adapterAddress = struct(() => ({
  domain: attr(text),
  bus: attr(text),
  slot: attr(text),
  function: attr(text),
}));
const parentAddress = struct(() => ({ uniqueId: attr(integer(), 'unique_id'), address: child(adapterAddress) }));
const adapter = struct(() => ({
  type: attr(oneOf('scsi_host', 'fc_host')),
  name: attr(text),
  parent: attr(text),
  managed: attr(yesNo),
  parentWwnn: attr(text, 'parent_wwnn'),
  parentWwpn: attr(text, 'parent_wwpn'),
  parentFabricWwn: attr(text, 'parent_fabric_wwn'),
  wwnn: attr(text),
  wwpn: attr(text),
  parentAddress: child(parentAddress, 'parentaddr'),
}));
const named = struct(() => ({ name: required(attr(text)) }));

const poolSource = struct(() => ({
  hosts: children(host, 'host'),
  devices: children(device, 'device'),
  dir: child(struct({ path: required(attr(text)) })),
  adapter: child(adapter),
  name: child(text),
  initiator: child(struct({ iqn: required(child(named)) })),
  format: child(struct({ type: required(attr(text)) })),
  auth: child(storageAuth),
  protocol: child(struct({ ver: required(attr(text)) })),
  vendor: child(named),
  product: child(named),
}));
/** Where a pool's storage comes from. */
export interface PoolSource extends Infer<typeof poolSource> {}

const poolSchema = struct(() => ({
  type: required(attr(oneOf(...POOL_TYPE_NAMES))),
  name: child(text),
  uuid: child(emptyAsAbsent(uuid)),
  capacity: child(sizeBigBytes()),
  allocation: child(sizeBigBytes()),
  available: child(sizeBigBytes()),
  features: child(struct({ cow: child(struct({ state: required(attr(yesNo)) })) })),
  source: child(withEndTag(poolSource)),
  target: child(struct({ path: child(text), permissions: child(permissions) })),
  mountOptions: child(struct({ options: children(named, 'fs:option') }), 'fs:mount_opts'),
}));

/** A pool's definition; after `parsePool` it has a name, a source and, where its kind has one, a target path and a format. */
export interface Pool extends Infer<typeof poolSchema> {}

/** Sizes of a pool, in bytes. */
export interface PoolSizes {
  readonly capacity: bigint;
  readonly allocation: bigint;
  readonly available: bigint;
}

/** Reads a pool's definition. @throws XmlSyntaxError, DefinitionError, VirtError CONFIG_UNSUPPORTED for unknown formats */
export function parsePool(source: string | XmlElement, options: { fileName?: string } = {}): Pool & { name: string } {
  const root = source instanceof XmlElement ? source : parseXml(source, options).root;
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const pool = context.inside(root.name, () => {
    if (root.name !== 'pool') {
      context.fault(root, `expecting root element of 'pool', not '${root.name}'`);
      faults.throwIfAny('storage pool XML', options.fileName);
    }
    return poolSchema.readElement(root, context);
  });
  faults.throwIfAny('storage pool XML', options.fileName);
  const completed = completePool(pool, root, faults);
  faults.throwIfAny('storage pool XML', options.fileName);
  return completed;
}

/** Writes it as libvirt does; sizes are always said. */
export function formatPool(pool: Pool, sizes?: PoolSizes): string {
  const { source: parts } = rulesOf(pool.type);
  const { capacity, allocation, available } = sizes ?? pool;
  const isRemote = has(parts, 'network');
  const target = pool.target && { ...pool.target, permissions: givenPermissions(pool.target.permissions) };
  const full: Pool = {
    ...pool,
    capacity: capacity ?? 0n,
    allocation: allocation ?? 0n,
    available: available ?? 0n,
    source: sourceOfType(pool),
    target: isRemote ? undefined : target,
  };
  const element = poolSchema.writeElement('pool', full);
  if (full.mountOptions !== undefined) element.setAttribute('xmlns:fs', NAMESPACES['fs'] ?? '');
  return formatXml(element);
}

/** `<source>` alone, as `pool-discover-sources` takes it. @throws XmlSyntaxError, DefinitionError */
export function parsePoolSource(xml: string): PoolSource {
  const { root } = parseXml(xml, {});
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const source = context.inside(root.name, () => {
    if (root.name !== 'source') context.fault(root, `expecting root element of 'source', not '${root.name}'`);
    return poolSource.readElement(root, context);
  });
  faults.throwIfAny('storage pool source XML');
  return source;
}

/** `<sources>`: what a search has found. */
export function formatPoolSources(sources: readonly PoolSource[]): string {
  const element = new XmlElement('sources', {
    children: sources.map((source) => withEndTag(poolSource).writeElement('source', source)),
  });
  element.keepsEndTag = true;
  return formatXml(element);
}

/** An empty `<source>`. */
export function emptySource(): PoolSource {
  return { hosts: [], devices: [] };
}

function completePool(pool: Pool, root: XmlElement, faults: FaultList): Pool & { name: string } {
  const { source: parts, formats } = rulesOf(pool.type);
  const source = pool.source ?? emptySource();
  const fault = (message: string): void => faults.add({ path: 'pool', line: root.line, column: root.column }, message);
  const name = pool.name ?? (has(parts, 'name') ? source.name : undefined) ?? '';
  if (name === '') fault('missing pool source name element');
  if (name.includes('/')) fault(`name ${name} cannot contain '/'`);
  if (/^\.{0,2}$/.test(name) && name !== '') fault(`name '${name}' is not one that a file could have`);
  if (has(parts, 'name')) source.name ??= name;
  if (formats !== undefined) {
    source.format ??= { type: formats.fallback };
    requireFormat(source.format.type, formats.names);
  }
  if (has(parts, 'host') && !has(parts, 'network') && source.hosts.length === 0) {
    fault('missing storage pool source host name');
  }
  if (has(parts, 'dir') && !has(parts, 'network') && source.dir === undefined)
    fault('missing storage pool source path');
  if (parts.length === 1 && parts[0] === 'device' && source.devices.length === 0) {
    fault('missing storage pool source device name');
  }
  if (source.dir !== undefined) source.dir = { path: sanitizePath(source.dir.path) };
  const target = targetOf(pool, source, parts);
  if (target === undefined && !has(parts, 'network')) fault('missing storage pool target path');
  if (target?.path?.includes('\0') === true) fault('the target path has a NUL character');
  return { ...pool, name, source, target };
}

function targetOf(pool: Pool, source: PoolSource, parts: readonly PoolSourcePart[]): Pool['target'] {
  if (has(parts, 'network')) return pool.target;
  const path = pool.target?.path;
  const fixed = FIXED_TARGET[pool.type];
  if (fixed !== undefined) return { ...pool.target, path: fixed + (source.name ?? '') };
  return path === undefined || path === '' ? undefined : { ...pool.target, path: sanitizePath(path) };
}

/** Kinds whose volumes appear at one place only, whatever a definition says. */
const FIXED_TARGET: Readonly<Partial<Record<PoolTypeName, string>>> = { logical: '/dev/', zfs: '/dev/zvol/' };

function has(parts: readonly PoolSourcePart[], part: PoolSourcePart): boolean {
  return parts.includes(part);
}

function requireFormat(format: string, known: readonly string[]): void {
  if (known.includes(format)) return;
  throw new VirtError(`unknown pool format type ${format}: use one of ${known.join(', ')}`, {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.STORAGE,
  });
}

/** Without repeated slashes and one at the end, as libvirt compares paths. */
export function sanitizePath(path: string): string {
  const plain = path.replace(/\/{2,}/g, '/');
  return plain.length > 1 && plain.endsWith('/') ? plain.slice(0, -1) : plain;
}

/** Only the parts that mean something for the kind of pool are kept. */
function sourceOfType({ type, source = emptySource() }: Pool): PoolSource {
  const { source: parts, formats } = rulesOf(type);
  return {
    ...source,
    hosts: has(parts, 'host') ? source.hosts : [],
    devices: has(parts, 'device') ? source.devices : [],
    dir: has(parts, 'dir') ? source.dir : undefined,
    adapter: has(parts, 'adapter') ? source.adapter : undefined,
    name: has(parts, 'name') ? source.name : undefined,
    initiator: has(parts, 'initiator') ? source.initiator : undefined,
    format: formats === undefined ? undefined : source.format,
  };
}

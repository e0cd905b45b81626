/** Whether the images behind a disk can be opened: sources, formats, credentials, encryption. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import type { Encryption, StorageAuth } from '../../../../model/domain/devices/encryption.ts';
import type {
  BackingStore,
  DataStore,
  StorageFormat,
  StorageSource,
  StorageType,
} from '../../../../model/domain/devices/storage-source.ts';
import { hasFeature } from '../../capabilities/capabilities.ts';
import type { FeatureName } from '../../capabilities/features.ts';
import { type DomainContext, fault } from '../../context.ts';
import { hasSource } from './image.ts';

export function validateSources(disk: Disk, context: DomainContext): void {
  validatePlacement(disk, context);
  if (hasSource(disk.type, disk.source)) {
    validateLayer(
      {
        owner: disk,
        type: disk.type ?? 'file',
        source: disk.source,
        format: disk.driver?.type,
        readonly: disk.readonly === true,
        auth: disk.source.auth ?? disk.auth,
        encryption: disk.source.encryption ?? disk.encryption,
      },
      context,
    );
  }
  for (let store: BackingStore | undefined = disk.backingStore; store !== undefined; store = store.backingStore) {
    validateStore(store, true, context);
  }
}

/** Credentials and encryption may stand in the disk or in its source, not in both. */
function validatePlacement(disk: Disk, context: DomainContext): void {
  if (disk.auth !== undefined && disk.source?.auth !== undefined) {
    fault(context, disk, '<auth> stands in <disk> and in <source>: keep the one in <source>', 'auth');
  }
  if (disk.encryption !== undefined && disk.source?.encryption !== undefined) {
    fault(context, disk, '<encryption> stands in <disk> and in <source>: keep the one in <source>', 'encryption');
  }
}

interface Layer {
  /** Where faults are reported. */
  readonly owner: object;
  readonly type: StorageType;
  readonly source: StorageSource;
  readonly format: StorageFormat | undefined;
  readonly readonly: boolean;
  readonly auth: StorageAuth | undefined;
  readonly encryption: Encryption | undefined;
}

function validateStore(store: DataStore, readonly: boolean, context: DomainContext): void {
  const { source, type = 'file' } = store;
  if (source === undefined || !hasSource(type, source)) return;
  if (store.format === undefined) {
    fault(context, store, "<format type='…'/> is missing: an image's format is never guessed", 'format');
  }
  const format = store.format?.type;
  const { auth, encryption } = source;
  validateLayer({ owner: store, type, source, format, readonly, auth, encryption }, context);
}

function validateLayer(layer: Layer, context: DomainContext): void {
  const { owner, source, type } = layer;
  validateFormat(layer, context);
  validateEncryption(layer, context);
  validateSlices(layer, context);
  if (layer.auth !== undefined) validateAuth(layer, layer.auth, context);
  if (type === 'network') validateNetwork(layer, context);
  if (type === 'nvme') validateNvme(layer, context);
  if (type === 'vhostvdpa' && !hasFeature(context.caps, 'blockdev-vhost-vdpa')) {
    fault(context, owner, 'this QEMU cannot open vhost-vdpa devices', 'source');
  }
  if (source.fdgroup !== undefined) {
    fault(
      context,
      owner,
      'descriptors of an fdgroup cannot be passed to this driver: name the file only',
      'source/@fdgroup',
    );
  }
  if (type === 'dir' && !layer.readonly) {
    fault(context, owner, 'a directory can only be shown read-only to a guest: add <readonly/>', 'readonly');
  }
  const data = source.dataStore;
  if (data === undefined) return;
  if (layer.format !== 'qcow2') fault(context, owner, 'only qcow2 images have a <dataStore>', 'source/dataStore');
  if ((data.format?.type ?? 'raw') !== 'raw') fault(context, data, "a <dataStore> has format 'raw'", 'format');
  validateStore(data, layer.readonly, context);
}

/** Formats that QEMU cannot read as such, and what to write instead. */
const UNREADABLE: Readonly<Record<string, string>> = {
  dir: 'fat',
  iso: 'raw',
  cow: 'qcow2',
  vhd: 'vpc',
  luks: 'raw',
};

function validateFormat({ format, owner, type }: Layer, context: DomainContext): void {
  const instead = UNREADABLE[format ?? ''];
  if (instead !== undefined) {
    fault(context, owner, `format '${format}' is not one that QEMU opens: use '${instead}'`, 'driver/@type');
  }
  if (type === 'dir' && format !== undefined && format !== 'fat') {
    fault(context, owner, `a directory has format 'fat', not '${format}'`, 'driver/@type');
  }
  if (format === 'fat' && type !== 'dir' && type !== 'volume') {
    fault(context, owner, "format 'fat' is made of a directory: use type='dir'", 'driver/@type');
  }
  if (type === 'vhostvdpa' && format !== undefined && format !== 'raw') {
    fault(context, owner, `a source of type '${type}' needs format 'raw'`, 'driver/@type');
  }
}

function validateEncryption({ encryption, format, owner, source }: Layer, context: DomainContext): void {
  if (encryption === undefined) return;
  const wrong = (message: string) => fault(context, owner, message, 'encryption');
  if (format !== undefined && format !== 'raw' && format !== 'qcow2') {
    wrong(`images of format '${format}' cannot be encrypted: only 'raw' and 'qcow2' can`);
  }
  if (encryption.cipher !== undefined || encryption.ivgen !== undefined) {
    wrong('<cipher> and <ivgen> stand in the image itself: leave them out');
  }
  if (encryption.secrets.length === 0) wrong('<encryption> needs a <secret>');
  for (const secret of encryption.secrets) {
    if ((secret.uuid === undefined) === (secret.usage === undefined)) wrong('a <secret> needs either uuid or usage');
  }
  if (encryption.engine === 'librbd') {
    validateRbdEncryption(encryption, source, wrong, context);
  } else {
    if (encryption.format === 'luks2' || encryption.format === 'luks-any') {
      wrong(`encryption format '${encryption.format}' needs engine='librbd'`);
    }
    if (encryption.format === 'default') wrong("encryption format 'default' says nothing: use 'luks'");
    if (encryption.secrets.length > 1) wrong("more than one <secret> needs engine='librbd'");
    if (encryption.format === 'qcow' && format === 'raw') wrong("encryption format 'qcow' is for qcow2 images");
    if (encryption.format === 'qcow' && format === 'qcow2') {
      wrong("encryption format 'qcow' is too weak for QEMU to run: convert the image to 'luks'");
    }
  }
}

function validateRbdEncryption(
  encryption: Encryption,
  source: StorageSource,
  wrong: (message: string) => void,
  context: DomainContext,
): void {
  const { caps } = context;
  if (source.protocol !== 'rbd') wrong("engine='librbd' is for images of protocol 'rbd'");
  if (!hasFeature(caps, 'blockdev-rbd-encryption')) wrong("this QEMU has no engine='librbd'");
  if (!['luks', 'luks2', 'luks-any'].includes(encryption.format)) {
    wrong(`engine='librbd' does not know format '${encryption.format}'`);
  }
  if (encryption.format === 'luks-any' && !hasFeature(caps, 'blockdev-rbd-encryption-luks-any')) {
    wrong("this QEMU does not know encryption format 'luks-any'");
  }
  if (encryption.secrets.length > 1 && !hasFeature(caps, 'blockdev-rbd-encryption-layering')) {
    wrong('this QEMU cannot open layered encryption: give one <secret>');
  }
}

function validateSlices({ owner, source }: Layer, context: DomainContext): void {
  if ((source.slices?.slices.length ?? 0) > 1) {
    fault(context, owner, "a source has at most one slice of type 'storage'", 'source/slices');
  }
}

function validateAuth({ owner, source, type }: Layer, auth: StorageAuth, context: DomainContext): void {
  const { secret } = auth;
  if ((secret.uuid === undefined) === (secret.usage === undefined)) {
    fault(context, owner, '<secret> needs either uuid or usage', 'auth/secret');
  }
  if (type !== 'network') return;
  const expected = source.protocol === 'iscsi' ? 'iscsi' : source.protocol === 'rbd' ? 'ceph' : undefined;
  if (expected !== undefined && secret.type !== expected) {
    fault(context, owner, `protocol '${source.protocol}' takes secrets of type '${expected}'`, 'auth/secret/@type');
  }
}

const PROTOCOL_FEATURES: Readonly<Record<string, FeatureName>> = {
  nfs: 'blockdev-nfs',
};

const URL_PROTOCOLS: ReadonlySet<string> = new Set(['http', 'https', 'ftp', 'ftps', 'tftp']);

function validateNetwork(layer: Layer, context: DomainContext): void {
  const { owner, source } = layer;
  const { protocol } = source;
  const wrong = (message: string, field = 'source') => fault(context, owner, message, field);
  if (protocol === undefined) return wrong("a network source lacks attribute 'protocol'", 'source/@protocol');
  if (protocol === 'sheepdog' || protocol === 'vxhs' || protocol === 'tftp') {
    wrong(`QEMU has no driver for protocol '${protocol}' any more`, 'source/@protocol');
  }
  const feature = PROTOCOL_FEATURES[protocol];
  if (feature !== undefined && !hasFeature(context.caps, feature)) {
    wrong(`this QEMU has no driver for protocol '${protocol}': install its block driver package`, 'source/@protocol');
  }
  if (source.name === undefined && protocol !== 'nbd') {
    wrong(`protocol '${protocol}' needs a name`, 'source/@name');
  }
  validateHosts(layer, context);
  if (source.tls === true && protocol !== 'nbd') wrong(`TLS is not supported with '${protocol}'`, 'source/@tls');
  if (source.tlsHostname !== undefined && !hasFeature(context.caps, 'blockdev-nbd-tls-hostname')) {
    wrong('this QEMU cannot check another TLS host name (6.2 and newer can)', 'source/@tlsHostname');
  }
  if ((protocol === 'rbd' || protocol === 'gluster') && !/^[^/].*\//.test(source.name ?? '')) {
    wrong(`name '${source.name ?? ''}' is not POOL/IMAGE`, 'source/@name');
  }
  validateUrlOptions(layer, context);
  if (
    protocol === 'ssh' &&
    (source.identity?.keyfile ?? source.identity?.agentsock ?? source.knownHosts) !== undefined
  ) {
    wrong(
      "QEMU's SSH takes its keys from the agent and ~/.ssh of its user: leave out keyfile, agentsock, <knownHosts>",
    );
  }
  if (protocol === 'ssh' && layer.auth !== undefined)
    wrong("QEMU's SSH takes no password: use a key of its user's agent");
  if (source.initiator !== undefined && protocol !== 'iscsi') wrong("<initiator> is for protocol 'iscsi'");
  if (source.config !== undefined && protocol !== 'rbd') wrong("<config> is for protocol 'rbd'");
  if (source.snapshot !== undefined && protocol !== 'rbd') wrong("<snapshot> is for protocol 'rbd'");
  if (source.reconnect !== undefined && protocol !== 'nbd') wrong("<reconnect> is for protocol 'nbd'");
}

function validateUrlOptions({ owner, source }: Layer, context: DomainContext): void {
  const { cookies, protocol = '', query, readahead, ssl, timeout } = source;
  const wrong = (message: string) => fault(context, owner, message, 'source');
  const url = URL_PROTOCOLS.has(protocol);
  const http = protocol === 'http' || protocol === 'https';
  if (query !== undefined && !http) wrong("'query' is for protocols 'http' and 'https'");
  if (ssl !== undefined && protocol !== 'https' && protocol !== 'ftps') wrong("<ssl> is for 'https' and 'ftps'");
  if (readahead !== undefined && !url) wrong("<readahead> is for protocols with a URL ('http', 'ftp', …)");
  if (timeout !== undefined && !url) wrong("<timeout> is for protocols with a URL ('http', 'ftp', …)");
  const list = cookies?.cookies ?? [];
  if (list.length > 0 && !http) wrong("<cookies> are for protocols 'http' and 'https'");
  const names = new Set<string>();
  for (const cookie of list) {
    if (names.has(cookie.name)) wrong(`cookie '${cookie.name}' appears twice`);
    names.add(cookie.name);
    // The separators of the header; a value that has them would smuggle in another cookie.
    if (!/^[^\s()<>@,;:\\"/[\]?={}]+$/.test(cookie.name))
      wrong(`cookie name '${cookie.name}' has forbidden characters`);
    if (
      !/^(?:"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"|[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)$/.test(
        cookie.value ?? '',
      )
    ) {
      wrong(`the value of cookie '${cookie.name}' has forbidden characters`);
    }
  }
}

/** Protocols of which QEMU takes several servers. */
const MANY_HOSTS: ReadonlySet<string> = new Set(['rbd', 'gluster']);

function validateHosts({ owner, source }: Layer, context: DomainContext): void {
  const { hosts, protocol = '' } = source;
  const wrong = (message: string) => fault(context, owner, message, 'source/host');
  if (hosts.length === 0 && protocol !== 'rbd' && protocol !== 'sheepdog') {
    wrong(`protocol '${protocol}' needs a <host>`);
  }
  if (hosts.length > 1 && !MANY_HOSTS.has(protocol)) wrong(`protocol '${protocol}' takes exactly one <host>`);
  for (const host of hosts) {
    if (host.transport === 'unix') {
      if (host.socket === undefined) wrong("a host with transport='unix' needs a socket");
      if (host.name !== undefined) wrong("a host with transport='unix' has no name");
      if (protocol !== 'nbd' && protocol !== 'gluster') wrong(`protocol '${protocol}' has no transport 'unix'`);
    } else {
      if (host.name === undefined) wrong('a <host> needs a name');
      if (host.socket !== undefined) wrong("a socket needs transport='unix'");
      if (host.transport === 'rdma') wrong("transport 'rdma' is not supported by QEMU any more");
    }
  }
}

function validateNvme({ owner, source }: Layer, context: DomainContext): void {
  if (source.type !== undefined && source.type !== 'pci') {
    fault(context, owner, "an NVMe source is type='pci'", 'source/@type');
  }
  if (source.namespace === undefined) fault(context, owner, 'an NVMe source needs a namespace', 'source/@namespace');
  if (source.address === undefined) fault(context, owner, 'an NVMe source needs a PCI <address>', 'source/address');
  if (!hasFeature(context.caps, 'blockdev-nvme')) {
    fault(context, owner, 'this QEMU has no driver for NVMe drives of the host');
  }
}

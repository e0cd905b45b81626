/**
 * An image chain as QEMU block nodes: a storage node per image, a format node where the format needs one, and
 * whatever secrets and credentials they refer to, each before its user.
 */

import { hasFeature } from '../../capabilities/capabilities.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { planSecret } from '../secret.ts';
import { planTlsCredentials } from '../tls-credentials.ts';
import { cacheProps, detectZeroesOf } from './cache-mode.ts';
import type { Image } from './image.ts';
import { type NetworkObjects, networkProps } from './network.ts';

/** Planned nodes, and the name of the one that the next layer or the drive opens. */
export interface PlannedNodes {
  readonly parts: Part[];
  readonly node: string;
}

/** Formats that can have an image below. */
const BACKING_FORMATS: ReadonlySet<string> = new Set(['cow', 'qcow', 'qcow2', 'qed', 'vmdk']);

/**
 * Plans a chain from its base up. `disk` names what the chain belongs to in persistent reservations.
 * @throws {VirtError} for what cannot be opened by any QEMU
 */
export function planImage(image: Image, context: PlanContext, owner: string): PlannedNodes {
  const below = image.backing == null ? undefined : planImage(image.backing, context, owner);
  const data = image.dataStore === undefined ? undefined : planImage(image.dataStore, context, owner);
  const { parts, node } = planLayers(image, context, owner, { backing: below?.node, data: data?.node });
  return { parts: [...(below?.parts ?? []), ...(data?.parts ?? []), ...parts], node };
}

interface Below {
  readonly backing: string | undefined;
  readonly data: string | undefined;
}

function planLayers(image: Image, context: PlanContext, owner: string, below: Below): PlannedNodes {
  const parts: Part[] = [];
  const withFormat = needsFormatNode(image);
  const formatSecrets = withFormat ? planFormatSecret(image, context) : undefined;
  const storage = storageProps(image, context, owner, parts);
  if (formatSecrets !== undefined) parts.push(formatSecrets);
  const storageNode = nodeName(image, 'storage');
  parts.push({
    kind: 'blockdev',
    props: {
      ...storage,
      'node-name': storageNode,
      ...(withFormat ? inner(image) : effective(image)),
    },
  });
  if (!withFormat) return { parts, node: storageNode };
  let file = storageNode;
  const slice = image.source.slices?.slices[0];
  // A raw format node cuts the slice out itself.
  if (slice !== undefined && (image.format !== 'raw' || isEncryptedByQemu(image))) {
    file = nodeName(image, 'slice-sto');
    parts.push({
      kind: 'blockdev',
      props: {
        driver: 'raw',
        'node-name': file,
        offset: slice.offset,
        size: slice.size,
        file: storageNode,
        'auto-read-only': true,
        discard: 'unmap',
      },
    });
  }
  parts.push({ kind: 'blockdev', props: formatProps(image, file, below) });
  return { parts, node: nodeName(image, 'format') };
}

/** Raw bytes go to the drive as they are; everything else has a format node above its storage node. */
function needsFormatNode(image: Image): boolean {
  if (image.format !== 'raw') return true;
  if (isEncryptedByQemu(image)) return true;
  return (image.source.slices?.slices.length ?? 0) > 0;
}

function isEncryptedByQemu({ encryption }: Image): boolean {
  return encryption !== undefined && encryption.engine !== 'librbd';
}

/** Options of the node that the guest's requests reach first. */
function effective(image: Image): Props {
  return {
    'read-only': image.readonly,
    discard: image.driver.discard,
    'detect-zeroes': image.top ? detectZeroesOf(image.driver) : undefined,
    cache: image.type === 'dir' ? undefined : cacheProps(image.driver),
  };
}

/** Options of a storage node below a format node: it opens read-write only when needed, and passes discards on. */
function inner(image: Image): Props {
  return {
    'auto-read-only': true,
    discard: 'unmap',
    cache: image.type === 'dir' ? undefined : cacheProps(image.driver),
  };
}

function formatProps(image: Image, file: string, below: Below): Props {
  const { driver } = image;
  return {
    'node-name': nodeName(image, 'format'),
    'read-only': image.readonly,
    discard: driver.discard,
    'detect-zeroes': image.top ? detectZeroesOf(driver) : undefined,
    cache: cacheProps(driver),
    ...driverProps(image),
    'data-file': below.data,
    file,
    ...(below.backing !== undefined || (image.backing === null && BACKING_FORMATS.has(image.format))
      ? { backing: below.backing ?? null }
      : {}),
  };
}

/** The format driver and its own options. */
function driverProps(image: Image): Props {
  const secret = nodeName(image, 'format-encryption-secret0');
  const encrypted = isEncryptedByQemu(image);
  switch (image.format) {
    case 'raw':
    case 'fat': {
      if (encrypted) return { driver: 'luks', 'key-secret': secret };
      const slice = image.source.slices?.slices[0];
      return { driver: 'raw', offset: slice?.offset, size: slice?.size };
    }
    case 'qcow':
      return { driver: 'qcow', encrypt: encrypted ? { format: 'aes', 'key-secret': secret } : undefined };
    case 'qcow2':
      return {
        driver: 'qcow2',
        encrypt: encrypted
          ? { format: image.encryption?.format === 'qcow' ? 'aes' : 'luks', 'key-secret': secret }
          : undefined,
        'cache-size': image.metadataCacheBytes,
        'discard-no-unref': image.driver.discardNoUnref,
      };
    case 'ploop':
      return { driver: 'parallels' };
    case 'bochs':
    case 'cloop':
    case 'dmg':
    case 'vdi':
    case 'vpc':
    case 'qed':
    case 'vmdk':
      return { driver: image.format };
    default:
      return refuse(`storage format '${image.format}' cannot be opened by QEMU: convert the image to raw or qcow2`);
  }
}

/** The storage node's driver and options; secrets and helpers that it needs are added to `parts`. */
function storageProps(image: Image, context: PlanContext, owner: string, parts: Part[]): Props {
  const { source } = image;
  switch (image.type) {
    case 'file':
      return {
        driver: 'file',
        filename: source.file,
        'pr-manager': planReservations(image, context, owner, parts),
        aio: image.driver.io,
      };
    case 'block':
      return {
        driver: isHostCdrom(image, context) ? 'host_cdrom' : 'host_device',
        filename: source.dev,
        'pr-manager': planReservations(image, context, owner, parts),
        aio: image.driver.io,
      };
    case 'dir':
      // vvfat can write too, into the host's directory and badly: never offered.
      return { driver: 'vvfat', dir: source.dir, floppy: image.floppy, rw: false };
    case 'network':
      return networkProps(source, planNetworkObjects(image, context, parts));
    case 'nvme':
      return { driver: 'nvme', device: pciDeviceName(image), namespace: source.namespace };
    case 'vhostvdpa':
      return { driver: 'virtio-blk-vhost-vdpa', path: planVdpaFd(image, context, parts) };
    default:
      return refuse(`a disk of type '${image.type}' has no image that QEMU could open`);
  }
}

/** Names under which Linux has optical drives; QEMU's driver for them passes the tray and medium changes on. */
const OPTICAL_DRIVE = /^\/dev\/(?:cdrom|cdrw|dvd|dvdrw|sr|scd)\d*$/;

function isHostCdrom(image: Image, context: PlanContext): boolean {
  return image.cdrom && OPTICAL_DRIVE.test(image.source.dev ?? '') && hasFeature(context.caps, 'blockdev-host-cdrom');
}

function pciDeviceName(image: Image): string {
  const { domain = 0, bus = 0, slot = 0, function: unit = 0 } = image.source.address ?? {};
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(slot, 2)}.${unit}`;
}

function planVdpaFd(image: Image, context: PlanContext, parts: Part[]): string {
  const path = image.source.dev ?? '';
  const set = context.nextFdSet();
  const fd = context.requestFd({ kind: 'file', path, flags: 'r+' });
  const opaque = `${nodeName(image, 'storage')}-vdpa`;
  parts.push({ kind: 'keyval', option: 'add-fd', props: { set, fd, opaque } });
  return `/dev/fdset/${set}`;
}

function planNetworkObjects(image: Image, context: PlanContext, parts: Part[]): NetworkObjects {
  const { source, auth, encryption } = image;
  const node = nodeName(image, 'storage');
  let authSecret: string | undefined;
  if (auth !== undefined) {
    authSecret = `${node}-auth-secret0`;
    parts.push(planSecret(context, authSecret, auth.secret));
  }
  const cookies = source.cookies?.cookies ?? [];
  let cookieSecret: string | undefined;
  if (cookies.length > 0) {
    cookieSecret = `${node}-httpcookie-secret0`;
    const value = cookies.map((cookie) => `${cookie.name}=${cookie.value ?? ''}`).join('; ');
    parts.push(planSecret(context, cookieSecret, { type: 'cookie', value }));
  }
  let encrypt: Props | undefined;
  if (encryption?.engine === 'librbd') {
    const ids = encryption.secrets.map((_, position) => `${node}-encryption-secret${position}`);
    encryption.secrets.forEach((secret, position) => {
      parts.push(planSecret(context, ids[position] ?? '', { ...secret, type: 'volume' }));
    });
    // The first secret opens the image itself, each further one the layer below.
    encrypt = ids.reduceRight<Props | undefined>(
      (parent, id) => ({ format: encryption.format, 'key-secret': id, parent }),
      undefined,
    );
  }
  return {
    username: auth?.username,
    authSecret,
    cookieSecret,
    encrypt,
    tlsCredentials: planNbdTls(image, context, parts),
  };
}

function planNbdTls(image: Image, context: PlanContext, parts: Part[]): string | undefined {
  const { source } = image;
  if (source.protocol !== 'nbd' || !(source.tls ?? context.config.nbdTls)) return undefined;
  const id = `obj${nodeName(image, 'storage')}_tls0`;
  const dir = context.config.nbdTlsX509CertDir;
  parts.push(...planTlsCredentials(context, { id, dir, endpoint: 'client', verifyPeer: true }));
  return id;
}

function planFormatSecret(image: Image, context: PlanContext): Part | undefined {
  const { encryption } = image;
  if (encryption === undefined || encryption.engine === 'librbd') return undefined;
  const secret = encryption.secrets[0];
  if (secret === undefined) return refuse(`<encryption> of ${owned(image)} names no <secret>`);
  return planSecret(context, nodeName(image, 'format-encryption-secret0'), { ...secret, type: 'volume' });
}

/** Default place of QEMU's helper for persistent reservations. */
const PR_HELPER = '/usr/bin/qemu-pr-helper';

function planReservations(image: Image, context: PlanContext, owner: string, parts: Part[]): string | undefined {
  const { reservations } = image.source;
  if (reservations === undefined) return undefined;
  const managed = reservations.managed;
  const id = managed ? 'pr-helper0' : `pr-helper-${owner}`;
  const path = managed ? `${context.domainDir}/pr-helper0.sock` : reservations.source?.path;
  if (!context.shared.has(id)) {
    const part: Part = { kind: 'object', props: { 'qom-type': 'pr-manager-helper', id, path } };
    context.shared.set(id, part);
    parts.push(part);
    if (managed && path !== undefined) {
      context.files.push({ kind: 'socket', path });
      context.helpers.push({ name: id, command: PR_HELPER, args: ['-k', path], readySocket: path });
    }
  }
  return id;
}

function nodeName(image: Image, layer: string): string {
  return `${image.nodePrefix ?? `libvirt-${image.source.index ?? 0}`}-${layer}`;
}

function owned(image: Image): string {
  const { file, dev, dir, name, path } = image.source;
  return `image '${file ?? dev ?? dir ?? name ?? path ?? ''}'`;
}

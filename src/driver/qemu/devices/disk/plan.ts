/** A disk as QEMU parts: its block nodes (or the socket of an outside server), filters above them, then the drive. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { hasFeature } from '../../capabilities/capabilities.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { type Image, imageOf, isEmptyDrive } from '../blockdev/image.ts';
import { planImage } from '../blockdev/layers.ts';
import { assignNodeIndexes, filterIndex } from '../blockdev/node-index.ts';
import { planDrive } from './drive.ts';
import { planLegacyDrive } from './legacy-drive.ts';
import { throttleArguments, throttleGroupId } from './throttle.ts';
import { deferParts, isSharedTransient, planOverlay } from './transient.ts';

/** @throws {VirtError} for a source that cannot be opened */
export function planDisk(disk: Disk, context: PlanContext): Part[] {
  assignNodeIndexes(context.domain);
  if (disk.target?.bus === 'sd') return planLegacyDrive(disk, context);
  const { parts, drive } = planBacking(disk, context);
  parts.push({ kind: 'device', props: planDrive(disk, context, drive) });
  const now = isSharedTransient(disk) ? [] : parts;
  if (now.length === 0) deferParts(parts, context);
  planLimits(disk, context);
  return now;
}

/** Properties by which the drive refers to what is behind it; empty for an empty drive. */
type DriveReference = { readonly drive?: string; readonly chardev?: string };

function planBacking(disk: Disk, context: PlanContext): { parts: Part[]; drive: DriveReference } {
  if (disk.type === 'vhostuser') return planVhostUser(disk, context);
  const image = imageOf(disk, context);
  if (image === undefined) return { parts: [], drive: {} };
  const shared = isSharedTransient(disk);
  const { parts, node } = planImage(shared ? { ...image, readonly: true } : image, context, disk.alias?.name ?? '');
  if (shared) {
    const overlay = planOverlay(disk, image, node, context);
    parts.push(...overlay.parts);
    return { parts, drive: { drive: planFilters(disk, overlay.node, parts) } };
  }
  if (disk.transient !== undefined) planSnapshot(disk, image, node, context);
  return { parts, drive: { drive: planFilters(disk, node, parts) } };
}

/** The image is opened as any other, and an overlay put on it before the guest can write. */
function planSnapshot(disk: Disk, image: Image, node: string, context: PlanContext): void {
  const overlay = planOverlay(disk, image, null, context);
  deferParts(overlay.parts, context);
  context.deferred.push({ command: 'blockdev-snapshot', arguments: { node, overlay: overlay.node } });
}

/** Filters between image and drive, from the bottom up. @returns the node that the drive opens */
function planFilters(disk: Disk, imageNode: string, parts: Part[]): string {
  let node = imageNode;
  // A filter opens what is below it for writing unless it is told not to.
  const readonly = disk.readonly === true ? { 'read-only': true } : {};
  if (disk.driver?.copyOnRead === true) {
    const name = copyOnReadNode(disk);
    parts.push({
      kind: 'blockdev',
      props: { driver: 'copy-on-read', 'node-name': name, file: node, discard: 'unmap' },
    });
    node = name;
  }
  disk.throttlefilters?.throttlefilters.forEach(({ group }, position) => {
    const name = `libvirt-${filterIndex(disk, position)}-filter`;
    parts.push({
      kind: 'blockdev',
      props: {
        driver: 'throttle',
        'node-name': name,
        'throttle-group': throttleGroupId(group),
        file: node,
        ...readonly,
      },
    });
    node = name;
  });
  return node;
}

/** Name of a disk's copy-on-read filter node. */
export function copyOnReadNode(disk: Disk): string {
  return `libvirt-CoR-${disk.target?.dev ?? ''}`;
}

function planVhostUser(disk: Disk, context: PlanContext): { parts: Part[]; drive: DriveReference } {
  const id = `chr-vu-${disk.alias?.name ?? ''}`;
  const { path, reconnect } = disk.source ?? {};
  const seconds = reconnect?.enabled === true ? reconnect.timeout : undefined;
  const inMs = hasFeature(context.caps, 'chardev-reconnect-ms');
  const part: Part = {
    kind: 'chardev',
    props: {
      backend: 'socket',
      id,
      path,
      reconnect: inMs ? undefined : seconds,
      'reconnect-ms': inMs && seconds !== undefined ? seconds * 1000 : undefined,
    },
  };
  return { parts: [part], drive: { chardev: id } };
}

/** `<iotune>` is set once QEMU runs: its limits belong to the drive, not to a node. */
function planLimits(disk: Disk, context: PlanContext): void {
  if (disk.iotune === undefined || isEmptyDrive(disk)) return;
  const limits = throttleArguments(disk.iotune);
  if (Object.keys(limits).length === 0) return;
  context.deferred.push({ command: 'block_set_io_throttle', arguments: { id: qomNameOf(disk), ...limits } });
}

/** Name by which QMP's block commands find the drive: a virtio disk is the back end of its transport. */
export function qomNameOf(disk: Disk): string {
  const alias = disk.alias?.name ?? refuse('a disk without an alias cannot be named to QEMU');
  return disk.target?.bus === 'virtio' ? `/machine/peripheral/${alias}/virtio-backend` : alias;
}

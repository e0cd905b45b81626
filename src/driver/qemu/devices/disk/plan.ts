/** A disk as QEMU parts: its block nodes (or the socket of an outside server), filters above them, then the drive. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { hasFeature } from '../../capabilities/capabilities.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { imageOf, isEmptyDrive } from '../blockdev/image.ts';
import { planImage } from '../blockdev/layers.ts';
import { assignNodeIndexes, filterIndex } from '../blockdev/node-index.ts';
import { planDrive } from './drive.ts';
import { planLegacyDrive } from './legacy-drive.ts';
import { throttleArguments, throttleGroupId } from './throttle.ts';

/** @throws {VirtError} for a source that cannot be opened */
export function planDisk(disk: Disk, context: PlanContext): Part[] {
  if (isSharedTransient(disk)) return [];
  assignNodeIndexes(context.domain);
  const { parts, drive } = planBacking(disk, context);
  if (disk.target?.bus === 'sd') return planLegacyDrive(disk, context);
  parts.push({ kind: 'device', props: planDrive(disk, context, drive) });
  planLimits(disk, context);
  return parts;
}

/**
 * A transient disk whose image other guests use too: it is plugged in with its overlay once QEMU runs, and is no part
 * of the command line.
 */
export function isSharedTransient(disk: Disk): boolean {
  return disk.transient?.shareBacking === true;
}

/** Properties by which the drive refers to what is behind it; empty for an empty drive. */
type DriveReference = { readonly drive?: string; readonly chardev?: string };

function planBacking(disk: Disk, context: PlanContext): { parts: Part[]; drive: DriveReference } {
  if (disk.target?.bus === 'sd') return { parts: [], drive: {} };
  if (disk.type === 'vhostuser') return planVhostUser(disk, context);
  const image = imageOf(disk, context);
  if (image === undefined) return { parts: [], drive: {} };
  const { parts, node } = planImage(image, context, disk.alias?.name ?? '');
  return { parts, drive: { drive: planFilters(disk, node, parts) } };
}

/** Filters between image and drive, from the bottom up. @returns the node that the drive opens */
function planFilters(disk: Disk, imageNode: string, parts: Part[]): string {
  let node = imageNode;
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
      props: { driver: 'throttle', 'node-name': name, 'throttle-group': throttleGroupId(group), file: node },
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


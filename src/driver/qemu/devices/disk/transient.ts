/**
 * Transient disks: what the guest writes goes to an overlay beside the image, which vanishes with the guest. The overlay
 * is made before QEMU starts and put in place before the guest's first instruction.
 */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import type { PlanContext } from '../../context.ts';
import { LIVE_COMMANDS, type Part } from '../../plan/parts.ts';
import { cacheProps, detectZeroesOf } from '../blockdev/cache-mode.ts';
import type { Image } from '../blockdev/image.ts';

/**
 * A transient disk whose image other guests use too: the image is never opened for writing, so the disk is no part of
 * the command line but plugged in over its overlay once QEMU runs.
 */
export function isSharedTransient(disk: Disk): boolean {
  return disk.transient?.shareBacking === true;
}

/**
 * Plans the overlay's file and the block nodes on it.
 * @param backing the image's node where the overlay stands on it from the start, null where a snapshot puts it there
 */
export function planOverlay(
  disk: Disk,
  image: Image,
  backing: string | null,
  context: PlanContext,
): { parts: Part[]; node: string } {
  const base = image.source.file ?? '';
  // libvirt's name for it, so that a left-over is recognised by either.
  const path = `${base}.TRANSIENT-${context.name}`;
  const storage = `libvirt-tmp-${disk.target?.dev ?? ''}-storage`;
  const node = `libvirt-tmp-${disk.target?.dev ?? ''}`;
  const cache = cacheProps(image.driver);
  context.files.push({ kind: 'socket', path });
  context.helpers.push({
    name: `${disk.alias?.name ?? ''}-overlay`,
    command: 'qemu-img',
    args: ['create', '-q', '-f', 'qcow2', '-F', image.format, '-b', base, path],
    oneShot: true,
  });
  const parts: Part[] = [
    {
      kind: 'blockdev',
      props: { driver: 'file', filename: path, 'node-name': storage, 'auto-read-only': true, discard: 'unmap', cache },
    },
    {
      kind: 'blockdev',
      props: {
        driver: 'qcow2',
        'node-name': node,
        'read-only': false,
        discard: image.driver.discard,
        'detect-zeroes': detectZeroesOf(image.driver),
        cache,
        file: storage,
        backing,
      },
    },
  ];
  return { parts, node };
}

/** Leaves parts to be added over QMP before the guest runs. */
export function deferParts(parts: readonly Part[], context: PlanContext): void {
  for (const part of parts) {
    if (part.kind === 'blockdev' || part.kind === 'object' || part.kind === 'device') {
      context.deferred.push({ command: LIVE_COMMANDS[part.kind], arguments: part.props });
    }
  }
}

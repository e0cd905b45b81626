/**
 * Disks on an SD card bus. The card is part of the board: no `-device` can be placed there, only the old `-drive`
 * option reaches it.
 */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { detectZeroesOf } from '../blockdev/cache-mode.ts';
import { effectiveDriver, imageOf } from '../blockdev/image.ts';
import { planSecret } from '../secret.ts';
import { errorPolicies } from './drive.ts';
import { diskNameToIndex } from './target.ts';
import { throttleArguments } from './throttle.ts';

/** Spelling of `block_set_io_throttle`'s arguments in `-drive`. */
const DRIVE_LIMITS: readonly (readonly [string, string])[] = [
  ['bps', 'throttling.bps-total'],
  ['bps_rd', 'throttling.bps-read'],
  ['bps_wr', 'throttling.bps-write'],
  ['iops', 'throttling.iops-total'],
  ['iops_rd', 'throttling.iops-read'],
  ['iops_wr', 'throttling.iops-write'],
  ['bps_max', 'throttling.bps-total-max'],
  ['bps_rd_max', 'throttling.bps-read-max'],
  ['bps_wr_max', 'throttling.bps-write-max'],
  ['iops_max', 'throttling.iops-total-max'],
  ['iops_rd_max', 'throttling.iops-read-max'],
  ['iops_wr_max', 'throttling.iops-write-max'],
  ['iops_size', 'throttling.iops-size'],
  ['group', 'throttling.group'],
  ['bps_max_length', 'throttling.bps-total-max-length'],
  ['bps_rd_max_length', 'throttling.bps-read-max-length'],
  ['bps_wr_max_length', 'throttling.bps-write-max-length'],
  ['iops_max_length', 'throttling.iops-total-max-length'],
  ['iops_rd_max_length', 'throttling.iops-read-max-length'],
  ['iops_wr_max_length', 'throttling.iops-write-max-length'],
];

export function planLegacyDrive(disk: Disk, context: PlanContext): Part[] {
  const image = imageOf(disk, context);
  if (image === undefined) return [];
  if (image.type !== 'file' && image.type !== 'block') {
    refuse(`disk '${disk.target?.dev ?? ''}' on an SD card bus needs a file or block device as its source`);
  }
  const parts: Part[] = [];
  const driver = effectiveDriver(disk);
  const limits = throttleArguments(disk.iotune ?? {});
  let keySecret: string | undefined;
  const secret = image.encryption?.secrets[0];
  if (secret !== undefined) {
    keySecret = `${disk.alias?.name ?? ''}-encryption-secret0`;
    parts.push(planSecret(context, keySecret, { ...secret, type: 'volume' }));
  }
  const { werror, rerror } = errorPolicies(driver);
  parts.push({
    kind: 'keyval',
    option: 'drive',
    props: {
      file: image.source.file ?? image.source.dev,
      'key-secret': keySecret,
      format: keySecret !== undefined && image.format === 'raw' ? 'luks' : image.format,
      if: 'sd',
      index: diskNameToIndex(disk.target?.dev ?? ''),
      readonly: image.readonly ? true : undefined,
      werror,
      rerror,
      cache: driver.cache,
      'copy-on-read': driver.copyOnRead,
      discard: driver.discard,
      'detect-zeroes': detectZeroesOf(driver),
      aio: driver.io,
      ...Object.fromEntries(
        DRIVE_LIMITS.filter(([argument]) => limits[argument] !== 0).map(([argument, option]) => [
          option,
          limits[argument],
        ]),
      ),
    },
  });
  return parts;
}

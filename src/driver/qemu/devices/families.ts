/**
 * All device families, in the order in which QEMU meets their devices on its command line: buses before what sits on
 * them. A family that is not listed here does not exist for the driver.
 */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import { FAMILY as channel } from './channel/index.ts';
import { FAMILY as console } from './console/index.ts';
import { FAMILY as controller } from './controller/index.ts';
import { FAMILY as crypto } from './crypto/index.ts';
import { DISK as disk } from './disk/index.ts';
import type { DeviceFamily } from './family.ts';
import { FILESYSTEM as filesystem } from './filesystem/index.ts';
import { FAMILY as hostdev } from './hostdev/index.ts';
import { FAMILY as hub } from './hub/index.ts';
import { FAMILY as input } from './input/index.ts';
import { FAMILY as networkInterface } from './interface/index.ts';
import { FAMILY as iommu } from './iommu/index.ts';
import { FAMILY as memballoon } from './memballoon/index.ts';
import { FAMILY as memoryDevice } from './memory-device/index.ts';
import { FAMILY as nvram } from './nvram/index.ts';
import { FAMILY as panic } from './panic/index.ts';
import { FAMILY as parallel } from './parallel/index.ts';
import { FAMILY as pstore } from './pstore/index.ts';
import { FAMILY as redirdev } from './redirdev/index.ts';
import { FAMILY as rng } from './rng/index.ts';
import { FAMILY as serial } from './serial/index.ts';
import { FAMILY as shmem } from './shmem/index.ts';
import { FAMILY as smartcard } from './smartcard/index.ts';
import { FAMILY as sound } from './sound/index.ts';
import { FAMILY as tpm } from './tpm/index.ts';
import { FAMILY as video } from './video/index.ts';
import { FAMILY as vsock } from './vsock/index.ts';
import { FAMILY as watchdog } from './watchdog/index.ts';

export const FAMILIES: readonly DeviceFamily<DeviceInfo>[] = [
  iommu,
  controller,
  hub,
  memoryDevice,
  disk,
  filesystem,
  networkInterface,
  smartcard,
  serial,
  parallel,
  channel,
  console,
  tpm,
  input,
  video,
  sound,
  watchdog,
  redirdev,
  hostdev,
  memballoon,
  rng,
  nvram,
  panic,
  shmem,
  crypto,
  pstore,
  vsock,
];

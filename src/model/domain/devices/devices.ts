/** `<devices>`: all device families, in the order in which libvirt writes them. */
import { child, children, type Infer, single, struct } from '../../schema/schema.ts';
import { text } from '../../schema/values.ts';
import { audio } from './audio.ts';
import { channel, console, parallel, serial } from './character-device.ts';
import { controller } from './controller.ts';
import { crypto } from './crypto.ts';
import { disk } from './disk.ts';
import { filesystem } from './filesystem.ts';
import { graphics } from './graphics.ts';
import { hostdev } from './hostdev.ts';
import { hub } from './hub.ts';
import { input } from './input.ts';
import { networkInterface } from './interface.ts';
import { iommu } from './iommu.ts';
import { lease } from './lease.ts';
import { memballoon } from './memballoon.ts';
import { memoryDevice } from './memory-device.ts';
import { nvram } from './nvram.ts';
import { panic } from './panic.ts';
import { pstore } from './pstore.ts';
import { redirdev, redirfilter } from './redirdev.ts';
import { rng } from './rng.ts';
import { shmem } from './shmem.ts';
import { smartcard } from './smartcard.ts';
import { sound } from './sound.ts';
import { tpm } from './tpm.ts';
import { video } from './video.ts';
import { vsock } from './vsock.ts';
import { watchdog } from './watchdog.ts';

export const devices = struct(() => ({
  emulator: child(text),
  disks: children(disk, 'disk'),
  controllers: children(controller, 'controller'),
  leases: children(lease, 'lease'),
  filesystems: children(filesystem, 'filesystem'),
  interfaces: children(networkInterface, 'interface'),
  smartcards: children(smartcard, 'smartcard'),
  serials: children(serial, 'serial'),
  parallels: children(parallel, 'parallel'),
  consoles: children(console, 'console'),
  channels: children(channel, 'channel'),
  inputs: children(input, 'input'),
  tpms: children(tpm, 'tpm'),
  graphics: children(graphics, 'graphics'),
  sounds: children(sound, 'sound'),
  audios: children(audio, 'audio'),
  videos: children(video, 'video'),
  hostdevs: children(hostdev, 'hostdev'),
  redirdevs: children(redirdev, 'redirdev'),
  redirfilter: single(child(redirfilter)),
  hubs: children(hub, 'hub'),
  watchdogs: children(watchdog, 'watchdog'),
  memballoon: single(child(memballoon)),
  rngs: children(rng, 'rng'),
  nvram: single(child(nvram)),
  panics: children(panic, 'panic'),
  shmems: children(shmem, 'shmem'),
  memories: children(memoryDevice, 'memory'),
  iommus: children(iommu, 'iommu'),
  vsock: single(child(vsock)),
  cryptos: children(crypto, 'crypto'),
  pstore: single(child(pstore)),
}));
export interface Devices extends Infer<typeof devices> {}

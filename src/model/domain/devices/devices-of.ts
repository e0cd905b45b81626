/** `<devices>` of a domain, made when a definition has none. */

import type { Domain } from '../domain.ts';
import type { Devices } from './devices.ts';

/** The domain's devices; an empty set is put in place where there is none. */
export function devicesOf(domain: Domain): Devices {
  domain.devices ??= {
    disks: [],
    controllers: [],
    leases: [],
    filesystems: [],
    interfaces: [],
    smartcards: [],
    serials: [],
    parallels: [],
    consoles: [],
    channels: [],
    inputs: [],
    tpms: [],
    graphics: [],
    sounds: [],
    audios: [],
    videos: [],
    hostdevs: [],
    redirdevs: [],
    hubs: [],
    watchdogs: [],
    rngs: [],
    panics: [],
    shmems: [],
    memories: [],
    iommus: [],
    cryptos: [],
  };
  return domain.devices;
}

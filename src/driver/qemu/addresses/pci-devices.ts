/**
 * The devices that need PCI addresses, in the order in which libvirt gives them out, each with how it plugs in.
 * The order is part of what the guest sees: do not sort.
 */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { controllerAddressNeed } from '../devices/controller/addresses.ts';
import { cryptoAddressNeed } from '../devices/crypto/addresses.ts';
import { diskAddressNeed } from '../devices/disk/addresses.ts';
import { filesystemAddressNeed } from '../devices/filesystem/addresses.ts';
import { hostdevAddressNeed } from '../devices/hostdev/addresses.ts';
import { inputAddressNeed } from '../devices/input/addresses.ts';
import { interfaceAddressNeed } from '../devices/interface/addresses.ts';
import { iommuAddressNeed } from '../devices/iommu/addresses.ts';
import { memballoonAddressNeed } from '../devices/memballoon/addresses.ts';
import { memoryDeviceAddressNeed } from '../devices/memory-device/addresses.ts';
import { panicAddressNeed } from '../devices/panic/addresses.ts';
import { pstoreAddressNeed } from '../devices/pstore/addresses.ts';
import { rngAddressNeed } from '../devices/rng/addresses.ts';
import { serialAddressNeed } from '../devices/serial/addresses.ts';
import { shmemAddressNeed } from '../devices/shmem/addresses.ts';
import { soundAddressNeed } from '../devices/sound/addresses.ts';
import { videoAddressNeed } from '../devices/video/addresses.ts';
import { vsockAddressNeed } from '../devices/vsock/addresses.ts';
import { watchdogAddressNeed } from '../devices/watchdog/addresses.ts';
import type { AddressNeed } from './need.ts';
import type { Connection, Connector } from './pci-bus.ts';
import { hasPciAddress } from './pci-state.ts';

/** A device with the PCI connection it needs. */
export interface PciDevice {
  readonly family: string;
  readonly device: DeviceInfo;
  readonly connection: Connection;
}

/** All devices on PCI, controllers among them. @param express the machine has PCI Express at its root. */
export function pciDevices(domain: Domain, express: boolean): PciDevice[] {
  const devices = devicesOf(domain);
  const found: PciDevice[] = [];
  const add = <D extends DeviceInfo>(
    family: string,
    list: readonly D[],
    needOf: (device: D) => AddressNeed | undefined,
  ): void => {
    for (const device of list) {
      // An address on a device that is on no bus at all (a PC speaker) still takes its slot.
      const connection =
        connectionOf(needOf(device), device, express) ?? (hasPciAddress(device) ? UNNEEDED : undefined);
      if (connection !== undefined) found.push({ family, device, connection });
    }
  };
  const isHostInterface = ({ type }: { type?: string | undefined }) => type === 'hostdev';
  const pci = devices.controllers.filter(({ type }) => type === 'pci');
  add('controller', pci, controllerAddressNeed);
  add('filesystem', devices.filesystems, filesystemAddressNeed);
  add(
    'interface',
    devices.interfaces.filter((device) => !isHostInterface(device)),
    interfaceAddressNeed,
  );
  add('sound', devices.sounds, soundAddressNeed);
  add(
    'controller',
    devices.controllers.filter(({ type }) => type !== 'pci'),
    controllerAddressNeed,
  );
  add('disk', devices.disks, diskAddressNeed);
  add('interface', devices.interfaces.filter(isHostInterface), interfaceAddressNeed);
  add('hostdev', devices.hostdevs, hostdevAddressNeed);
  add('memballoon', optional(devices.memballoon), memballoonAddressNeed);
  add('rng', devices.rngs, rngAddressNeed);
  add('watchdog', devices.watchdogs, watchdogAddressNeed);
  add('video', devices.videos, videoAddressNeed);
  add('shmem', devices.shmems, shmemAddressNeed);
  add('input', devices.inputs, inputAddressNeed);
  add('serial', devices.serials, serialAddressNeed);
  add('vsock', optional(devices.vsock), vsockAddressNeed);
  add('memory', devices.memories, memoryDeviceAddressNeed);
  add('iommu', devices.iommus, iommuAddressNeed);
  add('crypto', devices.cryptos, cryptoAddressNeed);
  add('panic', devices.panics, panicAddressNeed);
  add('pstore', optional(devices.pstore), pstoreAddressNeed);
  return found;
}

const UNNEEDED: Connection = { connector: 'pci-endpoint', automatic: true };

/** How a PCI controller plugs into its own parent. */
export function controllerConnection({ model }: Controller): Connection {
  return { connector: model as Connector, automatic: false, aggregate: model === 'pcie-root-port' };
}

/** How a device with that need plugs in; undefined: not on PCI. */
export function connectionOf(
  need: AddressNeed | undefined,
  device: DeviceInfo,
  express: boolean,
): Connection | undefined {
  if (need?.type === 'pci-controller') return controllerConnection(device as Controller);
  if (need?.type !== 'pci') return undefined;
  return {
    connector: express && need.bus !== 'pci' ? 'pcie-endpoint' : 'pci-endpoint',
    automatic: need.integrated !== true,
    ...(need.integrated === true && { integrated: true }),
  };
}

function optional<D>(device: D | undefined): readonly D[] {
  return device === undefined ? [] : [device];
}

/** Register addresses of devices on the virtual I/O bus of POWER machines. */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { DomainContext } from '../context.ts';

/** Where each kind starts, and the distance of the next one. */
const NETWORK_REG = 0x1000;
const SCSI_REG = 0x2000;
const NVRAM_REG = 0x3000;
const SERIAL_REG = 0x3000_0000;
const REG_STEP = 0x1000;

/** Gives the devices of this bus that have no register address the first free one of their kind. */
export function assignSpaprVioAddresses({ domain }: DomainContext): void {
  const { interfaces, controllers, serials, nvram } = devicesOf(domain);
  const groups: [devices: readonly DeviceInfo[], start: number][] = [
    [interfaces.filter(({ model }) => model?.type === 'spapr-vlan'), NETWORK_REG],
    [controllers.filter(({ type, model }) => type === 'scsi' && model === 'ibmvscsi'), SCSI_REG],
    [serials.filter(({ target }) => target?.type === 'spapr-vio-serial'), SERIAL_REG],
    [nvram === undefined ? [] : [nvram], NVRAM_REG],
  ];
  const all = groups.flatMap(([devices]) => devices);
  const used = new Set(all.flatMap(({ address }) => (address?.type === 'spapr-vio' ? [address.reg] : [])));
  for (const [devices, start] of groups) {
    for (const device of devices) {
      const { address } = device;
      if (address !== undefined && (address.type !== 'spapr-vio' || address.reg !== undefined)) continue;
      let reg = start;
      while (used.has(reg)) reg += REG_STEP;
      used.add(reg);
      device.address = { type: 'spapr-vio', reg };
    }
  }
}

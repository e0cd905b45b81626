/** Parts of an address that a definition leaves out are zero, and written as such. */
import type { Address, DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Domain } from '../../../model/domain/domain.ts';

/** The numbers of each kind of address, in the order in which they are written. */
const PARTS: Readonly<Partial<Record<Address['type'], readonly string[]>>> = {
  pci: ['domain', 'bus', 'slot', 'function'],
  drive: ['controller', 'bus', 'target', 'unit'],
  'virtio-serial': ['controller', 'bus', 'port'],
  ccid: ['controller', 'slot'],
};

/** Fills in the zeros of every device's address. */
export function normalizeAddresses({ devices }: Domain): void {
  for (const entry of Object.values(devices ?? {})) {
    for (const device of Array.isArray(entry) ? entry : [entry]) {
      if (typeof device === 'object' && device !== null) fillZeros((device as DeviceInfo).address);
    }
  }
}

function fillZeros(address: Address | undefined): void {
  if (address === undefined) return;
  const missing = (PARTS[address.type] ?? []).filter((part) => !Object.hasOwn(address, part));
  Object.assign(address, Object.fromEntries(missing.map((part) => [part, 0])));
}

/** Memory devices: DIMMs, NVDIMMs, virtio-pmem, virtio-mem, SGX enclave memory. */
import type { MemoryDevice } from '../../../../model/domain/devices/memory-device.ts';
import type { DomainContext } from '../../context.ts';
import { deviceFamily } from '../family.ts';
import { memoryDeviceAddressNeed } from './addresses.ts';
import { fillMemoryDeviceDefaults } from './defaults.ts';
import { planMemoryDevice } from './plan.ts';
import { validateMemoryDevice } from './validate.ts';

const ALIAS_PREFIXES = {
  dimm: 'dimm',
  nvdimm: 'nvdimm',
  'virtio-pmem': 'virtiopmem',
  'virtio-mem': 'virtiomem',
  'sgx-epc': 'epc',
} as const;

export const FAMILY = deviceFamily<MemoryDevice>({
  name: 'memory',
  select: (domain) => domain.devices?.memories ?? [],
  fillDefaults: fillMemoryDeviceDefaults,
  validate: validateMemoryDevice,
  addressNeed: memoryDeviceAddressNeed,
  alias: memoryAlias,
  plan: planMemoryDevice,
});

/** Modules are named after their slot, so that a guest's modules keep their names; the others are counted. */
function memoryAlias(device: MemoryDevice, _index: number, { domain }: DomainContext): string {
  const prefix = ALIAS_PREFIXES[device.model];
  if (device.address?.type === 'dimm' && device.address.slot !== undefined) return `${prefix}${device.address.slot}`;
  const same = (domain.devices?.memories ?? []).filter(({ model }) => model === device.model);
  return `${prefix}${same.indexOf(device)}`;
}

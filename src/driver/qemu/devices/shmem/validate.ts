/** What is refused of shared memory devices. */
import type { Shmem } from '../../../../model/domain/devices/shmem.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';

const MIN_SIZE_BYTES = 1024 * 1024;

export function validateShmem(shmem: Shmem, context: DomainContext): void {
  const { name, model, server, msi, size, address } = shmem;
  if (name === '' || name.includes('/') || name === '.' || name === '..') {
    fault(context, shmem, 'the name is that of a file in /dev/shm: it may not be empty or hold a slash', '@name');
  }
  if (size !== undefined && size > 0 && (size < MIN_SIZE_BYTES || !Number.isInteger(Math.log2(size)))) {
    fault(context, shmem, 'the size must be a power of two, and 1 MiB at least', 'size');
  }
  if (msi !== undefined && server === undefined) fault(context, msi, 'interrupts (<msi>) need a <server>');
  if (address !== undefined && address.type !== 'pci' && address.type !== 'unassigned') {
    fault(context, shmem, `a shared memory device has a 'pci' address, not '${address.type}'`, 'address/@type');
  }
  switch (model?.type) {
    case 'ivshmem-plain':
      if (server !== undefined) fault(context, shmem, "a <server> needs model 'ivshmem-doorbell'", 'server');
      break;
    case 'ivshmem-doorbell':
      if (server === undefined) fault(context, shmem, "model 'ivshmem-doorbell' needs a <server>");
      if (size !== undefined) fault(context, shmem, "the server of 'ivshmem-doorbell' says the size", 'size');
      break;
    default:
      fault(context, shmem, "QEMU has no 'ivshmem' any more: use 'ivshmem-plain' or 'ivshmem-doorbell'", 'model');
      return;
  }
  if (!hasDevice(context.caps, model.type)) {
    fault(context, shmem, `${context.caps.binary} has no '${model.type}'`, 'model/@type');
  }
}

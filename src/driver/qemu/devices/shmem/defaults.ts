/** What is filled in for shared memory devices. */
import type { Shmem } from '../../../../model/domain/devices/shmem.ts';

/** Size of a device that has no server to say it. */
const DEFAULT_SIZE_BYTES = 4 * 1024 * 1024;
/** A server that is started without a path listens there. */
const SOCKET_DIR = '/var/lib/libvirt';

export function fillShmemDefaults(shmem: Shmem): void {
  // QEMU dropped the device of that name; validation says so, as changing it unasked would change the guest.
  shmem.model ??= { type: 'ivshmem' };
  if (shmem.model.type === 'ivshmem-plain') shmem.size ??= DEFAULT_SIZE_BYTES;
  if (shmem.server === undefined) return;
  shmem.server.path ??= `${SOCKET_DIR}/shmem-${shmem.name}-sock`;
  if (shmem.model.type !== 'ivshmem-doorbell') return;
  shmem.msi ??= {};
  shmem.msi.ioeventfd ??= true;
}

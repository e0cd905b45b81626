/** `ivshmem-plain` with its memory, `ivshmem-doorbell` with its server's socket. */
import type { Shmem } from '../../../../model/domain/devices/shmem.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, unixChardev } from '../chardev.ts';

export function planShmem(shmem: Shmem, context: PlanContext): Part[] {
  const { model, role, msi, size, name, server } = shmem;
  const alias = shmem.alias?.name ?? '';
  const common = {
    driver: model?.type,
    id: alias,
    // Only a master migrates with the guest.
    // Of QEMU's type on/off/auto, which JSON carries as text.
    master: role === undefined ? undefined : role === 'master' ? 'on' : 'off',
  };
  if (model?.type === 'ivshmem-doorbell') {
    const chardev = chardevId(alias);
    const props = {
      ...common,
      chardev,
      vectors: msi?.vectors,
      ioeventfd: msi?.ioeventfd,
      ...addressProps(shmem, context),
    };
    return [unixChardev(chardev, { path: server?.path ?? '' }, context), { kind: 'device', props }];
  }
  const memdev = `shmmem-${alias}`;
  const memory: Part = {
    kind: 'object',
    props: { 'qom-type': 'memory-backend-file', id: memdev, 'mem-path': `/dev/shm/${name}`, size, share: true },
  };
  return [memory, { kind: 'device', props: { ...common, memdev, ...addressProps(shmem, context) } }];
}

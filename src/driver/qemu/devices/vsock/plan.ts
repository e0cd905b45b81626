/** `vhost-vsock` with the descriptor of the kernel's half. */
import type { Vsock } from '../../../../model/domain/devices/vsock.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';

/** First address that is looked at when the guest may have any. */
const FIRST_FREE_CID = 3;

/** The address of an automatic choice comes from the caller, who alone can ask the kernel which are free. */
export function planVsock(vsock: Vsock, context: PlanContext): Part[] {
  const { cid, model, driver } = vsock;
  const fd = context.requestFd({ kind: 'vhost-vsock' });
  const address = cid?.auto === true ? context.lookup.vsockCid?.() : undefined;
  const props = {
    driver: virtioDeviceName('vhost-vsock', vsock, model),
    ...virtioOptionProps(driver),
    id: vsock.alias?.name,
    'guest-cid': address ?? cid?.address ?? FIRST_FREE_CID,
    vhostfd: String(fd),
    ...addressProps(vsock, context),
  };
  return [{ kind: 'device', props }];
}

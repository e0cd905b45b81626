/** Sockets between guest and host. */
import type { Vsock } from '../../../../model/domain/devices/vsock.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { deviceFamily } from '../family.ts';
import { vsockAddressNeed } from './addresses.ts';
import { planVsock } from './plan.ts';

/** 0 to 2 are the hypervisor, the local machine and the host. */
const LOWEST_GUEST_CID = 3;

export const FAMILY = deviceFamily<Vsock>({
  name: 'vsock',
  select: (domain) => (domain.devices?.vsock === undefined ? [] : [domain.devices.vsock]),
  fillDefaults: (vsock) => {
    vsock.model ??= 'virtio';
    vsock.cid ??= { auto: true };
    vsock.cid.auto ??= vsock.cid.address === undefined;
  },
  validate: validateVsock,
  addressNeed: vsockAddressNeed,
  alias: (_vsock, index) => `vsock${index}`,
  plan: planVsock,
});

function validateVsock(vsock: Vsock, context: DomainContext): void {
  const { cid } = vsock;
  if (!hasDevice(context.caps, 'vhost-vsock-pci') && !hasDevice(context.caps, 'vhost-vsock-ccw')) {
    fault(context, vsock, `${context.caps.binary} has no 'vhost-vsock'`);
  }
  if (cid?.address !== undefined && cid.address < LOWEST_GUEST_CID) {
    fault(context, vsock, `guests have addresses from ${LOWEST_GUEST_CID} on, not ${cid.address}`, 'cid/@address');
  } else if (cid?.auto === false && cid.address === undefined) {
    fault(context, vsock, "give <cid address=…>, or auto='yes'", 'cid');
  }
}

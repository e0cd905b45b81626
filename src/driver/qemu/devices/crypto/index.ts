/** Virtio crypto devices. */
import type { Crypto } from '../../../../model/domain/devices/crypto.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasDevice, hasFeature } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { deviceFamily } from '../family.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { cryptoAddressNeed } from './addresses.ts';

export const FAMILY = deviceFamily<Crypto>({
  name: 'crypto',
  select: (domain) => domain.devices?.cryptos ?? [],
  validate: validateCrypto,
  addressNeed: cryptoAddressNeed,
  alias: (_crypto, index) => `crypto${index}`,
  plan: planCrypto,
});

function planCrypto(crypto: Crypto, context: PlanContext): Part[] {
  const id = crypto.alias?.name;
  const cryptodev = `obj${id ?? ''}`;
  const { model, queues } = crypto.backend;
  return [
    {
      kind: 'object',
      props: { 'qom-type': `cryptodev-backend-${model}`, id: cryptodev, queues: queues === 0 ? undefined : queues },
    },
    {
      kind: 'device',
      props: {
        driver: virtioDeviceName('virtio-crypto', crypto),
        ...virtioOptionProps(crypto.driver),
        cryptodev,
        id,
        ...addressProps(crypto, context),
      },
    },
  ];
}

function validateCrypto(crypto: Crypto, context: DomainContext): void {
  const { caps } = context;
  if (!hasDevice(caps, 'virtio-crypto-pci') && !hasDevice(caps, 'virtio-crypto-device')) {
    fault(context, crypto, 'this QEMU has no virtio crypto device');
  }
  const isMissing =
    crypto.backend.model === 'lkcf'
      ? !hasFeature(caps, 'object-cryptodev-lkcf')
      : !hasDevice(caps, 'cryptodev-backend-builtin');
  if (isMissing) fault(context, crypto, `this QEMU has no crypto backend '${crypto.backend.model}'`, 'backend/@model');
}

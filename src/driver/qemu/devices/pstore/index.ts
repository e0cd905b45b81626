/** Persistent storage for a guest's last messages, kept in a file of the host. */
import type { Pstore } from '../../../../model/domain/devices/pstore.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { deviceFamily } from '../family.ts';
import { pstoreAddressNeed } from './addresses.ts';

const BYTES_PER_KIB = 1024;

export const FAMILY = deviceFamily<Pstore>({
  name: 'pstore',
  select: ({ devices }) => (devices?.pstore === undefined ? [] : [devices.pstore]),
  fillDefaults: (pstore, { domain, layout }) => {
    pstore.path ??= `${layout.roots.lib}/nvram/${domain.name ?? ''}_PSTORE.raw`;
  },
  validate: validatePstore,
  addressNeed: pstoreAddressNeed,
  alias: (_pstore, index) => `pstore${index}`,
  plan: planPstore,
});

function planPstore(pstore: Pstore, context: PlanContext): Part[] {
  const id = pstore.alias?.name ?? '';
  const memdev = `mem${id}`;
  return [
    {
      kind: 'object',
      props: {
        'qom-type': 'memory-backend-file',
        id: memdev,
        'mem-path': pstore.path,
        // What the guest writes must reach the file.
        share: true,
        size: pstore.size * BYTES_PER_KIB,
      },
    },
    { kind: 'device', props: { driver: 'acpi-erst', id, memdev, ...addressProps(pstore, context) } },
  ];
}

function validatePstore(pstore: Pstore, context: DomainContext): void {
  if (!hasDevice(context.caps, 'acpi-erst')) fault(context, pstore, 'this QEMU has no acpi-erst device');
  if (context.domain.features?.acpi !== true) {
    fault(context, pstore, "backend='acpi-erst' needs ACPI: add <acpi/> to <features>", '@backend');
  }
}

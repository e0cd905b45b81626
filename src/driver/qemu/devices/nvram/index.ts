/** NVRAM of pSeries guests, which is part of the machine. UEFI variables are `sections/firmware.ts`. */
import type { Nvram } from '../../../../model/domain/devices/nvram.ts';
import { fault } from '../../context.ts';
import { archOf, machineOf } from '../../machine.ts';
import { deviceFamily } from '../family.ts';

/** Where QEMU's firmware expects it. */
const DEFAULT_REG = 0x3000;

export const FAMILY = deviceFamily<Nvram>({
  name: 'nvram',
  select: ({ devices }) => (devices?.nvram === undefined ? [] : [devices.nvram]),
  fillDefaults: (nvram, { domain }) => {
    if (isPseries(domain)) nvram.address ??= { type: 'spapr-vio', reg: DEFAULT_REG };
  },
  validate: (nvram, context) => {
    if (!isPseries(context.domain)) fault(context, nvram, '<nvram> among the devices needs a pseries machine');
    else if (nvram.address !== undefined && nvram.address.type !== 'spapr-vio') {
      fault(context, nvram, "<nvram> needs an address of type 'spapr-vio'", 'address');
    }
  },
  alias: () => 'nvram',
  plan: ({ address }) => {
    if (address?.type !== 'spapr-vio' || address.reg === undefined) return [];
    return [{ kind: 'option', option: 'global', value: `spapr-nvram.reg=0x${address.reg.toString(16)}` }];
  },
});

function isPseries(domain: Parameters<typeof archOf>[0]): boolean {
  return archOf(domain).startsWith('ppc64') && machineOf(domain).startsWith('pseries');
}

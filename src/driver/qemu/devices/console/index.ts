/**
 * Consoles: virtio and SCLP ones are devices; the first console of type 'serial' only mirrors the first serial port
 * (`definition/console-defaults.ts`) and has no parts of its own.
 */
import type { Console } from '../../../../model/domain/devices/character-device.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { fillChardevDefaults, validateChardev } from '../chardev-rules.ts';
import { deviceFamily } from '../family.ts';
import { consoleAddressNeed } from './addresses.ts';

export const FAMILY = deviceFamily<Console>({
  name: 'console',
  select: (domain) => domain.devices?.consoles ?? [],
  fillDefaults: (device) => {
    delete device.tty;
    fillChardevDefaults(device);
  },
  validate: validateConsole,
  addressNeed: consoleAddressNeed,
  alias: aliasOfConsole,
  plan: planConsole,
});

const DRIVERS: Readonly<Partial<Record<string, string>>> = {
  virtio: 'virtconsole',
  sclp: 'sclpconsole',
  sclplm: 'sclplmconsole',
};

function aliasOfConsole(device: Console, index: number, { domain }: DomainContext): string {
  const mirrored = device.target?.type === 'serial' ? domain.devices?.serials[0] : undefined;
  return mirrored === undefined ? `console${index}` : (mirrored.alias?.name ?? 'serial0');
}

function validateConsole(device: Console, context: DomainContext): void {
  validateChardev(device, context);
  const type = device.target?.type;
  if (type === 'serial') {
    if (context.domain.devices?.consoles[0] !== device) {
      fault(context, device, "only the first console can be a serial port; use a <serial> or type 'virtio'", 'target');
    }
    return;
  }
  const driver = type === undefined ? undefined : DRIVERS[type];
  if (driver === undefined) {
    fault(context, device, `QEMU has no console of type '${type ?? ''}'; use 'virtio' or 'serial'`, 'target/@type');
  } else if (type !== 'virtio' && !hasDevice(context.caps, driver)) {
    fault(context, device, `this QEMU has no device '${driver}'`, 'target/@type');
  }
}

function planConsole(device: Console, context: PlanContext): Part[] {
  const type = device.target?.type;
  const driver = type === undefined ? undefined : DRIVERS[type];
  if (driver === undefined) return [];
  const alias = device.alias?.name ?? '';
  const props = { driver, ...addressProps(device, context), chardev: chardevId(alias), id: alias };
  return [...planChardev(device, alias, context), { kind: 'device', props }];
}

/** A serial port as QEMU's options: the chardev, and a device or, for a board's own port, `-serial`. */
import type { Serial } from '../../../../model/domain/devices/character-device.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { isBoardSerial } from './target.ts';

export function planSerial(serial: Serial, context: PlanContext): Part[] {
  const alias = serial.alias?.name ?? '';
  const spice = context.domain.devices?.graphics.some(({ type }) => type === 'spice') === true;
  // A port of a SPICE server that is not there is left out, as under libvirt.
  if (serial.type === 'spiceport' && !spice && !context.chardevOverrides?.has(alias)) return [];
  const parts = planChardev(serial, alias, context);
  const chardev = chardevId(alias);
  if (isBoardSerial(serial)) return [...parts, { kind: 'option', option: 'serial', value: `chardev:${chardev}` }];
  const model = serial.target?.model?.name;
  const props = {
    driver: model,
    chardev,
    id: alias,
    index: model === 'isa-serial' ? serial.target?.port : undefined,
    ...addressProps(serial, context),
  };
  return [...parts, { kind: 'device', props }];
}

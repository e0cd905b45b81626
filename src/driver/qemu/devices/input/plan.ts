/** Input devices as QEMU's devices, or as the object that passes a host device's events on. */
import type { Input } from '../../../../model/domain/devices/input.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { usbInputName, virtioInputName } from './names.ts';

/** PS/2 devices are part of the machine: they yield nothing. */
export function planInput(input: Input, context: PlanContext): Part[] {
  const id = input.alias?.name;
  const { source, type } = input;
  if (type === 'evdev') {
    const props = {
      'qom-type': 'input-linux',
      id,
      evdev: source?.dev,
      repeat: source?.repeat,
      grab_all: source?.grab === 'all' ? true : undefined,
      'grab-toggle': source?.grabToggle,
    };
    return [{ kind: 'object', props }];
  }
  if (input.bus === 'virtio') {
    const props = {
      driver: virtioDeviceName(virtioInputName(type), input, input.model),
      ...virtioOptionProps(input.driver),
      id,
      evdev: type === 'passthrough' ? source?.evdev : undefined,
      ...addressProps(input, context),
    };
    return [{ kind: 'device', props }];
  }
  if (input.bus !== 'usb' || type === 'passthrough') return [];
  return [{ kind: 'device', props: { driver: usbInputName(type), id, ...addressProps(input, context) } }];
}

/** `<input>`: a mouse, tablet or keyboard of the guest, or one of the host's passed on to it. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, onOff, text } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriver } from './address.ts';

/** Key combinations that give the host's device to the guest and back. */
export const GRAB_TOGGLES = [
  'ctrl-ctrl',
  'alt-alt',
  'shift-shift',
  'meta-meta',
  'scrolllock',
  'ctrl-scrolllock',
] as const;

const source = struct(() => ({
  evdev: attr(text),
  dev: attr(text),
  grab: attr(oneOf('all')),
  grabToggle: attr(oneOf(...GRAB_TOGGLES)),
  repeat: attr(onOff),
}));

export const input = struct(() => ({
  type: required(attr(oneOf('mouse', 'tablet', 'keyboard', 'passthrough', 'evdev'))),
  bus: attr(oneOf('default', 'ps2', 'usb', 'xen', 'parallels', 'virtio', 'none')),
  model: attr(oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional')),
  driver: child(virtioDriver),
  ...deviceInfoFields,
  source: child(source),
}));
export interface Input extends Infer<typeof input> {}

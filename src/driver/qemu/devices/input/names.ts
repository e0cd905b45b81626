/** QEMU's names of input devices. */
import type { Input } from '../../../../model/domain/devices/input.ts';

const VIRTIO_NAMES = {
  mouse: 'virtio-mouse',
  tablet: 'virtio-tablet',
  keyboard: 'virtio-keyboard',
  passthrough: 'virtio-input-host',
} as const;
const USB_NAMES = { mouse: 'usb-mouse', tablet: 'usb-tablet', keyboard: 'usb-kbd' } as const;

/** Name of a virtio input device without its transport. */
export function virtioInputName(type: Exclude<Input['type'], 'evdev'>): string {
  return VIRTIO_NAMES[type];
}

export function usbInputName(type: 'mouse' | 'tablet' | 'keyboard'): string {
  return USB_NAMES[type];
}

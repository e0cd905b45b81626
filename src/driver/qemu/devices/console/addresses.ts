/** Where consoles sit: a virtio one takes the port that it names, or whatever port QEMU gives it. */
import type { Console } from '../../../../model/domain/devices/character-device.ts';
import type { AddressNeed } from '../../addresses/need.ts';

export function consoleAddressNeed(console: Console): AddressNeed | undefined {
  const wanted = console.target?.type === 'virtio' && console.address?.type === 'virtio-serial';
  return wanted ? { type: 'virtio-serial', allowZero: true } : undefined;
}

/** What libvirt and QEMU refuse of sound cards. */
import type { Sound } from '../../../../model/domain/devices/sound.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { validateAudioReference } from '../audio/index.ts';
import { SOUND_NAMES } from './names.ts';

export function validateSound(sound: Sound, context: DomainContext): void {
  const { caps } = context;
  const name = SOUND_NAMES[sound.model];
  if (sound.model === 'ich7') {
    fault(context, sound, "QEMU has no sound card model 'ich7': use ich9 or ich6", '@model');
  } else if (name !== undefined && !isThere(sound, name, context)) {
    fault(context, sound, `${caps.binary} has no sound card '${name}': choose another model`, '@model');
  }
  if (sound.multichannel !== undefined && sound.model !== 'usb') {
    fault(context, sound, "multichannel goes with model 'usb' only", '@multichannel');
  }
  if (sound.model !== 'virtio') {
    if (sound.streams !== undefined) fault(context, sound, "streams go with model 'virtio' only", '@streams');
    if (sound.driver !== undefined) fault(context, sound, "virtio options go with model 'virtio' only", 'driver');
  }
  validateAudioReference(sound, sound.audio, context);
}

function isThere(sound: Sound, name: string, { caps }: DomainContext): boolean {
  if (sound.model !== 'virtio') return hasDevice(caps, name);
  return ['pci', 'device', 'ccw'].some((transport) => hasDevice(caps, `${name}-${transport}`));
}

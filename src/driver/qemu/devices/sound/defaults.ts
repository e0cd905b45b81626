/** What libvirt fills into a sound card. */
import type { Sound } from '../../../../model/domain/devices/sound.ts';

/** One for playing and one for recording. */
const DEFAULT_STREAMS = 2;

export function fillSoundDefaults(sound: Sound): void {
  if (sound.model === 'virtio') sound.streams ??= DEFAULT_STREAMS;
}

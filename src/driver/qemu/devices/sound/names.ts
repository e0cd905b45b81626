/** QEMU's names of sound cards. Those that are missing are no devices (PC speaker) or not QEMU's (ich7). */
import type { Sound } from '../../../../model/domain/devices/sound.ts';

/** virtio's name is without its transport. */
export const SOUND_NAMES: { readonly [M in Sound['model']]?: string } = {
  sb16: 'sb16',
  es1370: 'ES1370',
  ac97: 'AC97',
  ich6: 'intel-hda',
  ich9: 'ich9-intel-hda',
  usb: 'usb-audio',
  virtio: 'virtio-sound',
};

/** Whether the card is a High Definition Audio controller, which plays through codecs. */
export function hasCodecs(sound: Sound): boolean {
  return sound.model === 'ich6' || sound.model === 'ich9';
}

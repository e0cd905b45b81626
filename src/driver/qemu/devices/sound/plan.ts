/** Sound cards as QEMU's devices, and the codecs of those that have some. */
import type { Sound } from '../../../../model/domain/devices/sound.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { audiodevId } from '../audio/index.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { hasCodecs, SOUND_NAMES } from './names.ts';

/** The PC speaker is the machine's (`-machine pcspk-audiodev=`): it yields nothing. */
export function planSound(sound: Sound, context: PlanContext): Part[] {
  const name = SOUND_NAMES[sound.model];
  if (name === undefined) return [];
  const isVirtio = sound.model === 'virtio';
  const card: Part = {
    kind: 'device',
    props: {
      driver: isVirtio ? virtioDeviceName(name, sound) : name,
      ...(isVirtio ? virtioOptionProps(sound.driver) : {}),
      id: sound.alias?.name,
      audiodev: hasCodecs(sound) ? undefined : audiodevId(context.domain, sound.audio),
      multi: sound.model === 'usb' ? sound.multichannel : undefined,
      streams: isVirtio ? sound.streams : undefined,
      ...(sound.model === 'sb16' ? {} : addressProps(sound, context)),
    },
  };
  return hasCodecs(sound) ? [card, ...planCodecs(sound, context)] : [card];
}

/** A card without codecs gets one that plays and records. */
function planCodecs(sound: Sound, context: PlanContext): Part[] {
  const codecs = sound.codecs.length === 0 ? [{ type: 'duplex' }] : sound.codecs;
  const card = sound.alias?.name ?? '';
  return codecs.map(({ type }, index) => ({
    kind: 'device',
    props: {
      driver: `hda-${type}`,
      id: `${card}-codec${index}`,
      bus: `${card}.0`,
      cad: index,
      audiodev: audiodevId(context.domain, sound.audio),
    },
  }));
}

/** `<sound>`: a sound card as the guest sees it. Where its sound goes is an `<audio>` back end. */
import { attr, child, children, type Infer, required, struct } from '../../schema/schema.ts';
import { integer, oneOf, yesNo } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriver } from './address.ts';

/** Models of all hypervisors. */
export const SOUND_MODELS = ['sb16', 'es1370', 'pcspk', 'ac97', 'ich6', 'ich9', 'usb', 'ich7', 'virtio'] as const;

const codec = struct(() => ({ type: required(attr(oneOf('duplex', 'micro', 'output'))) }));
/** `<audio id='N'/>`: which back end a device uses. */
export const audioReference = struct(() => ({ id: required(attr(integer({ min: 1, max: 0xffff_ffff }))) }));

export const sound = struct(() => ({
  model: required(attr(oneOf(...SOUND_MODELS))),
  multichannel: attr(yesNo),
  streams: attr(integer({ min: 1, max: 0xffff_ffff })),
  codecs: children(codec, 'codec'),
  audio: child(audioReference),
  ...deviceInfoFields,
  driver: child(virtioDriver),
}));
export interface Sound extends Infer<typeof sound> {}

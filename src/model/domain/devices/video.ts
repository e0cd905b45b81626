/** `<video>`: a graphics card as the guest sees it. How its picture gets out is `<graphics>`. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, onOff, text, uint, yesNo } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriverFields } from './address.ts';

/** Models of all hypervisors; `default` is the machine's own choice. */
export const VIDEO_TYPES = [
  'default',
  'vga',
  'cirrus',
  'vmvga',
  'xen',
  'vbox',
  'qxl',
  'parallels',
  'virtio',
  'gop',
  'none',
  'bochs',
  'ramfb',
] as const;
export type VideoType = (typeof VIDEO_TYPES)[number];

const acceleration = struct(() => ({ accel2d: attr(yesNo), accel3d: attr(yesNo), rendernode: attr(text) }));
const resolution = struct(() => ({ x: required(attr(uint)), y: required(attr(uint)) }));

/** Memory sizes are in KiB. */
const model = struct(() => ({
  type: attr(oneOf(...VIDEO_TYPES)),
  ram: attr(uint),
  vram: attr(uint),
  vram64: attr(uint),
  vgamem: attr(uint),
  heads: attr(uint),
  primary: attr(yesNo),
  blob: attr(onOff),
  acceleration: child(acceleration),
  resolution: child(resolution),
}));
export interface VideoModel extends Infer<typeof model> {}

const driver = struct(() => ({
  ...virtioDriverFields,
  name: attr(oneOf('qemu', 'vhostuser')),
  vgaconf: attr(oneOf('io', 'on', 'off')),
}));

export const video = struct(() => ({
  driver: child(driver),
  model: child(model),
  ...deviceInfoFields,
}));
export interface Video extends Infer<typeof video> {}

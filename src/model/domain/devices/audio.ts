/**
 * `<audio>`: a back end on the host that the guest's sound cards and displays play to and record from. Attributes of
 * all back ends stand side by side, as in the XML; which belong to which is checked by the driver.
 */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { int, integer, oneOf, text, uint, yesNo } from '../../schema/values.ts';

export const AUDIO_TYPES = [
  'none',
  'alsa',
  'coreaudio',
  'jack',
  'oss',
  'pulseaudio',
  'sdl',
  'spice',
  'file',
  'dbus',
  'pipewire',
] as const;
export type AudioType = (typeof AUDIO_TYPES)[number];

const positive = integer({ min: 1, max: 0xffff_ffff });
const settings = struct(() => ({
  frequency: attr(positive),
  channels: attr(positive),
  format: attr(oneOf('s8', 'u8', 's16', 'u16', 's32', 'u32', 'f32')),
}));

const stream = struct(() => ({
  mixingEngine: attr(yesNo),
  fixedSettings: attr(yesNo),
  voices: attr(positive),
  bufferLength: attr(positive),
  dev: attr(text),
  bufferCount: attr(uint),
  tryPoll: attr(yesNo),
  serverName: attr(text),
  clientName: attr(text),
  connectPorts: attr(text),
  exactName: attr(yesNo),
  name: attr(text),
  streamName: attr(text),
  latency: attr(uint),
  settings: child(settings),
}));
/** One direction of a back end: `<input>` or `<output>`. Lengths and latencies are in microseconds. */
export interface AudioStream extends Infer<typeof stream> {}

export const audio = struct(() => ({
  id: required(attr(integer({ min: 1, max: 0xffff_ffff }))),
  type: required(attr(oneOf(...AUDIO_TYPES))),
  timerPeriod: attr(positive),
  tryMMap: attr(yesNo),
  exclusive: attr(yesNo),
  dspPolicy: attr(int),
  serverName: attr(text),
  runtimeDir: attr(text),
  driver: attr(oneOf('esd', 'alsa', 'arts', 'pulseaudio')),
  path: attr(text),
  input: child(stream),
  output: child(stream),
}));
export interface Audio extends Infer<typeof audio> {}

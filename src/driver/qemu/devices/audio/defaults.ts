/** Which audio back end a guest gets that names none, and which attributes of a named one count. */
import type { Audio, AudioStream, AudioType } from '../../../../model/domain/devices/audio.ts';
import { devicesOf } from '../../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import type { DomainContext } from '../../context.ts';
import { AUDIO_BACKENDS, COMMON_STREAM_SETTINGS } from './backend.ts';

/** Adds the default back end, and drops attributes that belong to other kinds of back end, as libvirt does. */
export function fillAudioDefaults({ domain }: DomainContext): void {
  const { audios } = devicesOf(domain);
  const type = audios.length === 0 ? defaultAudioType(domain) : undefined;
  if (type !== undefined) audios.push({ id: 1, type });
  for (const audio of audios) dropForeignSettings(audio);
}

/**
 * SPICE carries sound; VNC and guests without a display are silent. Where the screen is only a window or on D-Bus
 * nothing is added, unless there is a sound card, which cannot do without.
 */
function defaultAudioType({ devices }: Domain): AudioType | undefined {
  const types = new Set(devices?.graphics.map(({ type }) => type));
  if (types.has('spice')) return 'spice';
  if (types.size === 0 || types.has('vnc')) return 'none';
  return devices?.sounds.length === 0 ? undefined : 'none';
}

/** The back end with that id; without an id the first one. */
export function findAudio(domain: Domain, id: number | undefined): Audio | undefined {
  const audios = domain.devices?.audios ?? [];
  return id === undefined ? audios[0] : audios.find((audio) => audio.id === id);
}

/** QEMU's id of the back end that a device with this reference uses; undefined: there is none. */
export function audiodevId(domain: Domain, reference: { id: number } | undefined): string | undefined {
  const audio = findAudio(domain, reference?.id);
  return audio === undefined ? undefined : `audio${audio.id}`;
}

function dropForeignSettings(audio: Audio): void {
  const backend = AUDIO_BACKENDS[audio.type];
  const own = new Set<string>(backend.settings.map(([key]) => key));
  if (backend.environment !== undefined) own.add(backend.environment[0]);
  for (const key of ['tryMMap', 'exclusive', 'dspPolicy', 'serverName', 'runtimeDir', 'driver', 'path'] as const) {
    if (!own.has(key)) delete audio[key];
  }
  const streamKeys = new Set<string>([...COMMON_STREAM_SETTINGS, ...backend.stream].map(([key]) => key));
  dropForeignStreamSettings(audio.input, streamKeys);
  dropForeignStreamSettings(audio.output, streamKeys);
}

function dropForeignStreamSettings(stream: AudioStream | undefined, own: ReadonlySet<string>): void {
  if (stream === undefined) return;
  for (const key of Object.keys(stream)) {
    if (key !== 'settings' && !own.has(key)) delete stream[key as keyof AudioStream];
  }
}

/** Audio back ends as `-audiodev`. */
import type { Audio, AudioStream } from '../../../../model/domain/devices/audio.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props, PropValue } from '../../plan/props.ts';
import { AUDIO_BACKENDS, type AudioBackend, COMMON_STREAM_SETTINGS } from './backend.ts';

/** One part a back end. Comes before the displays and sound cards that refer to them. */
export function planAudio(context: PlanContext): Part[] {
  return (context.domain.devices?.audios ?? []).map((audio) => planBackend(audio, context));
}

function planBackend(audio: Audio, context: PlanContext): Part {
  const backend = AUDIO_BACKENDS[audio.type];
  const { environment } = backend;
  if (environment !== undefined) {
    const value = audio[environment[0]];
    if (value !== undefined) context.environment[environment[1]] = String(value);
  }
  const settings: Record<string, PropValue | undefined> = {};
  for (const [key, property] of backend.settings) settings[property] = audio[key];
  return {
    kind: 'audiodev',
    props: {
      id: `audio${audio.id}`,
      driver: backend.driver,
      'timer-period': positive(audio.timerPeriod),
      ...settings,
      in: streamProps(audio.input, backend),
      out: streamProps(audio.output, backend),
    },
  };
}

function streamProps(stream: AudioStream | undefined, backend: AudioBackend): Props | undefined {
  if (stream === undefined) return undefined;
  const props: Record<string, PropValue | undefined> = {};
  for (const [key, property] of COMMON_STREAM_SETTINGS) props[property] = positive(stream[key]);
  props.frequency = positive(stream.settings?.frequency);
  props.channels = positive(stream.settings?.channels);
  props.format = stream.settings?.format;
  for (const [key, property] of backend.stream) props[property] = positive(stream[key]);
  return Object.values(props).every((value) => value === undefined) ? undefined : props;
}

/** 0 means "not given" in libvirt's format, as nothing here can be 0. */
function positive<T extends string | number | boolean>(value: T | undefined): T | undefined {
  return value === 0 ? undefined : value;
}

/** What each audio back end of QEMU understands: its name, and its settings beside those that all have. A table. */
import type { Audio, AudioStream, AudioType } from '../../../../model/domain/devices/audio.ts';

/** XML attribute and QEMU property of one setting. */
type Setting<K> = readonly [key: K, property: string];
type AudioKey = Exclude<keyof Audio, 'id' | 'type' | 'timerPeriod' | 'input' | 'output'>;
type StreamKey = Exclude<keyof AudioStream, 'settings'>;

export interface AudioBackend {
  /** QEMU's name of it. */
  readonly driver: string;
  /** Settings of the back end as a whole. */
  readonly settings: readonly Setting<AudioKey>[];
  /** Settings of one direction. */
  readonly stream: readonly Setting<StreamKey>[];
  /** Environment variable that one attribute of the XML is passed in. */
  readonly environment?: Setting<AudioKey>;
}

const BUFFER_COUNT: Setting<StreamKey> = ['bufferCount', 'buffer-count'];
const SERVER_STREAM: readonly Setting<StreamKey>[] = [
  ['name', 'name'],
  ['streamName', 'stream-name'],
  ['latency', 'latency'],
];

export const AUDIO_BACKENDS: { readonly [T in AudioType]: AudioBackend } = {
  none: { driver: 'none', settings: [], stream: [] },
  alsa: { driver: 'alsa', settings: [], stream: [['dev', 'dev']] },
  coreaudio: { driver: 'coreaudio', settings: [], stream: [BUFFER_COUNT] },
  jack: {
    driver: 'jack',
    settings: [],
    stream: [
      ['serverName', 'server-name'],
      ['clientName', 'client-name'],
      ['connectPorts', 'connect-ports'],
      ['exactName', 'exact-name'],
    ],
  },
  oss: {
    driver: 'oss',
    settings: [
      ['tryMMap', 'try-mmap'],
      ['exclusive', 'exclusive'],
      ['dspPolicy', 'dsp-policy'],
    ],
    stream: [['dev', 'dev'], BUFFER_COUNT, ['tryPoll', 'try-poll']],
  },
  pulseaudio: { driver: 'pa', settings: [['serverName', 'server']], stream: SERVER_STREAM },
  sdl: { driver: 'sdl', settings: [], stream: [BUFFER_COUNT], environment: ['driver', 'SDL_AUDIODRIVER'] },
  spice: { driver: 'spice', settings: [], stream: [] },
  file: { driver: 'wav', settings: [['path', 'path']], stream: [] },
  dbus: { driver: 'dbus', settings: [], stream: [] },
  pipewire: {
    driver: 'pipewire',
    settings: [],
    stream: SERVER_STREAM,
    environment: ['runtimeDir', 'PIPEWIRE_RUNTIME_DIR'],
  },
};

/** Settings that every back end's directions have. */
export const COMMON_STREAM_SETTINGS: readonly Setting<StreamKey>[] = [
  ['mixingEngine', 'mixing-engine'],
  ['fixedSettings', 'fixed-settings'],
  ['voices', 'voices'],
  ['bufferLength', 'buffer-length'],
];

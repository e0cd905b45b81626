import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AUDIO_TYPES } from '../../../../model/domain/devices/audio.ts';
import { formatDomain } from '../../../../model/domain/domain.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { fillAudioDefaults, planAudio, validateAudio } from './index.ts';

function bench(xml: string, options: Partial<BenchOptions> = {}) {
  const { context, domain } = benchDevices(xml, { families: [], ...options });
  fillAudioDefaults(context);
  validateAudio(context);
  const props = planAudio(context).map((part) => ('props' in part ? part.props : {}));
  return { props, context, domain, faults: context.faults.faults.map(({ message }) => message) };
}

describe('audio', () => {
  it.each([
    ['', ['none']],
    ["<graphics type='vnc'/>", ['none']],
    ["<graphics type='spice'/>", ['spice']],
    ["<graphics type='vnc'/><graphics type='spice'/>", ['spice']],
    ["<graphics type='sdl'/>", []],
    ["<graphics type='dbus'/>", []],
    ["<graphics type='sdl'/><sound model='ac97'/>", ['none']],
    ["<graphics type='spice'/><audio id='3' type='oss'/>", ['oss']],
  ])('gives a guest with %s the back end %j', (xml, expected) => {
    expect(bench(xml).props.map(({ driver }) => driver)).toEqual(expected);
  });

  it('passes every setting on under its name in QEMU', () => {
    const { props, faults, context } = bench(
      `<audio id='1' type='jack' timerPeriod='40'>
         <input serverName='s' clientName='c' connectPorts='p.*' exactName='yes'/></audio>
       <audio id='2' type='pulseaudio' serverName='host'>
         <output mixingEngine='yes' fixedSettings='yes' voices='2' bufferLength='9' name='n' streamName='m' latency='5'>
           <settings frequency='8000' channels='1' format='u8'/></output></audio>
       <audio id='4' type='oss' tryMMap='no' dspPolicy='-1'><input tryPoll='no' dev='/dev/dsp'/></audio>
       <audio id='5' type='file' path='/tmp/a.wav'/>
       <audio id='6' type='sdl' driver='pulseaudio'><output bufferCount='3'/></audio>
       <audio id='7' type='pipewire' runtimeDir='/run/user/0'/>`,
    );
    expect(faults).toEqual([]);
    expect(JSON.parse(JSON.stringify(props))).toEqual([
      {
        id: 'audio1',
        driver: 'jack',
        'timer-period': 40,
        in: { 'server-name': 's', 'client-name': 'c', 'connect-ports': 'p.*', 'exact-name': true },
      },
      {
        id: 'audio2',
        driver: 'pa',
        server: 'host',
        out: {
          'mixing-engine': true,
          'fixed-settings': true,
          voices: 2,
          'buffer-length': 9,
          frequency: 8000,
          channels: 1,
          format: 'u8',
          name: 'n',
          'stream-name': 'm',
          latency: 5,
        },
      },
      { id: 'audio4', driver: 'oss', 'try-mmap': false, 'dsp-policy': -1, in: { 'try-poll': false, dev: '/dev/dsp' } },
      { id: 'audio5', driver: 'wav', path: '/tmp/a.wav' },
      { id: 'audio6', driver: 'sdl', out: { 'buffer-count': 3 } },
      { id: 'audio7', driver: 'pipewire' },
    ]);
    expect(context.environment).toEqual({ SDL_AUDIODRIVER: 'pulseaudio', PIPEWIRE_RUNTIME_DIR: '/run/user/0' });
  });

  it('drops settings of other back ends', () => {
    const { domain, props } = bench("<audio id='1' type='alsa' path='/x'><input dev='/d' tryPoll='yes'/></audio>");
    expect(props).toEqual([expect.objectContaining({ in: expect.objectContaining({ dev: '/d' }) })]);
    expect(formatDomain(domain)).toContain("<audio id='1' type='alsa'>\n      <input dev='/d'/>\n    </audio>");
  });

  it.each<[string, RegExp, Partial<BenchOptions>?]>([
    ["<audio id='1' type='none'/><audio id='1' type='oss'/>", /used twice/],
    ["<audio id='1' type='alsa'><input fixedSettings='yes'/></audio>", /mixing engine/],
    ["<audio id='1' type='alsa'><output><settings channels='2'/></output></audio>", /unless they are fixed/],
    ["<audio id='1' type='spice'/>", /SPICE graphics/],
    ["<audio id='1' type='dbus'/>", /no D-Bus audio/, { without: ['display-dbus'] }],
    ["<audio id='1' type='pipewire'/>", /no PipeWire audio/, { without: ['audiodev-pipewire'] }],
  ])('refuses %s', (xml, message, options) => {
    expect(bench(xml, options).faults.join('\n')).toMatch(message);
  });

  it('plans any number of back ends of any kind', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...AUDIO_TYPES), { minLength: 1, maxLength: 6 }), (types) => {
        const xml = types.map((type, index) => `<audio id='${index + 1}' type='${type}'/>`).join('');
        const { props } = bench(xml);
        expect(props.map(({ id }) => id)).toEqual(types.map((_, index) => `audio${index + 1}`));
      }),
      { numRuns: 30 },
    );
  });
});

import { describe, expect, it } from 'vitest';
import { formatDomain } from '../../../../model/domain/domain.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { FAMILY } from './index.ts';

const TYPES = ['sb16', 'ES1370', 'AC97', 'intel-hda', 'ich9-intel-hda', 'usb-audio', 'virtio-sound-pci'];
const AUDIO = "<audio id='2' type='none'/><audio id='5' type='alsa'/>";
const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml + AUDIO, { families: [FAMILY], types: TYPES, ...options });

describe('sound', () => {
  it.each([
    ["<sound model='pcspk'/>", []],
    ["<sound model='sb16'/>", ['-device {"driver":"sb16","id":"sound0","audiodev":"audio2"}']],
    ["<sound model='ac97'><audio id='5'/></sound>", ['-device {"driver":"AC97","id":"sound0","audiodev":"audio5"}']],
    [
      "<sound model='usb' multichannel='yes'/>",
      ['-device {"driver":"usb-audio","id":"sound0","audiodev":"audio2","multi":true}'],
    ],
    [
      "<sound model='virtio'><driver packed='on'/></sound>",
      ['-device {"driver":"virtio-sound-pci","packed":true,"id":"sound0","audiodev":"audio2","streams":2}'],
    ],
    [
      "<sound model='ich6'/>",
      [
        '-device {"driver":"intel-hda","id":"sound0"}',
        '-device {"driver":"hda-duplex","id":"sound0-codec0","bus":"sound0.0","cad":0,"audiodev":"audio2"}',
      ],
    ],
    [
      "<sound model='ich9'><codec type='micro'/><codec type='output'/><audio id='5'/></sound>",
      [
        '-device {"driver":"ich9-intel-hda","id":"sound0"}',
        '-device {"driver":"hda-micro","id":"sound0-codec0","bus":"sound0.0","cad":0,"audiodev":"audio5"}',
        '-device {"driver":"hda-output","id":"sound0-codec1","bus":"sound0.0","cad":1,"audiodev":"audio5"}',
      ],
    ],
  ])('plans %s', (xml, expected) => {
    const { args, faults } = bench(xml);
    expect(faults).toEqual([]);
    expect(args).toEqual(expected);
  });

  it.each<[string, RegExp, Partial<BenchOptions>?]>([
    ["<sound model='ich7'/>", /no sound card model 'ich7'/],
    ["<sound model='usb'/>", /no sound card 'usb-audio'/, { types: [] }],
    ["<sound model='virtio'/>", /no sound card 'virtio-sound'/, { types: [] }],
    ["<sound model='ac97' multichannel='yes'/>", /multichannel/],
    ["<sound model='ac97' streams='2'/>", /streams/],
    ["<sound model='ac97'><driver iommu='on'/></sound>", /virtio options/],
    ["<sound model='ac97'><audio id='9'/></sound>", /no audio back end with id 9/],
  ])('refuses %s', (xml, message, options) => {
    expect(bench(xml, options).faults.join('\n')).toMatch(message);
  });

  it('writes what it has read', () => {
    const xml = `    <sound model='ich9'>
      <codec type='duplex'/>
      <audio id='5'/>
    </sound>`;
    expect(formatDomain(bench(xml, { families: [] }).domain)).toContain(xml);
  });
});

import { describe, expect, it } from 'vitest';
import { formatDomain } from '../../../../model/domain/domain.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { FAMILY } from './index.ts';

const TYPES = ['input-linux', 'virtio-mouse-pci', 'virtio-tablet-pci', 'virtio-keyboard-pci', 'virtio-input-host-pci'];
const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, { families: [FAMILY], types: TYPES, ...options });

describe('input', () => {
  it.each([
    ['x86_64', 'mouse', 'ps2'],
    ['x86_64', 'keyboard', 'ps2'],
    ['x86_64', 'tablet', 'usb'],
    ['aarch64', 'keyboard', 'usb'],
    ['s390x', 'mouse', 'virtio'],
    ['x86_64', 'passthrough', 'virtio'],
    ['x86_64', 'evdev', undefined],
  ])('on %s a %s is on %s', (arch, type, bus) => {
    expect(bench(`<input type='${type}'/>`, { arch }).domain.devices?.inputs[0]?.bus).toBe(bus);
  });

  it.each([
    ["<input type='mouse' bus='ps2'/>", []],
    ["<input type='tablet' bus='usb'/>", ['-device {"driver":"usb-tablet","id":"input0"}']],
    ["<input type='keyboard' bus='usb'/>", ['-device {"driver":"usb-kbd","id":"input0"}']],
    [
      "<input type='keyboard' bus='virtio'><driver iommu='on' packed='off'/></input>",
      ['-device {"driver":"virtio-keyboard-pci","iommu_platform":true,"packed":false,"id":"input0"}'],
    ],
    [
      "<input type='passthrough' bus='virtio' model='virtio-transitional'><source evdev='/dev/input/a,b'/></input>",
      ['-device {"driver":"virtio-input-host-pci-transitional","id":"input0","evdev":"/dev/input/a,b"}'],
    ],
    [
      "<input type='evdev'><source dev='/dev/input/e' grab='all' grabToggle='scrolllock' repeat='off'/></input>",
      [
        '-object {"qom-type":"input-linux","id":"input0","evdev":"/dev/input/e","repeat":false,"grab_all":true,"grab-toggle":"scrolllock"}',
      ],
    ],
  ])('plans %s', (xml, expected) => {
    const { args, faults } = bench(xml);
    expect(faults).toEqual([]);
    expect(args).toEqual(expected);
  });

  it.each<[string, RegExp, Partial<BenchOptions>?]>([
    ["<input type='tablet' bus='ps2'/>", /bus 'ps2' has no tablet/],
    ["<input type='mouse' bus='xen'/>", /no input bus 'xen'/],
    ["<input type='evdev' bus='usb'><source dev='/d'/></input>", /takes no bus/],
    ["<input type='evdev'/>", /<source dev=/],
    ["<input type='passthrough' bus='usb'><source evdev='/d'/></input>", /needs bus='virtio'/],
    ["<input type='passthrough'/>", /<source evdev=/],
    ["<input type='mouse' bus='virtio'><source evdev='/d'/></input>", /'passthrough' or 'evdev' only/],
    ["<input type='mouse' bus='virtio' model='virtio-transitional'/>", /no transitional models/],
    ["<input type='mouse' bus='virtio'/>", /has no virtio-mouse/, { types: [] }],
    ["<controller type='usb' model='none'/><input type='tablet'/>", /no USB/],
  ])('refuses %s', (xml, message, options) => {
    expect(bench(xml, options).faults.join('\n')).toMatch(message);
  });

  it('writes what it has read', () => {
    const xml = `    <input type='evdev'>
      <source dev='/dev/input/e' grab='all' grabToggle='alt-alt' repeat='on'/>
    </input>`;
    expect(formatDomain(bench(xml, { families: [] }).domain)).toContain(xml);
  });
});

import { describe, expect, it } from 'vitest';
import { formatDomain } from '../../../../model/domain/domain.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { FAMILY } from './index.ts';

const TYPES = [
  'VGA',
  'cirrus-vga',
  'vmware-svga',
  'qxl',
  'qxl-vga',
  'virtio-vga',
  'virtio-vga-gl',
  'virtio-gpu-pci',
].concat(['virtio-gpu-gl-pci', 'bochs-display', 'ramfb', 'vhost-user-vga', 'vhost-user-gpu', 'vhost-user-gpu-pci']);
const PROPERTIES = { 'virtio-gpu-pci': ['blob'] };

const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, { families: [FAMILY], types: TYPES, properties: PROPERTIES, ...options });
const video = (attributes: string, inside = '') => `<video><model ${attributes}>${inside}</model></video>`;

/** Properties of the cards without what is undefined. */
const cardsOf = (xml: string, options?: Partial<BenchOptions>) => {
  const { parts, faults } = bench(xml, options);
  expect(faults).toEqual([]);
  return parts.flatMap((part) => (part.kind === 'device' ? [JSON.parse(JSON.stringify(part.props))] : []));
};

describe('video', () => {
  it.each([
    [{}, 'cirrus'],
    [{ types: ['VGA'] }, 'vga'],
    [{ arch: 'aarch64', machine: 'virt' }, 'virtio'],
    [{ arch: 'ppc64', machine: 'pseries' }, 'vga'],
    [{ arch: 's390x', machine: 's390-ccw-virtio' }, 'virtio'],
  ])('chooses the model on %j', (options: Partial<BenchOptions>, type) => {
    expect(bench('<video/>', options).domain.devices?.videos[0]?.model?.type).toBe(type);
  });

  it('fills in memory, heads and the primary card, which comes first', () => {
    const { domain } = bench(
      video("type='virtio'") + video("type='qxl' vram='40000' primary='yes'") + video("type='qxl'"),
    );
    const models = domain.devices?.videos.map(({ model }) => JSON.stringify(model));
    expect(models).toEqual([
      JSON.stringify({ type: 'qxl', vram: 65536, primary: true, heads: 1, vgamem: 16384, ram: 65536 }),
      JSON.stringify({ type: 'virtio', heads: 1 }),
      JSON.stringify({ type: 'qxl', heads: 1, vgamem: 16384, ram: 65536, vram: 65536 }),
    ]);
  });

  it.each([
    [video("type='vga'"), { driver: 'VGA', id: 'video0', vgamem_mb: 16 }],
    [video("type='vmvga' vram='8192'"), { driver: 'vmware-svga', id: 'video0', vgamem_mb: 8 }],
    [video("type='cirrus'"), { driver: 'cirrus-vga', id: 'video0' }],
    [video("type='bochs'"), { driver: 'bochs-display', id: 'video0', vgamem: 16777216 }],
    [video("type='ramfb'"), { driver: 'ramfb', id: 'video0' }],
    [
      video("type='virtio' heads='2' blob='on'", "<resolution x='800' y='600'/>"),
      { driver: 'virtio-vga', id: 'video0', max_outputs: 2, blob: true, xres: 800, yres: 600 },
    ],
    [
      video("type='virtio'", "<acceleration accel3d='yes'/>"),
      { driver: 'virtio-vga-gl', id: 'video0', max_outputs: 1 },
    ],
    [
      video("type='qxl' vram64='131072'"),
      {
        driver: 'qxl-vga',
        id: 'video0',
        max_outputs: 1,
        ram_size: 67108864,
        vram_size: 67108864,
        vram64_size_mb: 128,
        vgamem_mb: 16,
      },
    ],
  ])('plans %s', (xml, expected) => {
    expect(cardsOf(xml)).toEqual([expected]);
  });

  it('gives only the primary card VGA, and that only where QEMU has it', () => {
    const xml = video("type='virtio'") + video("type='virtio'");
    expect(cardsOf(xml).map(({ driver }) => driver)).toEqual(['virtio-vga', 'virtio-gpu-pci']);
    expect(cardsOf(xml, { types: ['virtio-gpu-pci'] }).map(({ driver }) => driver)).toEqual([
      'virtio-gpu-pci',
      'virtio-gpu-pci',
    ]);
  });

  it('knows 3D of old QEMUs as a property', () => {
    const xml = video("type='virtio'", "<acceleration accel3d='yes'/>");
    const old = { types: ['virtio-gpu-pci'], properties: { 'virtio-gpu-pci': ['virgl'] } };
    expect(cardsOf(xml, old)).toEqual([{ driver: 'virtio-gpu-pci', id: 'video0', virgl: true, max_outputs: 1 }]);
  });

  it('starts a drawing process for vhost-user, connected to QEMU', () => {
    const xml = `<video><driver name='vhostuser'/><model type='virtio'>
      <acceleration accel3d='yes' rendernode='/dev/dri/x y'/></model></video>`;
    const { args, context, faults } = bench(xml);
    expect(faults).toEqual([]);
    expect(args).toEqual([
      '-chardev socket,id=chr-vu-video0,fd=3',
      '-device {"driver":"vhost-user-vga","id":"video0","max_outputs":1,"chardev":"chr-vu-video0"}',
    ]);
    expect(context.helpers[0]).toMatchObject({
      command: 'vhost-user-gpu',
      args: ['--fd=3', '--virgl', '--render-node', '/dev/dri/x y'],
      fds: context.fds,
    });
  });

  it('keeps nothing of a card that says that there is none', () => {
    const { domain, parts } = bench(video("type='none' heads='3' vram='5'"));
    expect(parts).toEqual([]);
    expect(formatDomain(domain)).toContain("<model type='none'/>");
  });

  it.each<[string, RegExp, Partial<BenchOptions>?]>([
    [video("type='vbox'"), /no video model 'vbox'/],
    [video("type='qxl'"), /no video model 'qxl'/, { types: ['VGA'] }],
    [video("type='none'") + video("type='vga'"), /remove it or the others/],
    [video("type='vga' primary='yes'") + video("type='qxl' primary='yes'"), /only one video card/],
    [video("type='qxl'") + video("type='vga'"), /only be the primary/],
    [video("type='vga' heads='2'"), /one head/],
    [video("type='vga' ram='1024'"), /ram goes with model 'qxl'/],
    [video("type='vga' vram='512'"), /at least 1024/],
    [video("type='qxl' vgamem='512'"), /at least 1024/],
    [video("type='qxl' vgamem='9000'"), /power of two/],
    [video("type='qxl' ram='4194304'"), /must be below 4194304/],
    [video("type='vga'", "<acceleration accel3d='yes'/>"), /3D acceleration goes with model 'virtio'/],
    [video("type='virtio'", "<acceleration accel3d='yes'/>"), /no virtio card with 3D/, { types: ['virtio-gpu-pci'] }],
    [video("type='virtio'", "<acceleration accel2d='yes'/>"), /2D/],
    [video("type='virtio'", '<acceleration/>'), /say what to accelerate/],
    [video("type='virtio'", "<acceleration rendernode='/dev/dri/x'/>"), /'vhostuser' only/],
    [video("type='cirrus'", "<resolution x='1' y='1'/>"), /takes no resolution/],
    [video("type='vga'", "<resolution x='0' y='1'/>"), /resolution of 0/],
    ["<video><driver iommu='on'/><model type='vga'/></video>", /options of virtio devices/],
    [video("type='virtio' blob='on'"), /no blob/, { properties: {} }],
    ["<video><driver name='vhostuser'/><model type='vga'/></video>", /goes with model 'virtio'/],
    ["<video><model type='ramfb'/><address type='pci' slot='2'/></video>", /sits on no bus/],
  ])('refuses %s', (xml, message, options) => {
    expect(bench(xml, options).faults.join('\n')).toMatch(message);
  });
});

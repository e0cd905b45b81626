import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, planContext } from '../../../../tests/support/plan-context.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { normalizeControllers } from '../definition/controller-list.ts';
import { addDefaultDevices } from '../definition/implicit-devices.ts';
import { fillControllerDefaults } from '../devices/controller/defaults.ts';
import { assignAddresses } from './assign.ts';
import { formatPciAddress } from './pci-bus.ts';
import { pciDevices } from './pci-devices.ts';

const TYPES = ['piix3-usb-uhci', 'qemu-xhci', 'pcie-root-port', 'pcie-pci-bridge', 'pci-bridge', 'i82801b11-bridge'];
const BOARDS = { pc: 'pc-i440fx-10.0', q35: 'pc-q35-10.0' } as const;

/** The definition with its default devices and addresses; no other defaults. */
function assigned(board: keyof typeof BOARDS, devices: string, types: readonly string[] = TYPES) {
  const os = `<os><type arch='x86_64' machine='${BOARDS[board]}'>hvm</type></os>`;
  const context = planContext(domainXml(`${os}<devices>${devices}</devices>`), { caps: { types } });
  normalizeControllers(context.domain);
  addDefaultDevices(context);
  for (const controller of devicesOf(context.domain).controllers) fillControllerDefaults(controller, context);
  assignAddresses(context);
  return context;
}

/** `family address` of everything on PCI, in the order of assignment. */
function addressesOf({ domain }: ReturnType<typeof assigned>): string[] {
  return pciDevices(domain, true).map(({ family, device }) => {
    const { address } = device;
    const name = (device as { model?: unknown }).model;
    const what = typeof name === 'string' ? name : family;
    return `${what} ${address?.type === 'pci' ? formatPciAddress(address).slice(5) : address?.type}`;
  });
}

const NIC = (model: string, address = '') =>
  `<interface type='user'><mac address='52:54:00:00:00:01'/><model type='${model}'/>${address}</interface>`;
const DISK = "<disk type='file' device='disk'><target dev='vda' bus='virtio'/></disk>";
const NO_BALLOON = "<memballoon model='none'/>";

describe('PCI addresses on i440FX', () => {
  it('keeps slot 1 for the chipset and fills up from the next one', () => {
    const context = assigned('pc', NIC('virtio') + DISK);
    expect(addressesOf(context)).toEqual(['interface 00:02.0', 'piix3-uhci 00:01.2', 'disk 00:03.0', 'virtio 00:04.0']);
    expect(faultsOf(context)).toEqual([]);
  });

  it('puts the primary video card at slot 2 before anything else', () => {
    const context = assigned('pc', `${NIC('e1000')}<video><model type='vga'/></video>${NO_BALLOON}`);
    expect(addressesOf(context)).toContain('video 00:02.0');
    expect(addressesOf(context)).toContain('interface 00:03.0');
  });

  it('adds a bridge once fewer than two slots are left, and puts it first', () => {
    const disks = (count: number) => DISK.repeat(count);
    // 30 usable slots: 28 disks and the spare one fit, 30 disks do not.
    expect(devicesOf(assigned('pc', disks(29) + NO_BALLOON).domain).controllers).toHaveLength(2);
    const full = assigned('pc', disks(30) + NO_BALLOON);
    expect(addressesOf(full)[0]).toBe('pci-bridge 00:02.0');
    expect(addressesOf(full).at(-1)).toBe('disk 01:01.0');
    const bridge = devicesOf(full.domain).controllers.find(({ model }) => model === 'pci-bridge');
    expect(bridge).toMatchObject({ index: 1, modelElement: { name: 'pci-bridge' }, target: { chassisNr: 1 } });
  });

  it('refuses another place for what the PIIX3 has built in', () => {
    const usb = "<controller type='usb' model='piix3-uhci'><address type='pci' slot='5'/></controller>";
    expect(faultsOf(assigned('pc', usb))[0]).toContain('0000:00:01.2');
  });
});

describe('PCI addresses on Q35', () => {
  it('gives each device a root port, eight to a slot, and keeps one free', () => {
    const context = assigned('q35', NIC('virtio') + DISK);
    expect(addressesOf(context)).toEqual([
      'pcie-root-port 00:01.0',
      'pcie-root-port 00:01.1',
      'pcie-root-port 00:01.2',
      'pcie-root-port 00:01.3',
      'pcie-root-port 00:01.4',
      'interface 01:00.0',
      'qemu-xhci 02:00.0',
      'controller 00:1f.2',
      'disk 03:00.0',
      'virtio 04:00.0',
    ]);
    const ports = devicesOf(context.domain).controllers.filter(({ model }) => model === 'pcie-root-port');
    expect(ports.map(({ target }) => target?.port)).toEqual([8, 9, 10, 11, 12]);
    expect(ports.map(({ target }) => target?.chassis)).toEqual([1, 2, 3, 4, 5]);
    expect(ports[0]?.address).toMatchObject({ multifunction: true });
  });

  it('adds no spare port to a layout that the user made', () => {
    const port = "<controller type='pci' model='pcie-root'/><controller type='pci' model='pcie-root-port'/>";
    const { domain } = assigned('q35', port + NIC('virtio') + NO_BALLOON + "<controller type='usb' model='none'/>");
    expect(devicesOf(domain).controllers.filter(({ model }) => model === 'pcie-root-port')).toHaveLength(1);
  });

  it('gives conventional cards a bridge behind a port of its own', () => {
    const context = assigned('q35', NIC('rtl8139') + NO_BALLOON + "<controller type='usb' model='none'/>");
    expect(addressesOf(context).slice(0, 4)).toEqual([
      'pcie-root-port 00:01.0',
      'pcie-to-pci-bridge 01:00.0',
      'pcie-root-port 00:01.1',
      'interface 02:01.0',
    ]);
  });

  it('falls back to the DMI bridge, whose slots are not for hot plug', () => {
    const older = TYPES.filter((type) => type !== 'pcie-pci-bridge');
    const context = assigned('q35', NIC('rtl8139') + NO_BALLOON + "<controller type='usb' model='none'/>", older);
    expect(addressesOf(context)).toContain('dmi-to-pci-bridge 00:1e.0');
    expect(addressesOf(context)).toContain('interface 02:01.0');
  });

  it('puts USB 2 companions into the functions of one slot', () => {
    const usb = ['ich9-ehci1', 'ich9-uhci1', 'ich9-uhci2', 'ich9-uhci3']
      .map((model) => `<controller type='usb' model='${model}'/>`)
      .join('');
    const context = assigned('q35', usb + NO_BALLOON);
    expect(addressesOf(context)).toEqual(
      expect.arrayContaining(['ich9-ehci1 00:1d.7', 'ich9-uhci1 00:1d.0', 'ich9-uhci2 00:1d.1', 'ich9-uhci3 00:1d.2']),
    );
    const companions = devicesOf(context.domain).controllers.filter(({ master }) => master !== undefined);
    expect(companions.map(({ index, master }) => [index, master?.startport])).toEqual([
      [0, 0],
      [0, 2],
      [0, 4],
    ]);
  });

  it('keeps to the ports that are there when one of them is not for hot plug', () => {
    const ports = `<controller type='pci' model='pcie-root'/>
      <controller type='pci' model='pcie-root-port'><target hotplug='off'/></controller>`;
    const context = assigned('q35', ports + DISK + NO_BALLOON + "<controller type='usb' model='none'/>");
    expect(addressesOf(context)).toContain('disk 01:00.0');
  });

  it('moves a conventional card to the bridge that its missing bus takes to add', () => {
    const context = assigned('q35', NIC('rtl8139', "<address type='pci' bus='1' slot='4'/>") + NO_BALLOON);
    expect(addressesOf(context)).toContain('interface 02:04.0');
    expect(faultsOf(context)).toEqual([]);
  });

  it('fills indexes that the definition skips with root ports', () => {
    const context = assigned('q35', "<controller type='pci' index='3' model='pcie-root-port'/>" + NO_BALLOON);
    const models = devicesOf(context.domain).controllers.map(({ type, index, model }) => `${type} ${index} ${model}`);
    expect(models).toEqual(expect.arrayContaining(['pci 1 pcie-root-port', 'pci 2 pcie-root-port']));
  });

  it('lets a user plug a conventional card into an Express port', () => {
    const address = "<address type='pci' bus='1'/>";
    const port = "<controller type='pci' model='pcie-root'/><controller type='pci' model='pcie-root-port'/>";
    expect(faultsOf(assigned('q35', port + NIC('rtl8139', address)))).toEqual([]);
  });
});

describe('given PCI addresses that cannot be', () => {
  const pci = (attributes: string) => `<address type='pci' ${attributes}/>`;
  const device = (attributes: string) => NIC('virtio', pci(attributes));
  it.each([
    [
      'pc',
      device("slot='3'") + NIC('e1000', pci("slot='3'")),
      'used by the <interface> in line 1 and by the <interface> in line 1',
    ],
    ['pc', device("slot='0x1'"), 'and by the chipset'],
    ['pc', device("slot='0x1' function='3'"), 'and by the chipset'],
    ['pc', device("bus='0xffffffff' slot='1'"), 'buses are 0 to 255'],
    ['pc', device("domain='1' slot='3'"), 'only PCI domain 0'],
    ['pc', device("slot='0x20'"), 'slots of a pci-root are 1 to 31'],
    [
      'q35',
      `<controller type='pci' model='pcie-root'/>
      <controller type='pci' model='pcie-switch-upstream-port' index='1'><address type='pci' slot='9'/></controller>`,
      'needs a controller that takes a pcie-switch-upstream-port',
    ],
    [
      'q35',
      `<controller type='pci' model='pcie-root'/><controller type='pci' model='pcie-root-port'/>
      ${device("bus='1' slot='1'")}`,
      'slots of a pcie-root-port are 0 to 0',
    ],
    ['q35', "<controller type='pci' index='0' model='pci-root'/>", "must be 'pcie-root'"],
    [
      'q35',
      "<iommu model='virtio'><address type='pci' bus='1'/></iommu><controller type='pci' model='pcie-root'/>" +
        "<controller type='pci' model='pcie-root-port'/>",
      'must be integrated',
    ],
  ] as const)('on %s: %s', (board, devices, message) => {
    expect(faultsOf(assigned(board, devices)).join('\n')).toContain(message);
  });

  it('names the other device by its alias', () => {
    const alias = "<alias name='ua-first'/>";
    const first = `<interface type='user'><model type='virtio'/>${alias}${pci("slot='3'")}</interface>`;
    expect(faultsOf(assigned('pc', first + device("slot='3'"))).join()).toContain("<interface> 'ua-first'");
  });
});

describe('any set of devices', () => {
  const models = fc.constantFrom('virtio', 'e1000', 'e1000e', 'rtl8139');
  const definition = fc.record({
    board: fc.constantFrom('pc' as const, 'q35' as const),
    nics: fc.array(models, { maxLength: 40 }),
    disks: fc.nat(40),
    video: fc.boolean(),
  });

  it('gets addresses that are all different, and keeps them when completed again', () => {
    fc.assert(
      fc.property(definition, ({ board, nics, disks, video }) => {
        const card = video ? "<video><model type='vga'/></video>" : '';
        const context = assigned(board, nics.map((model) => NIC(model)).join('') + DISK.repeat(disks) + card);
        expect(faultsOf(context)).toEqual([]);
        const places = addressesOf(context).map((line) => line.split(' ')[1]);
        expect(new Set(places).size).toBe(places.length);
        expect(places.every((place) => /^..:..\..$/.test(place ?? ''))).toBe(true);
        const count = devicesOf(context.domain).controllers.length;
        assignAddresses(context);
        expect(addressesOf(context).map((line) => line.split(' ')[1])).toEqual(places);
        expect(devicesOf(context.domain).controllers).toHaveLength(count);
      }),
      { numRuns: 30 },
    );
  });
});

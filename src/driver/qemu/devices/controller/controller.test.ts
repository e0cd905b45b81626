import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, type PlanHost, planContext } from '../../../../../tests/support/plan-context.ts';
import { formatDomain, parseDomain } from '../../../../model/domain/domain.ts';
import { assignAddresses } from '../../addresses/assign.ts';
import { controllersOf, normalizeControllers } from '../../definition/controller-list.ts';
import { addImpliedControllers } from '../../definition/controllers.ts';
import { addDefaultDevices, addDefaultVideo } from '../../definition/implicit-devices.ts';
import { renderPart } from '../../plan/render.ts';
import { fillControllerDefaults } from './defaults.ts';
import { FAMILY } from './index.ts';
import { validateControllerList } from './validate-list.ts';

const TYPES = (
  'piix3-usb-uhci qemu-xhci nec-usb-xhci ich9-usb-ehci1 ich9-usb-uhci1 pcie-root-port ioh3420 pcie-pci-bridge ' +
  'pci-bridge i82801b11-bridge pxb pxb-pcie x3130-upstream xio3130-downstream virtio-scsi-pci lsi53c895a megasas ' +
  'ich9-ahci usb-ccid'
).split(' ');

function completed(machine: string, devices: string, host: PlanHost = {}, body = '') {
  const os = `<os><type arch='x86_64' machine='${machine}'>hvm</type></os>`;
  const context = planContext(domainXml(`${body}${os}<devices>${devices}</devices>`), {
    caps: { types: TYPES },
    ...host,
  });
  normalizeControllers(context.domain);
  addDefaultDevices(context);
  addImpliedControllers(context);
  addDefaultVideo(context);
  for (const controller of controllersOf(context.domain)) fillControllerDefaults(controller, context);
  assignAddresses(context);
  return context;
}

/** The properties of the controllers' `-device`s. */
function planned(machine: string, devices: string, body = ''): unknown[] {
  const context = completed(machine, `<memballoon model='none'/>${devices}`, {}, body);
  expect(faultsOf(context)).toEqual([]);
  controllersOf(context.domain).forEach((controller, index) => {
    if (controller.alias === undefined) controller.alias = { name: FAMILY.alias(controller, index, context) };
  });
  return controllersOf(context.domain)
    .flatMap((controller) => FAMILY.plan(controller, context))
    .map((part) => (part.kind === 'device' ? JSON.parse(JSON.stringify(part.props)) : renderPart(part, context.caps)));
}

function refusals(machine: string, devices: string, host: PlanHost = {}): string {
  const context = completed(machine, devices, host);
  for (const controller of controllersOf(context.domain)) FAMILY.validate?.(controller, context);
  validateControllerList(context);
  return faultsOf(context).join('\n');
}

const PC = 'pc-i440fx-10.0';
const Q35 = 'pc-q35-10.0';
const NO_USB = "<controller type='usb' model='none'/>";

describe('the schema of controllers', () => {
  it('writes back what it read', () => {
    const text = `<controller type='scsi' index='0' model='virtio-scsi'>
      <driver queues='4' cmd_per_lun='8' max_sectors='512' ioeventfd='on' iothread='2' iommu='on' packed='off'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/></controller>
      <controller type='pci' index='1' model='pcie-root-port'><model name='ioh3420'/>
      <target chassis='3' port='0x1a' hotplug='off'/></controller>
      <controller type='pci' index='0' model='pcie-root'><pcihole64 unit='KiB'>1048576</pcihole64></controller>
      <controller type='usb' index='0' model='ich9-uhci1' ports='2'><master startport='0'/></controller>`;
    const xml = domainXml(`<devices>${text.replaceAll(/>\s+</g, '><')}</devices>`);
    const once = formatDomain(parseDomain(xml).domain);
    expect(formatDomain(parseDomain(once).domain)).toBe(once);
    for (const attribute of xml.match(/ [a-z_]+='[^']*'/gi) ?? []) expect(once).toContain(attribute);
  });
});

describe('implied controllers', () => {
  const drive = (bus: string, controller: number) =>
    `<disk type='file'><target dev='xda' bus='${bus}'/><address type='drive' controller='${controller}'/></disk>`;

  it('come for every index up to the highest in use', () => {
    const { domain } = completed(PC, drive('scsi', 2) + drive('fdc', 0) + drive('ide', 0));
    const list = controllersOf(domain).map(({ type, index, model }) => `${type}${index} ${model ?? ''}`.trim());
    expect(list).toEqual([
      'usb0 piix3-uhci',
      'pci.0 pci-root'.replace('.', ''),
      'scsi0 lsilogic',
      'scsi1 lsilogic',
      'scsi2 lsilogic',
      'fdc0',
      'ide0',
    ]);
  });

  it('come behind those that the definition names, whatever their indexes', () => {
    const { domain } = completed(PC, `<controller type='scsi' index='1' model='virtio-scsi'/>${drive('scsi', 0)}`);
    expect(controllersOf(domain, 'scsi').map(({ index, address }) => [index, address])).toMatchObject([
      [1, { slot: 2 }],
      [0, { slot: 3 }],
    ]);
  });

  it('come before indexes are given out, where a SCSI host device needs them', () => {
    const hostdev = `<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/>
      <address bus='0' target='0' unit='0'/></source></hostdev>`;
    const { domain } = completed(PC, `<controller type='scsi' model='virtio-scsi'/>${hostdev}`);
    expect(controllersOf(domain, 'scsi').map(({ index, model }) => `${index} ${model}`)).toEqual([
      '1 virtio-scsi',
      '0 lsilogic',
    ]);
  });

  it('do not come by the million', () => {
    expect(refusals(PC, drive('scsi', 4_000_000))).toContain('use lower numbers');
  });

  it('come with the machine', () => {
    const { domain } = completed(Q35, "<graphics type='vnc'/>");
    expect(controllersOf(domain, 'usb')).toMatchObject([{ model: 'qemu-xhci' }]);
    expect(domain.devices?.memballoon).toMatchObject({ model: 'virtio' });
    expect(domain.devices?.inputs.map(({ type, bus }) => `${type} ${bus}`)).toEqual(['mouse ps2', 'keyboard ps2']);
    expect(domain.devices?.videos).toHaveLength(1);
  });

  it('leave a microvm bare', () => {
    const { domain } = completed('microvm', '');
    expect(controllersOf(domain)).toEqual([]);
    expect(domain.devices?.inputs).toEqual([]);
    expect(domain.devices?.memballoon).toBeUndefined();
  });
});

describe('the plan of a controller', () => {
  it('says nothing of what the machine has built in', () => {
    expect(planned(PC, `${NO_USB}<controller type='ide'/><controller type='fdc'/>`)).toEqual([]);
    expect(planned(Q35, `${NO_USB}<controller type='sata'/>`)).toEqual([]);
  });

  it('sizes the 64-bit hole of the root', () => {
    const root = (model: string) =>
      `${NO_USB}<controller type='pci' model='${model}'><pcihole64>1048576</pcihole64></controller>`;
    expect(planned(PC, root('pci-root'))).toEqual([['-global', 'i440FX-pcihost.pci-hole64-size=1048576K']]);
    expect(planned(Q35, root('pcie-root'))).toEqual([['-global', 'q35-pcihost.pci-hole64-size=1048576K']]);
  });

  it('passes on all that virtio-scsi takes', () => {
    const scsi = `${NO_USB}<controller type='scsi' model='virtio-scsi'>
      <driver queues='4' cmd_per_lun='8' max_sectors='512' ioeventfd='on' iothread='2' iommu='on'/></controller>`;
    expect(planned(PC, scsi, '<iothreads>2</iothreads>')).toEqual([
      {
        driver: 'virtio-scsi-pci',
        iothread: 'iothread2',
        iommu_platform: true,
        id: 'scsi0',
        num_queues: 4,
        cmd_per_lun: 8,
        max_sectors: 512,
        ioeventfd: true,
        bus: 'pci.0',
        addr: '0x2',
      },
    ]);
  });

  it('maps queues to I/O threads', () => {
    const scsi = `${NO_USB}<controller type='scsi' model='virtio-scsi'><driver queues='2'><iothreads>
      <iothread id='1'><queue id='1'/></iothread><iothread id='2'><queue id='0'/></iothread>
      </iothreads></driver></controller>`;
    expect(planned(PC, scsi, '<iothreads>2</iothreads>')[0]).toMatchObject({
      'iothread-vq-mapping': [
        { iothread: 'iothread1', vqs: [1] },
        { iothread: 'iothread2', vqs: [0] },
      ],
    });
  });

  it('uses the names that the user gave, but never for a bus of the chipset', () => {
    const devices = `${NO_USB}<controller type='pci' model='pcie-root'><alias name='ua-root'/></controller>
      <controller type='pci' model='pcie-root-port'><alias name='ua-port,x'/></controller>
      <controller type='scsi' model='virtio-scsi'/>`;
    expect(planned(Q35, devices)).toEqual([
      { driver: 'pcie-root-port', port: 8, chassis: 1, id: 'ua-port,x', bus: 'pcie.0', addr: '0x1' },
      { driver: 'virtio-scsi-pci', id: 'scsi0', bus: 'ua-port,x', addr: '0x0' },
    ]);
  });

  it('plans a switch behind an expander bus', () => {
    const devices = `${NO_USB}<controller type='pci' model='pcie-root'/>
      <controller type='pci' index='1' model='pcie-expander-bus'><target><node>0</node></target></controller>
      <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='1'/></controller>
      <controller type='pci' index='3' model='pcie-switch-upstream-port'/>
      <controller type='pci' index='4' model='pcie-switch-downstream-port'><target hotplug='off'/></controller>`;
    const numa = "<vcpu>1</vcpu><cpu><numa><cell id='0' cpus='0' memory='1024'/></numa></cpu>";
    expect(planned(Q35, devices, numa)).toEqual([
      { driver: 'pxb-pcie', bus_nr: 254, id: 'pci.1', numa_node: 0, bus: 'pcie.0', addr: '0x1' },
      { driver: 'pcie-root-port', port: 0, chassis: 2, id: 'pci.2', bus: 'pci.1', addr: '0x0' },
      { driver: 'x3130-upstream', id: 'pci.3', bus: 'pci.2', addr: '0x0' },
      { driver: 'xio3130-downstream', port: 0, chassis: 4, id: 'pci.4', hotplug: false, bus: 'pci.3', addr: '0x0' },
    ]);
  });

  it('gives USB companions their master and no id', () => {
    const usb = "<controller type='usb' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'/>";
    expect(planned(PC, usb)).toEqual([
      { driver: 'ich9-usb-ehci1', id: 'usb', bus: 'pci.0', addr: '0x2.0x7' },
      { driver: 'ich9-usb-uhci1', masterbus: 'usb.0', firstport: 0, bus: 'pci.0', multifunction: true, addr: '0x2' },
    ]);
  });

  it('puts the boot order of floppies on their controller, which newer Q35 machines lack', () => {
    const floppy = `<disk type='file' device='floppy'><target dev='fda' bus='fdc'/><boot order='3'/>
      <address type='drive' unit='0'/></disk>`;
    expect(planned(PC, NO_USB + floppy)).toEqual([['-global', 'isa-fdc.bootindexA=3']]);
    expect(planned(Q35, NO_USB + floppy)).toEqual([{ driver: 'isa-fdc', bootindexA: 3 }]);
    expect(planned('pc-q35-2.3', NO_USB + floppy)).toEqual([['-global', 'isa-fdc.bootindexA=3']]);
  });
});

describe('controllers that are refused', () => {
  it.each([
    [PC, "<controller type='scsi' model='qemu-xhci'/>", "no model 'qemu-xhci'"],
    [PC, "<controller type='sata' model='piix3'/>", 'it takes no model'],
    [PC, "<controller type='usb' model='qusb1'/>", 'not QEMU'],
    [PC, "<controller type='usb' model='qemu-xhci' ports='16'/>", 'at most 15 ports'],
    [PC, "<controller type='usb' model='piix3-uhci' ports='4'/>", 'number of ports to choose'],
    [PC, `${NO_USB}<controller type='usb' index='1' model='qemu-xhci'/>`, 'USB is disabled'],
    [PC, `${NO_USB}<hub type='usb'/>`, 'a hub has no place'],
    [PC, "<controller type='scsi' model='buslogic'/>", 'not QEMU'],
    [PC, "<controller type='scsi' model='vmpvscsi'/>", "no device 'pvscsi'"],
    [PC, "<controller type='scsi' model='lsilogic'><driver queues='2'/></controller>", "'queues' is supported only"],
    [PC, "<controller type='virtio-serial'><driver iothread='1'/></controller>", 'I/O threads are supported only'],
    [PC, "<controller type='scsi' model='virtio-scsi'><driver iothread='1'/></controller>", 'no I/O thread 1'],
    [PC, "<controller type='xenbus'/>", 'only on Xen'],
    [PC, "<controller type='ide' index='1'/>", 'one IDE controller'],
    [Q35, "<controller type='ide'/>", 'no IDE controller'],
    [PC, "<controller type='scsi' index='1' model='lsilogic'/>".repeat(2), 'several scsi controller'],
    [PC, "<controller type='pci' index='1' model='pci-root'/>", 'has index 0'],
    [Q35, "<controller type='pci' model='pcie-root'/><controller type='pci' model='pci-bridge'/>", '1 is not above 1'],
    [
      Q35,
      "<controller type='pci' model='pcie-root'/><controller type='pci' model='pcie-to-pci-bridge'/>",
      'no slot takes',
    ],
    [PC, "<controller type='pci' index='256' model='pci-bridge'/>", 'at most 255'],
    [
      PC,
      "<controller type='pci' index='1' model='pci-bridge'><model name='ioh3420'/></controller>",
      'does not implement',
    ],
    [
      PC,
      "<controller type='pci' index='1' model='pci-bridge'><target chassis='2'/></controller>",
      "no target option 'chassis'",
    ],
    [PC, "<controller type='pci' index='1' model='pci-bridge'><pcihole64>1</pcihole64></controller>", '64-bit hole'],
    [
      PC,
      "<controller type='pci' index='1' model='pci-expander-bus'><target><node>3</node></target></controller>",
      'NUMA node 3',
    ],
    [PC, "<controller type='pci' index='1' model='pcie-expander-bus'/>", 'no slot takes a pcie-expander-bus'],
    [Q35, "<controller type='pci' index='1' model='pci-expander-bus'/>", 'no slot takes a pci-expander-bus'],
  ])('on %s: %s', (machine, devices, message) => {
    expect(refusals(machine, devices)).toContain(message);
  });

  it('are refused when QEMU has no default for them', () => {
    expect(refusals(PC, "<controller type='usb'/>", { caps: { types: [] } })).toContain('no default USB controller');
    expect(refusals(PC, "<controller type='scsi'/>", { caps: { types: [] } })).toContain('name a model');
  });
});

/** Families of devices that are small, or part of the machine: IOMMU, watchdog, panic, crypto, pstore, NVRAM. */
import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, planContext } from '../../../../tests/support/plan-context.ts';
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import { fillMachineDefaults } from '../definition/machine-defaults.ts';
import type { Props } from '../plan/props.ts';
import { FAMILY as crypto } from './crypto/index.ts';
import type { DeviceFamily } from './family.ts';
import { FAMILY as iommu } from './iommu/index.ts';
import { FAMILY as nvram } from './nvram/index.ts';
import { FAMILY as panic } from './panic/index.ts';
import { FAMILY as pstore } from './pstore/index.ts';
import { FAMILY as watchdog } from './watchdog/index.ts';

const CAPS: Partial<QemuCapabilities> = {
  types: [
    'intel-iommu',
    'virtio-iommu-pci',
    'i6300esb',
    'ib700',
    'pvpanic',
    'pvpanic-pci',
    'virtio-crypto-pci',
    'cryptodev-backend-builtin',
    'acpi-erst',
  ],
  properties: { 'intel-iommu': ['caching-mode', 'device-iotlb', 'aw-bits'] },
};

/** Completes, validates and plans the devices of one family. */
function run<D extends DeviceInfo>(
  family: DeviceFamily<D>,
  devices: string,
  options: { machine?: string; features?: string } = {},
) {
  const { machine = 'q35', features = '<acpi/>' } = options;
  const os = `<os><type machine='${machine}'>hvm</type></os><features>${features}</features>`;
  const context = planContext(domainXml(`${os}<devices>${devices}</devices>`), { caps: CAPS });
  fillMachineDefaults(context);
  const selected = family.select(context.domain);
  for (const [index, device] of selected.entries()) {
    family.fillDefaults?.(device, context);
    device.alias ??= { name: family.alias(device, index, context) };
  }
  for (const device of selected) family.validate?.(device, context);
  const parts = selected.flatMap((device) => family.plan(device, context));
  return { parts, faults: faultsOf(context), devices: selected };
}

const device = (props: Props) => ({ kind: 'device', props });
const PCI = "<address type='pci' bus='0x01' slot='0x00'/>";

describe('planning', () => {
  it('an Intel IOMMU, with words where QEMU has a third state', () => {
    const { parts, faults } = run(
      iommu,
      "<iommu model='intel'><driver intremap='on' caching_mode='off' eim='on' aw_bits='48'/></iommu>",
      { features: "<ioapic driver='qemu'/>" },
    );
    expect(faults).toEqual([]);
    const props = { intremap: 'on', 'caching-mode': false, eim: 'on', 'aw-bits': 48 };
    expect(parts).toEqual([device({ driver: 'intel-iommu', id: 'iommu0', ...props })]);
  });

  it('a virtio IOMMU at its address', () => {
    const { parts, faults } = run(iommu, `<iommu model='virtio'>${PCI}</iommu>`);
    expect(faults).toEqual([]);
    expect(parts).toEqual([device({ driver: 'virtio-iommu-pci', id: 'iommu0', bus: 'pci.1', addr: '0x0' })]);
  });

  it('several watchdogs with one action; a dump is made of a paused guest', () => {
    const { parts, faults } = run(
      watchdog,
      `<watchdog model='itco' action='dump'/><watchdog model='i6300esb' action='dump'>${PCI}</watchdog>`,
    );
    expect(faults).toEqual([]);
    expect(parts).toEqual([
      { kind: 'option', option: 'global', value: 'ICH9-LPC.noreboot=off' },
      { kind: 'option', option: 'watchdog-action', value: 'pause' },
      device({ driver: 'i6300esb', id: 'watchdog1', bus: 'pci.1', addr: '0x0' }),
    ]);
  });

  it('panic devices by model, ISA where none is named', () => {
    const { parts, devices } = run(
      panic,
      `<panic><address type='isa' iobase='0x505'/></panic><panic model='hyperv'/><panic model='pvpanic'>${PCI}</panic>`,
    );
    expect(devices[0]?.model).toBe('isa');
    expect(parts).toEqual([
      device({ driver: 'pvpanic', ioport: 0x505 }),
      device({ driver: 'pvpanic-pci', bus: 'pci.1', addr: '0x0' }),
    ]);
  });

  it('a crypto device with its backend first', () => {
    const { parts, faults } = run(
      crypto,
      `<crypto model='virtio' type='qemu'><backend model='builtin' queues='2'/>${PCI}</crypto>`,
    );
    expect(faults).toEqual([]);
    expect(parts).toEqual([
      { kind: 'object', props: { 'qom-type': 'cryptodev-backend-builtin', id: 'objcrypto0', queues: 2 } },
      device({ driver: 'virtio-crypto-pci', cryptodev: 'objcrypto0', id: 'crypto0', bus: 'pci.1', addr: '0x0' }),
    ]);
  });

  it('a persistent store in a file of the guest\u2019s own', () => {
    const { parts, faults } = run(pstore, "<pstore backend='acpi-erst'><size unit='KiB'>8</size></pstore>");
    expect(faults).toEqual([]);
    expect(parts).toEqual([
      {
        kind: 'object',
        props: {
          'qom-type': 'memory-backend-file',
          id: 'mempstore0',
          'mem-path': '/var/lib/libvirt/qemu/nvram/guest_PSTORE.raw',
          share: true,
          size: 8192,
        },
      },
      device({ driver: 'acpi-erst', id: 'pstore0', memdev: 'mempstore0' }),
    ]);
  });
});

describe('refusals', () => {
  const q35 = {};
  const pc = { machine: 'pc' };
  it.each([
    ['an Intel IOMMU on i440fx', iommu, "<iommu model='intel'/>", pc, /needs a q35/],
    [
      'remapping without split interrupts',
      iommu,
      "<iommu model='intel'><driver intremap='on'/></iommu>",
      q35,
      /<ioapic/,
    ],
    ['EIM without remapping', iommu, "<iommu model='intel'><driver eim='on'/></iommu>", q35, /needs intremap/],
    [
      'an option that QEMU lacks',
      iommu,
      "<iommu model='intel'><driver dma_translation='off'/></iommu>",
      q35,
      /no dma-translation/,
    ],
    ['an SMMU on x86', iommu, "<iommu model='smmuv3'/>", q35, /needs ARM/],
    ['a virtio IOMMU without ACPI', iommu, "<iommu model='virtio'/>", { features: '' }, /needs ACPI/],
    ['Intel options on virtio', iommu, "<iommu model='virtio'><driver iotlb='on'/></iommu>", q35, /does not have/],
    ['the chipset\u2019s watchdog on i440fx', watchdog, "<watchdog model='itco'/>", pc, /part of q35/],
    ['a mainframe\u2019s watchdog', watchdog, "<watchdog model='diag288'/>", pc, /s390x/],
    [
      'two actions',
      watchdog,
      "<watchdog model='i6300esb' action='reset'/><watchdog model='ib700' action='pause'/>",
      pc,
      /one action/,
    ],
    ['two panic devices of a kind', panic, '<panic/><panic/>', pc, /already/],
    ['a panic device of another machine', panic, "<panic model='pseries'/>", pc, /pseries machine/],
    ['an address for Hyper-V\u2019s', panic, `<panic model='hyperv'>${PCI}</panic>`, pc, /no address/],
    [
      'a backend that QEMU lacks',
      crypto,
      "<crypto model='virtio' type='qemu'><backend model='lkcf'/></crypto>",
      pc,
      /lkcf/,
    ],
    [
      'a store without ACPI',
      pstore,
      "<pstore backend='acpi-erst'><size>8</size></pstore>",
      { features: '' },
      /needs ACPI/,
    ],
    ['NVRAM on x86', nvram, '<nvram/>', pc, /pseries machine/],
  ] as const)('%s', (_name, family, devices, options, expected) => {
    expect(run(family as DeviceFamily<DeviceInfo>, devices, options).faults).toEqual([expect.stringMatching(expected)]);
  });
});

/** PCI devices: identity, SR-IOV functions, IOMMU group, PCI Express link, vital product data. */
import { join } from 'node:path';
import { listNames } from '../../core/list-names.ts';
import type { NodeDeviceDetails, PciAddressXml, PciCapabilityXml } from '../../model/node-device.ts';
import type { Described, DetailSources } from './details.ts';
import { mdevTypesOf } from './details-mdev.ts';
import { readPciConfig } from './pci-config.ts';
import { readVpd } from './pci-vpd.ts';
import { parseNumber, type SysDevice } from './sys-device.ts';

/** Without root the kernel gives out no more of the configuration space. */
const PUBLIC_CONFIG_BYTES = 64;

/** `0000:00:02.0`. */
export function parsePciAddress(text: string | undefined): PciAddressXml | undefined {
  const [, ...parts] = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/i.exec(text ?? '') ?? [];
  const [domain, bus, slot, fn] = parts.map((part) => Number.parseInt(part, 16));
  if (domain === undefined || bus === undefined || slot === undefined || fn === undefined) return undefined;
  return { domain, bus, slot, function: fn };
}

export function describePci(device: SysDevice, { sys, pciIds }: DetailSources): Described | undefined {
  const address = parsePciAddress(device.name);
  if (address === undefined) return undefined;
  const [vendor, product] = [device.number('vendor') ?? 0, device.number('device') ?? 0];
  const names = pciIds.find(vendor, product);
  const bytes = device.bytes('config');
  const config = bytes !== undefined && bytes.length > PUBLIC_CONFIG_BYTES ? readPciConfig(bytes) : undefined;
  const node = device.number('numa_node') ?? -1;
  return {
    details: {
      type: 'pci',
      class: parseNumber(device.property('PCI_CLASS'), 16),
      ...address,
      product: { id: product, name: names.product },
      vendor: { id: vendor, name: names.vendor },
      capability: capabilitiesOf(device, config?.header),
      iommuGroup: iommuGroupOf(device, sys),
      numa: node < 0 ? undefined : { node },
      pciExpress: config?.express === undefined ? undefined : { link: config.express },
    },
  };
}

function capabilitiesOf(device: SysDevice, header: string | undefined): PciCapabilityXml[] {
  const found: PciCapabilityXml[] = [];
  const physical = parsePciAddress(device.linked('physfn'));
  if (physical !== undefined) found.push({ type: 'phys_function', address: [physical] });
  const virtual = virtualFunctions(device);
  const most = device.number('sriov_totalvfs') ?? 0;
  if (virtual.length > 0 || most > 0)
    found.push({ type: 'virt_functions', maxCount: most > 0 ? most : undefined, address: virtual });
  if (header === 'pci-bridge' || header === 'cardbus-bridge') found.push({ type: header });
  found.push(...mdevTypesOf(device));
  const vpd = device.bytes('vpd');
  const data = vpd === undefined ? undefined : readVpd(vpd);
  if (data !== undefined) found.push(data);
  return found;
}

function virtualFunctions(device: SysDevice): PciAddressXml[] {
  const links = device.entries().filter((name) => /^virtfn\d+$/.test(name));
  links.sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  return links.flatMap((name) => parsePciAddress(device.linked(name)) ?? []);
}

type IommuGroup = Extract<NodeDeviceDetails, { type: 'pci' }>['iommuGroup'];

function iommuGroupOf(device: SysDevice, sys: string): IommuGroup {
  const number = device.linked('iommu_group');
  if (number === undefined || !/^\d+$/.test(number)) return undefined;
  const members = listNames(join(sys, 'kernel/iommu_groups', number, 'devices'));
  return { number: Number(number), address: members.flatMap((name) => parsePciAddress(name) ?? []) };
}

/** Which IOMMU fits which machine, and which of its options depend on others. */
import type { Iommu } from '../../../../model/domain/devices/iommu.ts';
import { hasDevice, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { isArm, isQ35, isVirtBoard } from '../../machine.ts';

export function validateIommu(iommu: Iommu, context: DomainContext): void {
  const problem = modelProblem(iommu, context);
  if (problem !== undefined) fault(context, iommu, problem, '@model');
  if (context.domain.devices?.iommus.indexOf(iommu) === 1) {
    fault(context, iommu, 'a guest has one IOMMU at most: remove the second');
  }
  if (iommu.model === 'intel') validateIntel(iommu, context);
  else validateOthers(iommu, context);
}

function modelProblem({ model }: Iommu, { domain, caps }: DomainContext): string | undefined {
  switch (model) {
    case 'intel':
      if (!isQ35(domain)) return "model='intel' needs a q35 machine";
      return hasDevice(caps, 'intel-iommu') ? undefined : 'this QEMU has no intel-iommu device';
    case 'smmuv3':
      if (!isArm(domain) || !isVirtBoard(domain)) return "model='smmuv3' needs ARM's 'virt' machine";
      return hasProperty(caps, 'virt-machine', 'iommu') ? undefined : "this QEMU's 'virt' machine has no SMMU";
    default:
      if (!isQ35(domain) && !(isArm(domain) && isVirtBoard(domain))) {
        return "model='virtio' needs a q35 machine, or ARM's 'virt'";
      }
      // The guest learns of it from the VIOT table.
      if (domain.features?.acpi !== true) return "model='virtio' needs ACPI: add <acpi/> to <features>";
      return hasDevice(caps, 'virtio-iommu-pci') ? undefined : 'this QEMU has no virtio-iommu device';
  }
}

function validateIntel(iommu: Iommu, context: DomainContext): void {
  const { driver = {} } = iommu;
  const splitIrqchip = context.domain.features?.ioapic?.driver === 'qemu';
  if (driver.intremap === true && !splitIrqchip) {
    fault(context, iommu, "intremap='on' needs <ioapic driver='qemu'/> in <features>", 'driver/@intremap');
  }
  if (driver.eim === true && driver.intremap !== true) {
    fault(context, iommu, "eim='on' needs intremap='on'", 'driver/@eim');
  }
  const optional = [
    ['caching-mode', driver.cachingMode, 'caching_mode'],
    ['device-iotlb', driver.iotlb, 'iotlb'],
    ['aw-bits', driver.awBits, 'aw_bits'],
    ['dma-translation', driver.dmaTranslation, 'dma_translation'],
  ] as const;
  for (const [property, value, attribute] of optional) {
    if (value !== undefined && !hasProperty(context.caps, 'intel-iommu', property)) {
      fault(context, iommu, `this QEMU's intel-iommu has no ${property}: remove it`, `driver/@${attribute}`);
    }
  }
  if (iommu.address !== undefined) fault(context, iommu, "model='intel' is part of the machine: it has no address");
}

function validateOthers(iommu: Iommu, context: DomainContext): void {
  const { awBits, granule, ...rest } = iommu.driver ?? {};
  const others = Object.values(rest).some((value) => value !== undefined);
  const own = awBits !== undefined || granule !== undefined;
  if (others || (own && iommu.model !== 'virtio')) {
    fault(context, iommu, `model='${iommu.model}' does not have all of these options: remove them`, 'driver');
  }
  if (iommu.model === 'smmuv3' && iommu.address !== undefined) {
    fault(context, iommu, "model='smmuv3' is part of the machine: it has no address", 'address');
  }
  if (iommu.model === 'virtio' && iommu.address !== undefined && iommu.address.type !== 'pci') {
    fault(context, iommu, "model='virtio' needs an address of type 'pci'", 'address');
  }
}

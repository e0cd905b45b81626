/** The `-device` of a controller, or nothing where the machine has it built in. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import { addressProps, controllerAlias } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import { isI440fx, isQ35, machineOf } from '../../machine.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { isBuiltin } from './alias.ts';
import { SCSI_DRIVERS, USB_DRIVERS } from './driver-names.ts';

export function planController(controller: Controller, context: PlanContext): Part[] {
  if (controller.type === 'pci' && (controller.model === 'pci-root' || controller.model === 'pcie-root')) {
    return planRoot(controller, context);
  }
  if (controller.type === 'fdc') return planFloppyController(controller, context);
  const props = isBuiltin(controller, context.domain) ? undefined : controllerProps(controller, context);
  if (props === undefined) return [];
  return [{ kind: 'device', props: { ...props, ...addressProps(controller, context) } }];
}

/** The device without its address; undefined: built into the machine, or not QEMU's at all. */
function controllerProps(controller: Controller, context: PlanContext): Props | undefined {
  const id = controller.alias?.name;
  switch (controller.type) {
    case 'scsi':
      return scsiProps(controller);
    case 'virtio-serial':
      return {
        driver: virtioDeviceName('virtio-serial', controller, controller.model),
        ...virtioOptionProps(controller.driver),
        id,
        max_ports: controller.ports,
        vectors: controller.vectors,
      };
    case 'ccid':
      return { driver: 'usb-ccid', id };
    case 'sata':
      return { driver: 'ahci', id };
    case 'usb':
      return usbProps(controller, context);
    case 'pci':
      return pciProps(controller);
    case 'nvme':
      return { driver: 'nvme', id, serial: controller.serial };
    default:
      return undefined;
  }
}

function scsiProps(controller: Controller): Props | undefined {
  const { model = '', driver } = controller;
  const id = controller.alias?.name;
  if (!model.startsWith('virtio')) {
    const name = SCSI_DRIVERS[model];
    return name === undefined ? undefined : { driver: name, id };
  }
  return {
    driver: virtioDeviceName('virtio-scsi', controller, model),
    iothread: driver?.iothread === undefined ? undefined : `iothread${driver.iothread}`,
    ...virtioOptionProps(driver),
    id,
    num_queues: nonZero(driver?.queues),
    cmd_per_lun: nonZero(driver?.cmdPerLun),
    max_sectors: nonZero(driver?.maxSectors),
    ioeventfd: driver?.ioeventfd,
    'iothread-vq-mapping': driver?.iothreads?.iothreads.map(({ id: thread, queues }) => ({
      iothread: `iothread${thread}`,
      vqs: queues.length === 0 ? undefined : queues.map((queue) => queue.id),
    })),
  };
}

function usbProps(controller: Controller, context: PlanContext): Props | undefined {
  const driver = USB_DRIVERS[controller.model ?? ''];
  if (driver === undefined) return undefined;
  const ports = controller.model === 'nec-xhci' || controller.model === 'qemu-xhci' ? controller.ports : undefined;
  if (controller.master === undefined) return { driver, p2: ports, p3: ports, id: controller.alias?.name };
  return {
    driver,
    masterbus: `${controllerAlias(context.domain, 'usb', controller.index ?? 0)}.0`,
    firstport: controller.master.startport ?? 0,
  };
}

const BYTES_PER_KIB = 1024;

function pciProps(controller: Controller): Props {
  const { target } = controller;
  const driver = controller.modelElement?.name ?? '';
  const id = controller.alias?.name;
  const memReserve = target?.memReserve === undefined ? undefined : target.memReserve * BYTES_PER_KIB;
  switch (controller.model) {
    case 'pci-bridge':
      return { driver, chassis_nr: target?.chassisNr, 'mem-reserve': memReserve, id };
    case 'pci-expander-bus':
    case 'pcie-expander-bus':
      return { driver, bus_nr: target?.busNr, id, numa_node: target?.node };
    case 'pcie-root-port':
    case 'pcie-switch-downstream-port':
      return {
        driver,
        port: target?.port,
        chassis: target?.chassis,
        id,
        'mem-reserve': memReserve,
        hotplug: target?.hotplug,
      };
    default:
      return { driver, id };
  }
}

/** Root buses are the machine's own; only the size of their 64-bit hole can be set. */
function planRoot({ pcihole64 }: Controller, { domain }: PlanContext): Part[] {
  if (pcihole64 === undefined) return [];
  const host = isQ35(domain) ? 'q35-pcihost' : isI440fx(domain) ? 'i440FX-pcihost' : undefined;
  if (host === undefined) return [];
  return [{ kind: 'option', option: 'global', value: `${host}.pci-hole64-size=${pcihole64}K` }];
}

/**
 * The floppy controller carries the boot order of its two drives. Newer Q35 machines have none built in and get it
 * with the first drive.
 */
function planFloppyController({ index = 0 }: Controller, context: PlanContext): Part[] {
  const drives = (context.domain.devices?.disks ?? []).filter(({ target }) => target?.bus === 'fdc');
  if (index !== 0 || drives.length === 0) return [];
  const bootIndexes: Record<string, number> = {};
  for (const drive of drives) {
    const order = bootIndexOf(drive, context);
    const unit = drive.address?.type === 'drive' ? (drive.address.unit ?? 0) : 0;
    if (order !== undefined) bootIndexes[unit === 0 ? 'bootindexA' : 'bootindexB'] = order;
  }
  if (needsFloppyController(machineOf(context.domain))) {
    return [{ kind: 'device', props: { driver: 'isa-fdc', ...bootIndexes } }];
  }
  return Object.entries(bootIndexes).map(([name, order]) => ({
    kind: 'option',
    option: 'global',
    value: `isa-fdc.${name}=${order}`,
  }));
}

function needsFloppyController(machine: string): boolean {
  return /^(?:pc-)?q35/.test(machine) && !/^pc-q35-(?:1\.|2\.[0-3]$)/.test(machine);
}

function nonZero(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

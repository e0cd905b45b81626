/** What libvirt and QEMU refuse in a controller, PCI controllers apart (`validate-pci.ts`). */
import { CONTROLLER_MODELS, type Controller } from '../../../../model/domain/devices/controller.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { isI440fx, isQ35 } from '../../machine.ts';
import { DRIVER_TYPES, SCSI_DRIVERS, USB_DRIVERS } from './driver-names.ts';
import { validatePciController } from './validate-pci.ts';

export function validateController(controller: Controller, context: DomainContext): void {
  if (!validateModelName(controller, context)) return;
  validateDriver(controller, context);
  validateAddressKind(controller, context);
  switch (controller.type) {
    case 'ide':
      return validateIde(controller, context);
    case 'scsi':
      return validateScsi(controller, context);
    case 'usb':
      return validateUsb(controller, context);
    case 'pci':
      return validatePciController(controller, context);
    case 'sata':
      if (!(controller.index === 0 && isQ35(context.domain))) requireDevice(controller, 'ich9-ahci', context);
      return;
    case 'ccid':
      return requireDevice(controller, 'usb-ccid', context);
    case 'nvme':
      return requireDevice(controller, 'nvme', context);
    case 'xenbus':
      return fault(context, controller, 'xenbus controllers exist only on Xen');
    default:
  }
}

/** Models belong to types. @returns whether the model is one of its type's. */
function validateModelName(controller: Controller, context: DomainContext): boolean {
  const { type, model } = controller;
  if (model === undefined) return true;
  const models: readonly string[] = Object.hasOwn(CONTROLLER_MODELS, type)
    ? CONTROLLER_MODELS[type as keyof typeof CONTROLLER_MODELS]
    : [];
  if (models.includes(model)) return true;
  const hint = models.length === 0 ? 'it takes no model' : `use one of ${models.join(', ')}`;
  fault(context, controller, `a controller of type '${type}' has no model '${model}': ${hint}`, '@model');
  return false;
}

function isVirtioScsi({ type, model }: Controller): boolean {
  return type === 'scsi' && model?.startsWith('virtio') === true;
}

function validateDriver(controller: Controller, context: DomainContext): void {
  const { driver } = controller;
  if (driver === undefined) return;
  const virtioScsi = isVirtioScsi(controller);
  const scsiOnly = { queues: driver.queues, cmd_per_lun: driver.cmdPerLun, max_sectors: driver.maxSectors };
  for (const [name, value] of Object.entries({ ...scsiOnly, ioeventfd: driver.ioeventfd })) {
    if (value !== undefined && !virtioScsi) {
      fault(context, controller, `'${name}' is supported only by virtio-scsi controllers`, `driver/@${name}`);
    }
  }
  const threads = driver.iothread !== undefined || driver.iothreads !== undefined;
  if (threads && !virtioScsi) {
    fault(context, controller, 'I/O threads are supported only by virtio-scsi controllers', 'driver');
  } else if (threads) validateIothreads(controller, context);
  const virtio = virtioScsi || controller.type === 'virtio-serial';
  const options = driver.iommu ?? driver.ats ?? driver.packed ?? driver.pagePerVq;
  if (options !== undefined && !virtio) {
    fault(context, controller, 'iommu, ats, packed and page_per_vq are supported only by virtio controllers', 'driver');
  }
}

function validateIothreads(controller: Controller, context: DomainContext): void {
  const { driver, address } = controller;
  if (driver === undefined) return;
  if (address !== undefined && address.type !== 'pci' && address.type !== 'ccw') {
    fault(context, controller, 'a controller with I/O threads needs a PCI or CCW address', 'driver');
  }
  const mapped = driver.iothreads?.iothreads ?? [];
  if (driver.iothread !== undefined && mapped.length > 0) {
    fault(context, controller, "'iothread' and <iothreads> exclude each other", 'driver');
  }
  const used = driver.iothread === undefined ? mapped.map(({ id }) => id) : [driver.iothread];
  for (const id of used) {
    if (!hasIothread(context, id))
      fault(context, controller, `there is no I/O thread ${id}: add it to <iothreads>`, 'driver');
  }
  if (new Set(used).size < used.length) fault(context, controller, 'an I/O thread is mapped twice', 'driver');
  validateQueueMapping(controller, context);
}

function validateQueueMapping(controller: Controller, context: DomainContext): void {
  const mapped = controller.driver?.iothreads?.iothreads ?? [];
  const withQueues = mapped.filter(({ queues }) => queues.length > 0);
  if (withQueues.length === 0) return;
  const count = controller.driver?.queues ?? 0;
  if (withQueues.length < mapped.length) {
    fault(context, controller, 'either all or none of the mapped I/O threads name their queues', 'driver/iothreads');
  } else if (count === 0) {
    fault(context, controller, 'a mapping of queues to I/O threads needs driver/@queues', 'driver/iothreads');
  } else {
    const queues = withQueues.flatMap((thread) => thread.queues.map(({ id }) => id));
    const complete = new Set(queues).size === count && queues.length === count && Math.max(...queues) === count - 1;
    if (!complete)
      fault(context, controller, `each of the queues 0 to ${count - 1} must be mapped once`, 'driver/iothreads');
  }
}

/** Whether `<iothreadids>` names the thread, or `<iothreads>` asks for so many that it gets this number. */
function hasIothread({ domain }: DomainContext, id: number): boolean {
  const named = new Set((domain.iothreadids?.iothreads ?? []).map((thread) => thread.id));
  const unnamed = Math.max(0, (domain.iothreads ?? 0) - named.size);
  const below = [...named].filter((other) => other < id).length;
  return named.has(id) || id - below <= unnamed;
}

function validateAddressKind(controller: Controller, context: DomainContext): void {
  const kind = controller.address?.type;
  if (kind === undefined) return;
  const usb = controller.type === 'ccid';
  const accepted = usb ? ['usb'] : ['pci', 'ccw', 'spapr-vio', 'virtio-mmio', 'unassigned'];
  if (!accepted.includes(kind)) {
    fault(
      context,
      controller,
      `a controller of type '${controller.type}' cannot have an address of type '${kind}'`,
      'address',
    );
  }
}

function validateIde(controller: Controller, context: DomainContext): void {
  const builtin = isI440fx(context.domain);
  if (builtin && controller.index === 0) return;
  const message = builtin
    ? 'this machine type has one IDE controller, with index 0'
    : "this machine type has no IDE controller: use bus='sata' or bus='scsi'";
  fault(context, controller, message);
}

function validateScsi(controller: Controller, context: DomainContext): void {
  const { model } = controller;
  if (model === undefined || model === 'auto') {
    fault(context, controller, 'this QEMU has no SCSI controller to choose by default: name a model');
  } else if (isVirtioScsi(controller)) {
    requireDevice(controller, 'virtio-scsi-pci', context);
  } else if (model !== 'ncr53c90' && model !== 'ibmvscsi') {
    const driver = SCSI_DRIVERS[model];
    if (driver === undefined)
      fault(context, controller, `SCSI controllers of model '${model}' are not QEMU's`, '@model');
    else requireDevice(controller, DRIVER_TYPES[driver] ?? driver, context);
  }
}

const MAX_XHCI_PORTS = 15;

function validateUsb(controller: Controller, context: DomainContext): void {
  const { model, ports } = controller;
  if (model === undefined) {
    return fault(
      context,
      controller,
      "this QEMU has no default USB controller: name a model, such as 'qemu-xhci'",
      '@model',
    );
  }
  if (model === 'none') return;
  const driver = USB_DRIVERS[model];
  if (driver === undefined)
    return fault(context, controller, `USB controllers of model '${model}' are not QEMU's`, '@model');
  requireDevice(controller, driver, context);
  if (ports === undefined) return;
  const xhci = model === 'nec-xhci' || model === 'qemu-xhci';
  if (!xhci)
    fault(context, controller, "only the models 'nec-xhci' and 'qemu-xhci' have a number of ports to choose", '@ports');
  else if (ports > MAX_XHCI_PORTS)
    fault(context, controller, `a USB controller has at most ${MAX_XHCI_PORTS} ports`, '@ports');
}

function requireDevice(controller: Controller, device: string, context: DomainContext): void {
  if (!hasDevice(context.caps, device)) {
    fault(context, controller, `QEMU has no device '${device}' for this ${controller.type} controller`);
  }
}

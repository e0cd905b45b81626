/** The card that the guest sees: which models are virtio, and which one a machine gets by default. */
import type { InterfaceDriver, NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import type { DomainContext } from '../../context.ts';
import { isArm, isVirtBoard, machineOf } from '../../machine.ts';
import { isS390 } from '../serial/target.ts';

const VIRTIO_MODELS: ReadonlySet<string> = new Set(['virtio', 'virtio-transitional', 'virtio-non-transitional']);

/** Names that are known whatever their case. */
const KNOWN_MODELS = new Set([
  ...VIRTIO_MODELS,
  'rtl8139',
  'e1000',
  'e1000e',
  'igb',
  'usb-net',
  'spapr-vlan',
  'lan9118',
  'smc91c111',
]);

/** The model in its usual spelling. */
export function canonicalModel(model: string): string {
  const lower = model.toLowerCase();
  return KNOWN_MODELS.has(lower) ? lower : model;
}

export function isVirtioModel({ model }: NetworkInterface): boolean {
  return VIRTIO_MODELS.has(model?.type ?? '');
}

/** `<driver>` where it has an effect: the options are virtio's. */
export function virtioDriver(device: NetworkInterface): InterfaceDriver | undefined {
  return isVirtioModel(device) ? device.driver : undefined;
}

/** How many pairs of queues the card has, 1 or more. */
export function queueCount(device: NetworkInterface): number {
  return Math.max(1, virtioDriver(device)?.queues ?? 1);
}

/** The model of an interface that names none; undefined when this QEMU has no likely one. */
export function defaultModel(device: NetworkInterface, { domain, caps }: DomainContext): string | undefined {
  // These back ends work with virtio only.
  if (device.type === 'vdpa' || device.type === 'vhostuser') return 'virtio';
  if (isS390(domain) || isVirtBoard(domain)) return 'virtio';
  if (isArm(domain)) return machineOf(domain) === 'versatilepb' ? 'smc91c111' : 'lan9118';
  // From the one that most guests have a driver for to the one that fewest have.
  if (hasDevice(caps, 'rtl8139')) return 'rtl8139';
  if (hasDevice(caps, 'e1000')) return 'e1000';
  return hasDevice(caps, 'virtio-net-pci') || hasDevice(caps, 'virtio-net-ccw') ? 'virtio' : undefined;
}

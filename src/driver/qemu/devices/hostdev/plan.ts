/** A host device as QEMU's options. */
import type { Hostdev } from '../../../../model/domain/devices/hostdev.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasProperty } from '../../capabilities/capabilities.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { virtioDeviceName } from '../virtio.ts';
import { planScsiHostdev } from './plan-scsi.ts';
import { formatDisplay, planVfioPci } from './vfio.ts';

const MDEV_DIR = '/sys/bus/mdev/devices';

export function planHostdev(device: Hostdev, context: PlanContext): Part[] {
  switch (device.type) {
    case 'pci':
      return planVfioPci(device, device.source.address ?? {}, context);
    case 'usb':
      return [{ kind: 'device', props: usbProps(device, context) }];
    case 'scsi':
      return planScsiHostdev(device, context);
    case 'scsi_host':
      return planVhostScsi(device, context);
    case 'mdev':
      return planMdev(device, context);
    default:
      return refuse(`hostdev type '${device.type}' is for containers; QEMU takes usb, pci, scsi, scsi_host or mdev`);
  }
}

function usbProps(device: Hostdev, context: PlanContext): Props {
  const reset = device.source.guestReset;
  return {
    driver: 'usb-host',
    ...usbSourceProps(device, context),
    id: device.alias?.name,
    'guest-reset': reset === undefined ? undefined : reset !== 'off',
    'guest-resets-all': reset === undefined || reset === 'off' ? undefined : reset === 'on',
    bootindex: bootIndexOf(device, context),
    ...addressProps(device, context),
  };
}

/** Which device; none of these where it is known to be missing: the guest then gets an empty port. */
function usbSourceProps({ source, missing }: Hostdev, context: PlanContext): Props {
  if (missing === true || source.missing === true) return {};
  const { address, vendor, product } = source;
  if (address?.bus === undefined || address.device === undefined) {
    // libvirt looks the device up and names its bus; QEMU finds it by itself just as well.
    return { vendorid: vendor?.id, productid: product?.id };
  }
  if (!hasProperty(context.caps, 'usb-host', 'hostdevice')) return { hostbus: address.bus, hostaddr: address.device };
  const [bus, number] = [address.bus, address.device].map((part) => String(part).padStart(3, '0'));
  return { hostdevice: `/dev/bus/usb/${bus}/${number}` };
}

function planVhostScsi(device: Hostdev, context: PlanContext): Part[] {
  const fd = context.requestFd({ kind: 'file', path: '/dev/vhost-scsi', flags: 'r+' });
  const props = {
    driver: virtioDeviceName('vhost-scsi', device, device.model),
    wwpn: device.source.wwpn,
    vhostfd: String(fd),
    id: device.alias?.name,
    ...addressProps(device, context),
  };
  return [{ kind: 'device', props }];
}

function planMdev(device: Hostdev, context: PlanContext): Part[] {
  if (device.address?.type === 'unassigned') return [];
  const ramfb = device.ramfb === true;
  const props = {
    driver: ramfb ? 'vfio-pci-nohotplug' : device.model,
    id: device.alias?.name,
    sysfsdev: `${MDEV_DIR}/${device.source.address?.uuid}`,
    display: formatDisplay(device.display),
    ramfb: ramfb ? true : undefined,
    bootindex: bootIndexOf(device, context),
    ...addressProps(device, context),
  };
  return [{ kind: 'device', props }];
}

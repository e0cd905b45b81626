/** An interface as QEMU's options: its host end (`netdev.ts`) and the card. */
import type { InterfaceDriver, NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import { addressProps } from '../../addresses/props.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { planVfioPci } from '../hostdev/vfio.ts';
import { romProps } from '../rom.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { networkOf } from './attachment.ts';
import { isVirtioModel, queueCount } from './model.ts';
import { netdevId, planNetdev } from './netdev.ts';

/** Interrupt vectors of a card: two per pair of queues, the control queue, and configuration changes. */
const CONTROL_VECTORS = 2;

export function planInterface(device: NetworkInterface, context: PlanContext): Part[] {
  const network = networkOf(device, context);
  if (device.type === 'network' && network === undefined) {
    refuse(`connecting an interface: there is no virtual network '${device.source?.network ?? ''}'`);
  }
  if (network?.type === 'hostdev') return planVfioPci(device, network.address, context);
  if (device.type === 'hostdev') return planVfioPci(device, device.source?.hostAddress ?? {}, context);
  const alias = device.alias?.name ?? '';
  if (device.link?.state === 'down') {
    context.deferred.push({ command: 'set_link', arguments: { name: alias, up: false } });
  }
  return [...planNetdev(device, context), { kind: 'device', props: cardProps(device, context) }];
}

function cardProps(device: NetworkInterface, context: PlanContext): Props {
  return {
    ...(isVirtioModel(device) ? virtioProps(device) : { driver: device.model?.type }),
    netdev: netdevId(device),
    id: device.alias?.name,
    mac: device.mac?.address,
    bootindex: bootIndexOf(device, context),
    ...addressProps(device, context),
    ...romProps(device),
  };
}

function virtioProps(device: NetworkInterface): Props {
  const { driver } = device;
  const queues = queueCount(device);
  const ccw = device.address?.type === 'ccw';
  return {
    driver: virtioDeviceName('virtio-net', device, device.model?.type),
    ...virtioOptionProps(driver),
    tx: driver?.txmode === undefined ? undefined : TX_MODES[driver.txmode],
    ioeventfd: driver?.ioeventfd,
    event_idx: driver?.eventIdx,
    ...offloadProps(driver),
    ...(queues > 1 && { mq: true, vectors: ccw ? undefined : 2 * queues + CONTROL_VECTORS }),
    rx_queue_size: positive(driver?.rxQueueSize),
    tx_queue_size: positive(driver?.txQueueSize),
    rss: driver?.rss,
    hash: driver?.rssHashReport,
    host_mtu: positive(device.mtu?.size),
    failover: device.teaming?.type === 'persistent' ? true : undefined,
  };
}

const TX_MODES = { iothread: 'bh', timer: 'timer' } as const;

function offloadProps(driver: InterfaceDriver | undefined): Props {
  const { host, guest } = driver ?? {};
  return {
    csum: host?.csum,
    gso: host?.gso,
    host_tso4: host?.tso4,
    host_tso6: host?.tso6,
    host_ecn: host?.ecn,
    host_ufo: host?.ufo,
    mrg_rxbuf: host?.mrgRxbuf,
    guest_csum: guest?.csum,
    guest_tso4: guest?.tso4,
    guest_tso6: guest?.tso6,
    guest_ecn: guest?.ecn,
    guest_ufo: guest?.ufo,
  };
}

function positive(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

/** The host end of an interface as `-netdev`, with the descriptors, character devices and helpers it needs. */
import { hostForwards } from '../../../../guest/host-forwards.ts';
import type { NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import type { InterfaceIp } from '../../../../model/domain/devices/ip-config.ts';
import { hasFeature } from '../../capabilities/capabilities.ts';
import { type PlanContext, refuse } from '../../context.ts';
import { isKvm } from '../../machine.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { chardevId, planFdSet, reconnectProps, unixChardev } from '../chardev.ts';
import { actualType, isPasst } from './attachment.ts';
import { isVirtioModel, queueCount } from './model.ts';
import { PASST_RECONNECT, planPasst } from './passt.ts';

/** Id of an interface's host end. */
export function netdevId(device: NetworkInterface): string {
  return `host${device.alias?.name ?? ''}`;
}

export function planNetdev(device: NetworkInterface, context: PlanContext): Part[] {
  const parts: Part[] = [];
  const props = backendProps(device, context, parts);
  parts.push({ kind: 'netdev', props: { ...props, id: netdevId(device) } });
  return parts;
}

function backendProps(device: NetworkInterface, context: PlanContext, parts: Part[]): Props {
  const type = actualType(device, context);
  const { source } = device;
  switch (type) {
    case 'network':
    case 'bridge':
    case 'direct':
    case 'ethernet':
      return tapProps(device, context);
    case 'user':
      return isPasst(device) ? passtProps(device, context) : slirpProps(device);
    case 'internal':
      return { type: 'user' };
    case 'client':
      return { type: 'socket', connect: `${source?.address}:${source?.port}` };
    case 'server':
      return { type: 'socket', listen: `${source?.address ?? ''}:${source?.port}` };
    case 'mcast':
      return { type: 'socket', mcast: `${source?.address}:${source?.port}` };
    case 'udp':
      return {
        type: 'socket',
        udp: `${source?.address}:${source?.port}`,
        localaddr: `${source?.local?.address}:${source?.local?.port}`,
      };
    case 'vhostuser':
      return vhostUserProps(device, context, parts);
    case 'vdpa':
      return vdpaProps(device, context, parts);
    default:
      return refuse(`QEMU has no network back end for interfaces of type '${type}'`);
  }
}

function tapProps(device: NetworkInterface, context: PlanContext): Props {
  const interfaceAlias = device.alias?.name ?? '';
  const queues = Array.from({ length: queueCount(device) }, (_, queue) => queue);
  const taps = queues.map((queue) => context.requestFd({ kind: 'tap', interfaceAlias, queue }));
  const vhosts = usesVhost(device, context)
    ? queues.map((queue) => context.requestFd({ kind: 'vhost-net', interfaceAlias, queue }))
    : [];
  return {
    type: 'tap',
    ...fdProps('fd', taps),
    vhost: vhosts.length > 0 ? true : undefined,
    ...fdProps('vhostfd', vhosts),
    sndbuf: device.tune?.sndbuf,
  };
}

/** `fd` for one descriptor, `fds` with colons for several. */
function fdProps(name: string, fds: readonly number[]): Props {
  if (fds.length === 0) return {};
  return fds.length === 1 ? { [name]: String(fds[0]) } : { [`${name}s`]: fds.join(':') };
}

function usesVhost(device: NetworkInterface, { domain, lookup }: PlanContext): boolean {
  if (!isVirtioModel(device)) return false;
  const request = { kvm: isKvm(domain), driver: device.driver?.name };
  return lookup.vhostNet?.(request) ?? (request.kvm && request.driver !== 'qemu');
}

function slirpProps(device: NetworkInterface): Props {
  const ipv4 = device.ips.find((ip) => !isIpv6(ip));
  const ipv6 = device.ips.find((ip) => isIpv6(ip));
  const forwards = device.portForwards.flatMap(hostForwards);
  return {
    type: 'user',
    net: ipv4 && (positive(ipv4.prefix) === undefined ? ipv4.address : `${ipv4.address}/${ipv4.prefix}`),
    'ipv6-prefix': ipv6?.address,
    'ipv6-prefixlen': positive(ipv6?.prefix),
    hostfwd: forwards.length > 0 ? forwards.map(({ rule }) => ({ str: rule })) : undefined,
  };
}

function passtProps(device: NetworkInterface, context: PlanContext): Props {
  const path = planPasst(device, context);
  return {
    type: 'stream',
    addr: { type: 'unix', path },
    server: false,
    ...streamReconnect(context),
  };
}

/** QEMU 7.2 has stream sockets that cannot reconnect. */
function streamReconnect({ caps }: PlanContext): Props {
  const able = hasFeature(caps, 'netdev-stream-reconnect-ms') || hasFeature(caps, 'netdev-stream-reconnect');
  return able ? reconnectProps(PASST_RECONNECT, caps, 'netdev-stream-reconnect-ms') : {};
}

function vhostUserProps(device: NetworkInterface, context: PlanContext, parts: Part[]): Props {
  const id = chardevId(device.alias?.name ?? '');
  const { source } = device;
  const socket = isPasst(device)
    ? { path: planPasst(device, context), reconnect: PASST_RECONNECT }
    : { path: source?.path ?? '', server: source?.mode === 'server', reconnect: source?.reconnect };
  parts.push(unixChardev(id, socket, context));
  return { type: 'vhost-user', chardev: id, queues: several(queueCount(device)) };
}

function vdpaProps(device: NetworkInterface, context: PlanContext, parts: Part[]): Props {
  const fd = context.requestFd({ kind: 'file', path: device.source?.dev ?? '', flags: 'r+' });
  const set = planFdSet(context, fd, `${device.alias?.name ?? ''}-vdpa`);
  parts.push(set.part);
  return { type: 'vhost-vdpa', vhostdev: set.path, queues: several(queueCount(device)) };
}

function several(count: number): number | undefined {
  return count > 1 ? count : undefined;
}

function positive(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

/** By its family, or by its colons where it names none. */
export function isIpv6({ family, address }: InterfaceIp): boolean {
  return family === undefined ? address.includes(':') : family === 'ipv6';
}

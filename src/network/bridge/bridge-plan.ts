/** What making a network's bridge takes: commands for `ip` and settings of the kernel, in order. Pure; doing it is `bridge-device.ts`. */
import { formatIp, lastAddress } from '../../core/ip-address.ts';
import { formatSubnet, subnetOf } from '../../model/network/ip-subnet.ts';
import { type BridgedNetwork, forwardMode } from '../../model/network/network.ts';

/** A file below /proc/sys/net, and what it is to hold. */
export interface NetworkSetting {
  readonly path: string;
  readonly value: string;
}

export interface BridgePlan {
  readonly name: string;
  readonly mac: string;
  /** Lines for `ip -batch`: the bridge itself. */
  readonly make: readonly string[];
  /** Before it is up; those that are missing belong to a kernel without IPv6. */
  readonly settings: readonly NetworkSetting[];
  /** Lines for `ip -batch`: addresses, up, routes. */
  readonly bringUp: readonly string[];
  /** The host forwards packets from now on: of the whole network namespace. */
  readonly forwarding: readonly NetworkSetting[];
}

/** Hundredths of a second, as `ip` takes the delay. */
const DELAY_UNIT = 100;

export function planBridge(network: BridgedNetwork): BridgePlan {
  const { bridge, mac } = network;
  const { name } = bridge;
  const subnets = network.ips.flatMap((ip) => subnetOf(ip) ?? []);
  const hasIpv6 = subnets.some(({ address }) => address.family === 'ipv6');
  const hasIpv4 = subnets.some(({ address }) => address.family === 'ipv4');
  const options = [
    `forward_delay ${(bridge.delay ?? 0) * DELAY_UNIT}`,
    `stp_state ${bridge.stp === false ? 0 : 1}`,
    ...(bridge.macTableManager === 'libvirt' ? ['vlan_filtering 1'] : []),
  ];
  const mtu = network.mtu === undefined ? '' : ` mtu ${network.mtu.size}`;
  const ipv6 = `ipv6/conf/${name}`;
  const isForwarding = forwardMode(network) !== 'none';
  return {
    name,
    mac: mac.address,
    make: [`link add name ${name} address ${mac.address}${mtu} type bridge ${options.join(' ')}`],
    settings: [
      { path: `${ipv6}/disable_ipv6`, value: hasIpv6 || network.ipv6 === true ? '0' : '1' },
      // A guest that advertises itself as a router must not become the host's.
      { path: `${ipv6}/accept_ra`, value: '0' },
      { path: `${ipv6}/autoconf`, value: '0' },
    ],
    bringUp: [
      ...subnets.map((subnet) => {
        const { address, prefix } = subnet;
        const broadcast =
          address.family === 'ipv4' && prefix < 31 ? ` broadcast ${formatIp(lastAddress(address, prefix))}` : '';
        // Nobody else can have the address yet: the bridge has no ports.
        return `address add ${formatSubnet(subnet)}${broadcast} dev ${name}${address.family === 'ipv6' ? ' nodad' : ''}`;
      }),
      `link set dev ${name} up`,
      ...network.routes.flatMap((route) => {
        const target = subnetOf(route);
        if (target === undefined) return [];
        const metric = route.metric === undefined ? '' : ` metric ${route.metric}`;
        return [`route add ${formatSubnet(target)} via ${route.gateway} dev ${name}${metric}`];
      }),
    ],
    forwarding: [
      ...(isForwarding && hasIpv4 ? [{ path: 'ipv4/ip_forward', value: '1' }] : []),
      ...(isForwarding && hasIpv6 ? [{ path: 'ipv6/conf/all/forwarding', value: '1' }] : []),
    ],
  };
}

/** The plan as a shell would carry it out. */
export function formatBridgePlan({ make, settings, bringUp, forwarding }: BridgePlan): string {
  const write = ({ path, value }: NetworkSetting): string => `echo ${value} > /proc/sys/net/${path}`;
  const ip = (line: string): string => `ip ${line}`;
  return `${[...make.map(ip), ...settings.map(write), ...bringUp.map(ip), ...forwarding.map(write)].join('\n')}\n`;
}

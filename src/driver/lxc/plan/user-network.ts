/**
 * The one interface that a container of a user without rights can have (`<interface type='user'>`): slirp4netns, which passes its traffic on
 * through sockets of its own, as QEMU does for virtual machines. Pure: a definition in, a command line and forwards out.
 */
import { type HostForward, hostForwards } from '../../../guest/host-forwards.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { refuse } from './container-context.ts';

export interface UserNetwork {
  /** What the interface is called in the container. */
  readonly name: string;
  /** slirp4netns's, before the process and the name. */
  readonly options: readonly string[];
  readonly forwards: readonly HostForward[];
}

/** As much as it can carry at once: each packet is a system call. */
const LARGEST_MTU = 65_520;

/** Undefined where the container has none. @throws VirtError CONFIG_UNSUPPORTED for what slirp4netns has not */
export function planUserNetwork({ devices }: Domain): UserNetwork | undefined {
  const found = (devices?.interfaces ?? []).filter(({ type }) => type === 'user');
  const [device] = found;
  if (device === undefined) return undefined;
  if (found.length > 1) refuse("a container has one <interface type='user'>: a second would have the same addresses");
  if (device.link?.state === 'down') refuse("<interface type='user'>: it is always up; leave <link state='down'/> out");
  if (device.bandwidth !== undefined) {
    refuse("<interface type='user'> cannot be limited: leave <bandwidth> out, or start the container as root");
  }
  const [ipv4, another] = device.ips.filter(({ address }) => !address.includes(':'));
  const hasV6 = device.ips.some(({ address }) => address.includes(':'));
  if (another !== undefined) refuse("<interface type='user'> has one IPv4 network: leave one <ip> out");
  return {
    name: device.guest?.dev ?? 'eth0',
    options: [
      '--configure',
      `--mtu=${device.mtu?.size ?? LARGEST_MTU}`,
      // Services of the host that listen for itself alone are not the container's.
      '--disable-host-loopback',
      ...(ipv4 === undefined ? [] : [`--cidr=${networkOf(ipv4.address, ipv4.prefix ?? 24)}`]),
      ...(hasV6 ? ['--enable-ipv6'] : []),
      ...(device.mac === undefined ? [] : [`--macaddress=${device.mac.address}`]),
    ],
    forwards: device.portForwards.flatMap((forward) => {
      if (forward.dev !== undefined) {
        refuse(`<portForward dev='${forward.dev}'>: slirp4netns binds to addresses only; use address='…'`);
      }
      return hostForwards(forward);
    }),
  };
}

/** `10.1.2.3`, 24: `10.1.2.0/24`. It takes the addresses of gateway (2), name server (3) and container (100) from there. */
function networkOf(address: string, prefix: number): string {
  if (prefix > 25 || prefix < 1)
    refuse(`<ip address='${address}' prefix='${prefix}'>: slirp4netns takes prefixes up to 25`);
  const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - prefix);
  const first = Math.floor(number / size) * size;
  return `${[24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256).join('.')}/${prefix}`;
}

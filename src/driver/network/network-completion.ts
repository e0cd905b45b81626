/** What the driver fills in where a definition leaves it open: UUID, bridge, MAC address; and the `default` network. */
import { ErrorCode } from '../../core/errors.ts';
import { randomBytes, randomUuid } from '../../core/random.ts';
import { formatSubnet, type Subnet } from '../../model/network/ip-subnet.ts';
import { hasOwnBridge, type Network, parseNetwork } from '../../model/network/network.ts';
import { networkError } from './network-errors.ts';

/** What the names have to differ from. */
export interface NamesInUse {
  /** Bridges of other networks: bridge by network. */
  readonly bridges: ReadonlyMap<string, string>;
  /** Network devices of the host. */
  readonly devices: readonly string[];
}

/** Bridges that are tried. */
const MAX_BRIDGES = 256;
/** Bytes of an interface's name, IFNAMSIZ without its end. */
const MAX_NAME_BYTES = 15;

/** @throws VirtError INTERNAL_ERROR where the bridge is another network's */
export function completeNetwork(network: Network, { bridges, devices }: NamesInUse): Network & { uuid: string } {
  const completed = { ...network, uuid: network.uuid ?? randomUuid() };
  if (!hasOwnBridge(network)) return completed;
  const wanted = network.bridge?.name;
  const template = wanted === undefined || wanted === '' ? 'virbr%d' : wanted;
  const name = template.includes('%d') ? freeBridge(template, bridges, devices) : template;
  if (bridges.has(name)) throw networkError(ErrorCode.INTERNAL_ERROR, `bridge name '${name}' already in use.`);
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || !/^[^\s/:]+$/.test(name) || name === '.' || name === '..') {
    throw networkError(
      ErrorCode.XML_ERROR,
      `bridge name '${name}' is no name for a device: 1 to ${MAX_NAME_BYTES} bytes without '/', ':' and spaces`,
    );
  }
  return {
    ...completed,
    bridge: { ...network.bridge, name, stp: network.bridge?.stp ?? true, delay: network.bridge?.delay ?? 0 },
    mac: network.mac ?? { address: randomMac() },
  };
}

/** The subnets that `default` is tried with: libvirt's first. */
export function defaultSubnets(): Subnet[] {
  const first = 122;
  const numbers = [
    ...Array.from({ length: 254 - first }, (_, index) => first + index),
    ...Array.from({ length: first - 1 }, (_, index) => index + 1),
  ];
  return numbers.map((number) => ({
    address: { family: 'ipv4', value: (192n << 24n) | (168n << 16n) | (BigInt(number) << 8n) | 1n },
    prefix: 24,
  }));
}

/** The network that libvirt's packages come with, in the given subnet. */
export function defaultNetwork(subnet: Subnet, uuid?: string): Network {
  const [address = ''] = formatSubnet(subnet).split('/');
  const base = address.slice(0, address.lastIndexOf('.'));
  const id = uuid === undefined ? '' : `<uuid>${uuid}</uuid>`;
  return parseNetwork(
    `<network><name>default</name>${id}<forward mode='nat'/><ip address='${address}' netmask='255.255.255.0'>` +
      `<dhcp><range start='${base}.2' end='${base}.254'/></dhcp></ip></network>`,
  );
}

function freeBridge(template: string, bridges: ReadonlyMap<string, string>, devices: readonly string[]): string {
  for (let number = 0; number < MAX_BRIDGES; number++) {
    const name = template.replace('%d', String(number));
    if (!bridges.has(name) && !devices.includes(name)) return name;
  }
  throw networkError(ErrorCode.INTERNAL_ERROR, `Bridge generation exceeded max id ${MAX_BRIDGES}`);
}

/** QEMU's prefix, as libvirt's bridges have it. */
function randomMac(): string {
  return ['52', '54', '00', ...Array.from(randomBytes(3), (byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

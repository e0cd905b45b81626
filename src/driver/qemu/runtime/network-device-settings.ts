/** From an `<interface>` to what its tap device is to be. Pure; making it is `network-device.ts`. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { InterfaceSource, NetworkInterface } from '../../../model/domain/devices/interface.ts';
import { isVirtioModel, queueCount } from '../devices/interface/model.ts';

export interface TapSettings {
  /** What the interface is called in errors. */
  readonly title: string;
  /** The name to take; undefined: the next free one. */
  readonly name: string | undefined;
  /** The device is somebody else's: it must be there, and is not touched. */
  readonly existing: boolean;
  readonly bridge: string | undefined;
  /** A macvtap on that device of the host, instead of a tap. */
  readonly direct:
    | { readonly device: string; readonly mode: 'vepa' | 'private' | 'bridge' | 'passthrough' }
    | undefined;
  /** On a bridge: it reaches no other port that is isolated too. */
  readonly isolated: boolean;
  /** MAC address of the host's end. */
  readonly mac: string;
  /** Undefined: the bridge's, or the kernel's default. */
  readonly mtu: number | undefined;
  readonly vnetHeader: boolean;
  readonly queues: number;
  readonly sendBufferBytes: number | undefined;
  readonly script: string | undefined;
  readonly downscript: string | undefined;
  /** Addresses and routes of the host's end. */
  readonly ips: InterfaceSource['ips'];
  readonly routes: InterfaceSource['routes'];
  readonly tapPath: string;
  readonly vhostPath: string;
}

/** Kinds that end in a descriptor of ours. A network's is on the bridge that its port names. */
const KINDS: ReadonlySet<string> = new Set(['network', 'bridge', 'direct', 'ethernet']);

/** Names that libvirt makes up: a definition that was dumped from a running guest does not ask for one. */
const GENERATED_NAME = /^(?:vnet|vif|macvtap|macvlan)\d*$|%/;

/**
 * @throws VirtError for kinds of interfaces that have no tap device here, and for options that nothing here carries out
 */
export function tapSettingsOf(device: NetworkInterface): TapSettings {
  const title = `interface ${device.alias?.name ?? device.mac?.address ?? ''}`;
  if (!KINDS.has(device.type)) {
    throw refuse(
      `${title} has type='${device.type}': use <interface type='network'>, 'bridge', 'direct', 'ethernet' or 'user'`,
    );
  }
  requireCarriedOut(device, title);
  const target = device.target?.dev;
  const onBridge = device.type === 'bridge' || device.type === 'network';
  return {
    title,
    name: target === undefined || GENERATED_NAME.test(target) ? undefined : target,
    existing: device.type === 'ethernet' && device.target?.managed === false,
    bridge: onBridge ? device.source?.bridge : undefined,
    direct: device.type === 'direct' ? { device: device.source?.dev ?? '', mode: modeOf(device) } : undefined,
    isolated: onBridge && device.port?.isolated === true,
    mac: device.type === 'direct' ? guestMac(device, title) : hostMac(device, title),
    mtu: device.mtu?.size,
    vnetHeader: isVirtioModel(device),
    queues: queueCount(device),
    sendBufferBytes: device.tune?.sndbuf,
    script: device.script?.path,
    downscript: device.downscript?.path,
    ips: device.source?.ips ?? [],
    routes: device.source?.routes ?? [],
    tapPath: device.backend?.tap ?? '/dev/net/tun',
    vhostPath: device.backend?.vhost ?? '/dev/vhost-net',
  };
}

/** A filter, a tag or a limit that is silently missing would be worse than a guest that does not start. */
function requireCarriedOut(device: NetworkInterface, title: string): void {
  const wanted = {
    filterref: device.filterref !== undefined,
    vlan: (device.vlan?.tags ?? []).length > 0,
    virtualport: device.virtualport !== undefined,
    coalesce: device.coalesce !== undefined,
  };
  const missing = Object.entries(wanted).filter(([, isWanted]) => isWanted);
  if (missing.length === 0) return;
  const names = missing.map(([name]) => `<${name}>`).join(', ');
  throw refuse(`${title} has ${names}, which an embedded connection cannot carry out on a tap device: leave it out`);
}

function modeOf({ source }: NetworkInterface): 'vepa' | 'private' | 'bridge' | 'passthrough' {
  const mode = source?.mode;
  return mode === 'private' || mode === 'bridge' || mode === 'passthrough' ? mode : 'vepa';
}

/** A macvtap is the guest's card: it has its address. */
function guestMac({ mac }: NetworkInterface, title: string): string {
  if (mac === undefined) throw refuse(`${title} has no MAC address`);
  return mac.address;
}

/**
 * The guest's address with a first byte that is greater than those of network cards, because a bridge takes the
 * lowest address of its ports for its own.
 */
function hostMac(device: NetworkInterface, title: string): string {
  const guest = device.mac?.address;
  if (guest === undefined) throw refuse(`${title} has no MAC address`);
  if (guest.toLowerCase().startsWith('fe:')) {
    throw refuse(`${title} has MAC address ${guest}: fe is kept for the host's end, use 52:54:00:…`);
  }
  return `fe${guest.slice(2).toLowerCase()}`;
}

function refuse(message: string): VirtError {
  return new VirtError(`cannot make a tap device: ${message}`, {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.NETWORK,
  });
}

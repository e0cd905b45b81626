/**
 * A guest's places in virtual networks: opened before its start is planned, written into its live definition, given back when it has ended. What
 * is in the definition is all that is known of them, so that whoever takes the guest over can give them back too.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { LogSource } from '../core/log-source.ts';
import type { GuestNetworks, NetworkPort, PortOwner } from '../driver/guest-sources.ts';
import type { GuestInterface } from '../driver/inspection-operations.ts';
import type { NetworkInterface } from '../model/domain/devices/interface.ts';
import type { Domain } from '../model/domain/domain.ts';

const log = new LogSource('qemu.qemu_process');

/** Opens a port for each of the interfaces that is of a network. @throws VirtError NO_NETWORK, OPERATION_INVALID; then none is left open */
export async function openPorts(
  devices: readonly NetworkInterface[],
  networks: GuestNetworks | undefined,
  owner: PortOwner,
  signal?: AbortSignal,
): Promise<void> {
  try {
    for (const device of devices) {
      forgetPort(device);
      if (device.type !== 'network') continue;
      if (networks === undefined) throw noNetworks(device);
      attach(device, await networks.openPort(device, owner, { signal }));
    }
  } catch (error) {
    await closePorts(devices, networks);
    throw error;
  }
}

/** Gives all back. Never rejects: the guest, or its card, has gone either way. */
export async function closePorts(
  devices: readonly NetworkInterface[],
  networks: GuestNetworks | undefined,
): Promise<void> {
  for (const port of devices.flatMap((device) => portOf(device) ?? [])) {
    try {
      await networks?.closePort(port);
    } catch (error) {
      log.warn('closePorts', () => `network=${port.network} port=${port.uuid}: ${String(error)}`);
    }
  }
}

/** The port of an interface that has one. */
export function portOf({ source }: NetworkInterface): Pick<NetworkPort, 'network' | 'uuid'> | undefined {
  const { network, portid } = source ?? {};
  return network === undefined || portid === undefined ? undefined : { network, uuid: portid };
}

/** What DHCP has given to a guest's cards on virtual networks; cards without a lease are left out, as libvirt does. */
export async function interfacesOfLeases(
  domain: Domain,
  networks: GuestNetworks | undefined,
): Promise<GuestInterface[]> {
  const found: GuestInterface[] = [];
  for (const { source, mac, target } of domain.devices?.interfaces ?? []) {
    if (source?.network === undefined || mac === undefined || networks === undefined) continue;
    const addresses = (await networks.leases(source.network, mac.address)).map(({ type, address, prefix }) => ({
      type,
      address,
      prefix,
    }));
    if (addresses.length > 0) found.push({ name: target?.dev ?? source.network, mac: mac.address, addresses });
  }
  return found;
}

/** How a guest was attached before says nothing of how it will be now: a saved guest's definition tells it. */
function forgetPort(device: NetworkInterface): void {
  const { source } = device;
  if (source?.portid === undefined || source.network === undefined) return;
  device.type = 'network';
  const { network, portgroup } = source;
  device.source = { network, portgroup, ips: source.ips, routes: source.routes };
}

/** As libvirt shows it: bridges that the network made are still a network, what belongs to the host is what it is. */
function attach(device: NetworkInterface, { uuid, attachment, defaults }: NetworkPort): void {
  const source = { ...device.source, ips: device.source?.ips ?? [], routes: device.source?.routes ?? [], portid: uuid };
  device.bandwidth ??= defaults.bandwidth;
  device.vlan ??= defaults.vlan;
  device.virtualport ??= defaults.virtualport;
  device.mtu ??= defaults.mtu;
  device.port ??= defaults.port;
  switch (attachment.type) {
    case 'bridge': {
      const manager = attachment.macTableManager;
      if (attachment.isForeign === true) device.type = 'bridge';
      device.source = {
        ...source,
        bridge: attachment.bridge,
        ...((manager === 'kernel' || manager === 'libvirt') && { macTableManager: manager }),
      };
      return;
    }
    case 'direct':
      device.type = 'direct';
      device.source = { ...source, dev: attachment.dev, mode: directMode(attachment.mode) };
      return;
    case 'hostdev':
      device.type = 'hostdev';
      device.managed = true;
      device.source = { ...source, hostAddress: { type: 'pci', ...attachment.address } };
      return;
    case 'user':
      device.type = 'user';
      device.source = source;
  }
}

function directMode(mode: string): 'vepa' | 'private' | 'bridge' | 'passthrough' {
  return mode === 'vepa' || mode === 'private' || mode === 'passthrough' ? mode : 'bridge';
}

function noNetworks(device: NetworkInterface): VirtError {
  const name = device.source?.network ?? '';
  return new VirtError(
    `no network with matching name '${name}': this connection has no virtual networks; use <interface type='user'/>`,
    {
      code: ErrorCode.NO_NETWORK,
      domain: ErrorDomain.NETWORK,
    },
  );
}

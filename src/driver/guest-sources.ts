/**
 * What hypervisor drivers ask of the network and storage drivers of the same connection while guests start, run and end. Those drivers know
 * nothing of hypervisors; hypervisor drivers know nothing else of them.
 */
import type { NetworkInterface } from '../model/domain/devices/interface.ts';
import type { StorageSource } from '../model/domain/devices/storage-source.ts';
import type { Waiting } from './driver.ts';
import type { DhcpLease } from './network-operations.ts';
import type { VolumeType } from './storage-operations.ts';

/** Who wants a port. */
export interface PortOwner {
  readonly name: string;
  readonly uuid: string;
  /** Runs of a guest are told apart by it. */
  readonly id: number;
  /** The hypervisor driver that asks; absent: `qemu`. */
  readonly driver?: string | undefined;
}

/** How an interface of a virtual network is really attached, after portgroup and network have had their say. */
export type NetworkAttachment =
  | {
      readonly type: 'bridge';
      readonly bridge: string;
      readonly macTableManager?: string | undefined;
      /** A bridge of the host's, which the network only names. */
      readonly isForeign?: boolean;
    }
  | { readonly type: 'direct'; readonly dev: string; readonly mode: string }
  | { readonly type: 'hostdev'; readonly address: PciAddress }
  | { readonly type: 'user' };

/** A PCI device of the host. */
export interface PciAddress {
  readonly domain: number;
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
}

/** A guest's place in a network, as it is kept in the live definition. */
export interface NetworkPort {
  readonly network: string;
  readonly uuid: string;
  readonly attachment: NetworkAttachment;
  /** What the network or its portgroup gives where the interface says nothing itself. */
  readonly defaults: Pick<NetworkInterface, 'bandwidth' | 'vlan' | 'virtualport' | 'mtu' | 'port'>;
}

export interface GuestNetworks {
  /**
   * A place for an interface of type `network` whose MAC address is set.
   * @throws VirtError NO_NETWORK, OPERATION_INVALID where the network is not active, …
   */
  openPort(iface: NetworkInterface, owner: PortOwner, options?: Waiting): Promise<NetworkPort>;
  /** The host end has this name now: it joins bridge, bandwidth and firewall as the network wants it. */
  plugged(port: Pick<NetworkPort, 'network' | 'uuid'>, hostEnd: string): Promise<void>;
  /** Idempotent; also for ports of guests that ended while nobody looked. */
  closePort(port: Pick<NetworkPort, 'network' | 'uuid'>): Promise<void>;
  /** Of a daemon, once its guests are taken over: closes all that the driver has open and no guest has. */
  keepOnly(driver: string, ports: ReadonlySet<string>): Promise<void>;
  /** What DHCP has given to that card. */
  leases(network: string, mac: string): Promise<readonly DhcpLease[]>;
  /** First address of the host on that network, for displays that listen there. */
  hostAddress(network: string): Promise<string | undefined>;
}

/** A volume as a disk uses it. */
export interface GuestVolume {
  readonly type: VolumeType;
  readonly path: string;
  readonly format: string | undefined;
  /** Where it is reached over the network rather than by its path. */
  readonly source?: StorageSource | undefined;
}

export interface GuestVolumes {
  /** @throws VirtError NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID where the pool is not active */
  find(pool: string, volume: string, options?: { readonly mode?: string | undefined } & Waiting): Promise<GuestVolume>;
}

/** The devices of this host: listed and described as libvirt does from sysfs and udev's database, and given to guests and back. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { iterateLater } from '../../core/lazy-group.ts';
import { loadNetFeatures, type ReadNetFeatures } from '../../host/ethtool.ts';
import { formatNodeDevice, type NodeDevice } from '../../model/node-device.ts';
import type { Waiting } from '../driver.ts';
import type {
  NodeDeviceEvent,
  NodeDeviceFilter,
  NodeDeviceIdentity,
  NodeDeviceOperations,
} from '../node-device-operations.ts';
import { COMPUTER, DeviceList } from './device-list.ts';
import { DeviceWatch, type WatchOptions } from './device-watch.ts';
import { PciBinding } from './pci-binding.ts';
import type { DeviceRoots } from './sys-device.ts';

export interface NodeDevicesOptions extends DeviceRoots {
  readonly netFeatures: ReadNetFeatures;
  readonly watch?: WatchOptions;
}

export class NodeDevices implements NodeDeviceOperations, Disposable {
  readonly #list: DeviceList;
  readonly #watch: DeviceWatch;
  readonly #binding: PciBinding;

  constructor({ netFeatures, watch, ...roots }: NodeDevicesOptions) {
    this.#list = new DeviceList(netFeatures, roots);
    this.#watch = new DeviceWatch(this.#list, watch);
    this.#binding = new PciBinding(roots.sys);
  }

  /** Of this host. */
  static async open(): Promise<NodeDevices> {
    return new NodeDevices({ netFeatures: await loadNetFeatures() });
  }

  async list({ capabilities, active, persistent }: NodeDeviceFilter & Waiting = {}): Promise<NodeDeviceIdentity[]> {
    // Definitions of devices that are not there (mediated ones) are not kept.
    if (active === false) return [];
    return this.#list
      .all()
      .filter(
        (device) => capabilities === undefined || capabilitiesOf(device).some((name) => capabilities.includes(name)),
      )
      .filter(({ name }) => persistent === undefined || persistent === (name === COMPUTER))
      .map(identityOf);
  }

  async lookupByName(name: string): Promise<NodeDeviceIdentity> {
    return identityOf(this.#find(name));
  }

  async lookupScsiHostByWwn(wwnn: string, wwpn: string): Promise<NodeDeviceIdentity> {
    const found = this.#list
      .all()
      .find(({ capability }) =>
        capability.some(
          (details) =>
            details.type === 'scsi_host' &&
            details.capability.some((side) => side.type === 'fc_host' && side.wwnn === wwnn && side.wwpn === wwpn),
        ),
      );
    if (found !== undefined) return identityOf(found);
    throw noDevice(`there is no SCSI host with WWNN '${wwnn}' and WWPN '${wwpn}'`);
  }

  async xmlDesc(name: string): Promise<string> {
    return formatNodeDevice(this.#find(name));
  }

  async parent(name: string): Promise<string | undefined> {
    return this.#find(name).parent;
  }

  async capabilities(name: string): Promise<readonly string[]> {
    return capabilitiesOf(this.#find(name));
  }

  async detach(
    name: string,
    { driver = 'vfio', signal }: { readonly driver?: string | undefined } & Waiting = {},
  ): Promise<void> {
    const device = this.#find(name);
    this.#binding.requireDriver(driver);
    await this.#binding.detach(this.#pciFolder(device), { signal });
  }

  async reattach(name: string): Promise<void> {
    this.#binding.reattach(this.#pciFolder(this.#find(name)));
  }

  async reset(name: string): Promise<void> {
    this.#binding.reset(this.#pciFolder(this.#find(name)));
  }

  async isActive(name: string): Promise<boolean> {
    this.#find(name);
    return true;
  }

  async isPersistent(name: string): Promise<boolean> {
    return this.#find(name).name === COMPUTER;
  }

  async autostart(name: string): Promise<boolean> {
    return this.#find(name).name === COMPUTER;
  }

  events({ signal }: Waiting = {}): AsyncIterable<NodeDeviceEvent> {
    return iterateLater(this.#watch.listen(signal));
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }

  #find(name: string): NodeDevice {
    const found = this.#list.find(name);
    if (found !== undefined) return found;
    throw noDevice(`no node device with matching name '${name}'`);
  }

  #pciFolder(device: NodeDevice): string {
    if (device.capability.some(({ type }) => type === 'pci')) return this.#list.folderOf(device);
    throw new VirtError(`device ${device.name} is not a PCI device`, {
      code: ErrorCode.INVALID_ARG,
      domain: ErrorDomain.NODEDEV,
    });
  }
}

function identityOf({ name, parent }: NodeDevice): NodeDeviceIdentity {
  return { name, parent };
}

/** Nested ones that can be asked for by themselves, under the names that lists take. */
const NESTED: Readonly<Record<string, string>> = {
  fc_host: 'fc_host',
  vport_ops: 'vports',
  mdev_types: 'mdev_types',
  vpd: 'vpd',
};

function capabilitiesOf({ capability }: NodeDevice): string[] {
  return capability.flatMap((details) => [
    details.type,
    ...('capability' in details ? details.capability.flatMap(({ type }) => NESTED[type] ?? []) : []),
  ]);
}

function noDevice(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.NO_NODE_DEVICE, domain: ErrorDomain.NODEDEV });
}

/** The guests' side of the networks: places for their cards, and what happens when a card is plugged in or taken out. */
import { LogSource } from '../../core/log-source.ts';
import { randomUuid } from '../../core/random.ts';
import type { NetworkInterface } from '../../model/domain/devices/interface.ts';
import type { Waiting } from '../driver.ts';
import type { GuestNetworks, NetworkPort, PortOwner } from '../guest-sources.ts';
import type { DhcpLease } from '../network-operations.ts';
import { readLeaseText } from './bridged-network.ts';
import { leasesOf } from './lease-file.ts';
import type { NetworkLifecycle } from './network-lifecycle.ts';
import { planPort, portOf } from './network-ports.ts';

const log = new LogSource('network.bridge_driver');

export class NetworkPorts implements GuestNetworks {
  readonly #networks: NetworkLifecycle;
  readonly #onNote: (note: string) => void;

  constructor(networks: NetworkLifecycle, onNote: (note: string) => void) {
    this.#networks = networks;
    this.#onNote = onNote;
  }

  async openPort(iface: NetworkInterface, owner: PortOwner, { signal }: Waiting = {}): Promise<NetworkPort> {
    const record = await this.#networks.requireRunning(iface.source?.network ?? '', signal);
    using _job = await record.job.acquire(signal);
    const { network } = record.active;
    const port = planPort(network, iface, owner, {
      uuid: randomUuid(),
      ports: record.ports.values(),
      driver: owner.driver ?? 'qemu',
    });
    const mac = port.definition.mac.address;
    const namesake = [...record.ports.values()].find(({ definition }) => definition.mac.address === mac);
    if (namesake !== undefined) {
      this.#onNote(
        `guests '${owner.name}' and '${namesake.definition.owner.name}' have MAC address ${mac} on network '${record.name}': they will get the same IP address; give one of them another`,
      );
    }
    await this.#networks.keepPort(record, port);
    return portOf(network, port);
  }

  async plugged({ network, uuid }: Pick<NetworkPort, 'network' | 'uuid'>, hostEnd: string): Promise<void> {
    const record = await this.#networks.requireRunning(network);
    const port = record.ports.get(uuid);
    if (port === undefined) return;
    await record.active.run?.plug(port, hostEnd, { join: false });
    port.hostEnd = hostEnd;
    await this.#networks.keepPort(record, port);
  }

  async closePort({ network, uuid }: Pick<NetworkPort, 'network' | 'uuid'>): Promise<void> {
    const record = this.#networks.store.findByName(network);
    if (record === undefined) return;
    using _job = await record.job.acquire();
    await this.#networks.dropPort(record, uuid);
  }

  async keepOnly(driver: string, ports: ReadonlySet<string>): Promise<void> {
    for (const record of this.#networks.store.all()) {
      for (const [uuid, port] of record.ports) {
        if (port.driver !== driver || ports.has(uuid)) continue;
        log.info(
          'keepOnly',
          () => `network=${record.name} port=${uuid}: guest '${port.definition.owner.name}' is gone`,
        );
        using _job = await record.job.acquire();
        await this.#networks.dropPort(record, uuid);
      }
    }
  }

  async leases(network: string, mac: string): Promise<readonly DhcpLease[]> {
    const record = this.#networks.store.findByName(network);
    const definition = record?.active?.network ?? record?.definition;
    if (definition === undefined) return [];
    const nowSeconds = BigInt(Math.floor(Date.now() / 1000));
    const iface = definition.bridge?.name ?? '';
    return leasesOf(definition, readLeaseText(this.#networks.root, network), { iface, nowSeconds, mac });
  }

  async hostAddress(network: string): Promise<string | undefined> {
    const record = this.#networks.store.findByName(network);
    return (record?.active?.network ?? record?.definition)?.ips[0]?.address;
  }
}

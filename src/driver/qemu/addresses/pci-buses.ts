/**
 * All PCI buses of a guest: reserving given addresses with libvirt's checks, finding free ones, and, in the counting
 * pass, adding the bridges and ports that are missing. Holds no devices; `pci-assign.ts` does the walking.
 */
import {
  CONNECTOR_NAMES,
  type Connection,
  type Connector,
  formatPciAddress,
  PciBus,
  type PciModel,
  type SlotUser,
} from './pci-bus.ts';

/** A place for a device. */
export interface PciPlace {
  readonly bus: number;
  readonly slot: number;
  readonly unit: number;
}

/** Why an address cannot be had; `message` is a sentence without the device's name. */
export class PciAddressError extends Error {
  override readonly name = 'PciAddressError';
}

export class PciBuses {
  readonly buses: PciBus[];
  /** Counting pass: buses may be added. */
  readonly growable: boolean;
  readonly #hasExpressBridge: boolean;

  /** @param hasExpressBridge QEMU has `pcie-pci-bridge`, preferred over `i82801b11-bridge`. */
  constructor(models: readonly PciModel[], options: { growable: boolean; hasExpressBridge: boolean }) {
    this.buses = models.map((model) => new PciBus(model));
    this.growable = options.growable;
    this.#hasExpressBridge = options.hasExpressBridge;
  }

  isInUse(bus: number, slot: number): boolean {
    return this.buses[bus]?.isInUse(slot) ?? false;
  }

  /**
   * Takes an address that the user or the chipset fixes. @returns the place, which is on the next bus when a bus had to
   * be added behind a port of its own.
   * @throws {PciAddressError} when the bus does not exist, does not fit, or the function is taken.
   */
  reserve(wanted: PciPlace, connection: Connection, user: SlotUser): PciPlace {
    const place = this.growable ? { ...wanted, bus: this.#grow(wanted.bus, connection.connector) } : wanted;
    const bus = this.check(place, connection);
    const other = bus.userOf(place.slot, place.unit);
    if (other !== undefined) {
      throw new PciAddressError(
        `PCI address ${addressOf(place)} is used by ${other.describe} and by ${user.describe}: change one of them`,
      );
    }
    bus.reserve(place.slot, place.unit, user, connection.aggregate === true);
    return place;
  }

  /** Finds and takes the next free address. @throws {PciAddressError} when there is none. */
  reserveNext(connection: Connection, user: SlotUser, unit?: number): PciPlace {
    const place = this.#findNext(connection, unit);
    if (connection.integrated === true && place.bus !== 0) {
      throw new PciAddressError('no slot of the root bus is free for an integrated device');
    }
    this.buses[place.bus]?.reserve(place.slot, place.unit, user, connection.aggregate === true);
    return place;
  }

  /** @throws {PciAddressError} unless the address exists and the bus takes such a device. */
  check(place: PciPlace, connection: Connection): PciBus {
    const at = addressOf(place);
    const bus = this.buses[place.bus];
    if (this.buses.length === 0) throw new PciAddressError('this machine has no PCI bus');
    if (bus === undefined) {
      throw new PciAddressError(
        `PCI address ${at} is on bus ${place.bus}, but there is no PCI controller of that index`,
      );
    }
    if (connection.integrated === true && place.bus !== 0) {
      throw new PciAddressError(`the device at PCI address ${at} must be integrated: use bus='0'`);
    }
    if (!bus.permits(connection)) {
      throw new PciAddressError(
        `the device at PCI address ${at} does not fit the ${bus.model} with index ${place.bus}: ` +
          `it needs a controller that takes a ${CONNECTOR_NAMES[connection.connector]}`,
      );
    }
    const { minSlot, maxSlot } = bus.kind;
    if (place.slot < minSlot || place.slot > maxSlot) {
      throw new PciAddressError(`PCI address ${at}: the slots of a ${bus.model} are ${minSlot} to ${maxSlot}`);
    }
    return bus;
  }

  #findNext(connection: Connection, unit: number | undefined): PciPlace {
    if (this.buses.length === 0) throw new PciAddressError('this machine has no PCI bus');
    const candidates = connection.integrated === true ? this.buses.slice(0, 1) : this.buses;
    for (const [index, bus] of candidates.entries()) {
      const free = bus.findFree(connection, unit);
      if (free !== undefined) return { bus: index, ...free };
    }
    if (!this.growable || connection.integrated === true) throw new PciAddressError('no PCI slot is free');
    const added = this.#grow(this.buses.length, connection.connector);
    return { bus: added, slot: this.buses[added]?.kind.minSlot ?? 0, unit: unit ?? 0 };
  }

  /**
   * Adds buses up to that number. @returns the number of the bus where the device can go: one more than wanted when
   * the way there takes a port and a bridge.
   */
  #grow(wanted: number, connector: Connector): number {
    const missing = wanted - this.buses.length + 1;
    if (missing <= 0) return wanted;
    const models = this.#modelsFor(connector, missing);
    for (const model of models) {
      // The bridge sits on the port that was added right before it.
      if (model === 'pcie-to-pci-bridge') this.buses.at(-1)?.reserve(0, 0, { describe: 'a PCI bridge' }, false);
      this.buses.push(new PciBus(model));
    }
    return wanted + models.length - missing;
  }

  #modelsFor(connector: Connector, count: number): PciModel[] {
    const root = this.buses[0]?.model;
    if (connector === 'pcie-endpoint' || connector === 'pcie-switch-upstream-port') {
      return root === 'pcie-root' ? repeat('pcie-root-port', count) : cannotAdd(connector);
    }
    if (connector !== 'pci-endpoint' && connector !== 'pci-bridge') return cannotAdd(connector);
    if (this.buses.some((bus) => bus.kind.accepts.includes('pci-bridge'))) return repeat('pci-bridge', count);
    if (root !== 'pcie-root') return cannotAdd(connector);
    // A bridge to conventional PCI brings its own root port, so that it does not use up the one kept for hot plug.
    const bridge: PciModel[] = this.#hasExpressBridge
      ? ['pcie-root-port', 'pcie-to-pci-bridge']
      : ['dmi-to-pci-bridge', 'pci-bridge'];
    return [...bridge, ...repeat('pci-bridge', count - bridge.length)];
  }
}

function repeat(model: PciModel, count: number): PciModel[] {
  return Array.from({ length: Math.max(0, count) }, () => model);
}

function cannotAdd(connector: Connector): never {
  throw new PciAddressError(
    `no slot takes a ${CONNECTOR_NAMES[connector]}, and none can be added automatically: add a PCI controller for it`,
  );
}

function addressOf({ bus, slot, unit }: PciPlace): string {
  return formatPciAddress({ bus, slot, function: unit });
}

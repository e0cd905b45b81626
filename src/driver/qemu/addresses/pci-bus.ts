/**
 * The PCI buses of a guest while addresses are given out: which kinds of device each bus takes, and which functions
 * are in use. Growing by new buses is in `pci-grow.ts`; which device goes where in `pci-assign.ts`.
 */
import type { PciAddress } from '../../../model/domain/devices/address.ts';
import type { CONTROLLER_MODELS } from '../../../model/domain/devices/controller.ts';

/** Models of PCI controllers. */
export type PciModel = (typeof CONTROLLER_MODELS.pci)[number];

/** What can plug into a slot: endpoints, and the PCI controllers by their model. */
export type Connector = 'pci-endpoint' | 'pcie-endpoint' | Exclude<PciModel, 'pci-root' | 'pcie-root'>;

/** How a device plugs in. */
export interface Connection {
  readonly connector: Connector;
  /** Only on buses that are open to automatic placement (endpoints; where a controller goes is told by its kind). */
  readonly automatic: boolean;
  /** May share a slot with others of its kind, one function each (root ports). */
  readonly aggregate?: boolean;
  /** Must be on bus 0. */
  readonly integrated?: boolean;
}

interface BusKind {
  readonly accepts: readonly Connector[];
  /** Open to automatic placement of endpoints. */
  readonly automatic: boolean;
  readonly minSlot: number;
  readonly maxSlot: number;
}

const LAST_SLOT = 31;
const EXPRESS_PORT: BusKind = {
  accepts: ['pcie-endpoint', 'pcie-switch-upstream-port', 'pcie-to-pci-bridge'],
  automatic: true,
  minSlot: 0,
  maxSlot: 0,
};

/** What each PCI controller offers on its far side. */
const BUS_KINDS: Readonly<Record<PciModel, BusKind>> = {
  'pci-root': {
    accepts: ['pci-endpoint', 'pci-bridge', 'pci-expander-bus'],
    automatic: true,
    minSlot: 1,
    maxSlot: LAST_SLOT,
  },
  'pci-bridge': { accepts: ['pci-endpoint', 'pci-bridge'], automatic: true, minSlot: 1, maxSlot: LAST_SLOT },
  'pci-expander-bus': { accepts: ['pci-endpoint', 'pci-bridge'], automatic: true, minSlot: 0, maxSlot: LAST_SLOT },
  // Endpoints of the root complex cannot be hot-plugged: only those that are meant to be integrated go there.
  'pcie-root': {
    accepts: ['pcie-endpoint', 'pcie-root-port', 'dmi-to-pci-bridge', 'pcie-expander-bus'],
    automatic: false,
    minSlot: 1,
    maxSlot: LAST_SLOT,
  },
  'dmi-to-pci-bridge': { accepts: ['pci-endpoint', 'pci-bridge'], automatic: false, minSlot: 0, maxSlot: LAST_SLOT },
  'pcie-to-pci-bridge': { accepts: ['pci-endpoint', 'pci-bridge'], automatic: true, minSlot: 1, maxSlot: LAST_SLOT },
  'pcie-root-port': EXPRESS_PORT,
  'pcie-switch-downstream-port': EXPRESS_PORT,
  'pcie-switch-upstream-port': {
    accepts: ['pcie-switch-downstream-port'],
    automatic: false,
    minSlot: 0,
    maxSlot: LAST_SLOT,
  },
  'pcie-expander-bus': {
    accepts: ['pcie-endpoint', 'pcie-root-port', 'dmi-to-pci-bridge'],
    automatic: false,
    minSlot: 0,
    maxSlot: LAST_SLOT,
  },
};

/** Whether the model is one of PCI controllers. */
export function isPciModel(model: string): model is PciModel {
  return Object.hasOwn(BUS_KINDS, model);
}

/** What an error calls each kind of plug. */
export const CONNECTOR_NAMES: Readonly<Record<Connector, string>> = {
  'pci-endpoint': 'conventional PCI device',
  'pcie-endpoint': 'PCI Express device',
  'pci-bridge': 'pci-bridge',
  'pci-expander-bus': 'pci-expander-bus',
  'dmi-to-pci-bridge': 'dmi-to-pci-bridge',
  'pcie-to-pci-bridge': 'pcie-to-pci-bridge',
  'pcie-root-port': 'pcie-root-port',
  'pcie-switch-upstream-port': 'pcie-switch-upstream-port',
  'pcie-switch-downstream-port': 'pcie-switch-downstream-port',
  'pcie-expander-bus': 'pcie-expander-bus',
};

/** Which device holds a function; undefined: the chipset. */
export interface SlotUser {
  readonly describe: string;
}

interface Slot {
  /** By function number. */
  readonly users: Map<number, SlotUser>;
  aggregate: boolean;
}

/** One bus. */
export class PciBus {
  readonly model: PciModel;
  readonly #slots = new Map<number, Slot>();

  constructor(model: PciModel) {
    this.model = model;
  }

  get kind(): BusKind {
    return BUS_KINDS[this.model];
  }

  /** Whether the slot has a function in use. */
  isInUse(slot: number): boolean {
    return this.#slots.has(slot);
  }

  userOf(slot: number, unit: number): SlotUser | undefined {
    return this.#slots.get(slot)?.users.get(unit);
  }

  /** Every slot is in use. */
  get isFull(): boolean {
    for (let slot = this.kind.minSlot; slot <= this.kind.maxSlot; slot++) if (!this.isInUse(slot)) return false;
    return true;
  }

  reserve(slot: number, unit: number, user: SlotUser, aggregate: boolean): void {
    const entry = this.#slots.get(slot) ?? { users: new Map<number, SlotUser>(), aggregate };
    entry.users.set(unit, user);
    this.#slots.set(slot, entry);
  }

  /** Whether libvirt would choose this bus for such a device. */
  suits({ connector, automatic }: Connection): boolean {
    return this.kind.accepts.includes(connector) && (!automatic || this.kind.automatic);
  }

  /** Whether a user may choose it: conventional and Express endpoints may swap slots on request. */
  permits({ connector }: Connection): boolean {
    const { accepts } = this.kind;
    const isEndpoint = connector === 'pci-endpoint' || connector === 'pcie-endpoint';
    const takesEndpoints = accepts.includes('pci-endpoint') || accepts.includes('pcie-endpoint');
    return isEndpoint ? takesEndpoints : accepts.includes(connector);
  }

  /** The first slot and function for a device. @param unit the function it must have; default: 0, or any when shared. */
  findFree(connection: Connection, unit?: number): { slot: number; unit: number } | undefined {
    if (!this.suits(connection)) return undefined;
    for (let slot = this.kind.minSlot; slot <= this.kind.maxSlot; slot++) {
      const entry = this.#slots.get(slot);
      if (entry === undefined) return { slot, unit: unit ?? 0 };
      if (connection.aggregate !== true || !entry.aggregate) continue;
      const free = FUNCTIONS.find((candidate) => !entry.users.has(candidate));
      if (unit === undefined ? free !== undefined : !entry.users.has(unit)) return { slot, unit: unit ?? free ?? 0 };
    }
    return undefined;
  }
}

const FUNCTIONS = [0, 1, 2, 3, 4, 5, 6, 7];

/** `0000:01:02.0`. */
export function formatPciAddress({ domain = 0, bus = 0, slot = 0, function: unit = 0 }: Partial<PciAddress>): string {
  const pad = (number: number, digits: number) => number.toString(16).padStart(digits, '0');
  return `${pad(domain, 4)}:${pad(bus, 2)}:${pad(slot, 2)}.${unit.toString(16)}`;
}

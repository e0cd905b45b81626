/** Limits of a running network, and the shares that are kept for single guests. */
import { isDeepStrictEqual } from 'node:util';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { Mutex } from '../../core/mutex.ts';
import type { BridgedNetwork } from '../../model/network/network.ts';
import { DeviceLimits, type LimitOptions } from './device-limits.ts';
import {
  type Bandwidth,
  type FloorPort,
  floorSum,
  isLimit,
  planNetworkBandwidth,
  planPlug,
  planUnplug,
  type Rate,
} from './traffic-plan.ts';

interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

/** Of a network whose bridge is there; one without `<bandwidth>` costs nothing. @throws VirtError INTERNAL_ERROR where the kernel refuses */
export async function openNetworkBandwidth(
  network: Pick<BridgedNetwork, 'name' | 'bridge' | 'bandwidth'>,
  { ledger, signal }: LimitOptions,
): Promise<NetworkBandwidth> {
  const limits = new NetworkBandwidth(network, ledger);
  if (network.bandwidth !== undefined) await limits.update(network.bandwidth, { signal });
  return limits;
}

export class NetworkBandwidth implements AsyncDisposable {
  readonly #network: string;
  readonly #bridge: string;
  readonly #limits: DeviceLimits;
  readonly #changes = new Mutex();
  readonly #ports = new Map<number, FloorPort>();
  #bandwidth: Bandwidth = {};

  constructor({ name, bridge }: Pick<BridgedNetwork, 'name' | 'bridge'>, ledger: LimitOptions['ledger']) {
    this.#network = name;
    this.#bridge = bridge.name;
    this.#limits = new DeviceLimits(bridge.name, ledger);
  }

  /** Replaces all limits; shares stay. */
  async update(bandwidth: Bandwidth | undefined, { signal }: Waiting = {}): Promise<void> {
    using _lock = await this.#changes.acquire(signal);
    const wanted = bandwidth ?? {};
    if (isDeepStrictEqual(wanted, this.#bandwidth)) return;
    await this.#limits.removeTable();
    await this.#limits.carryOut(planNetworkBandwidth(this.#bridge, wanted, [...this.#ports.values()]), signal);
    this.#bandwidth = wanted;
  }

  /**
   * Keeps a share for a guest.
   * @throws VirtError OPERATION_UNSUPPORTED where the network has no inbound limit, OPERATION_INVALID where it cannot give so much
   */
  async plug(port: FloorPort, { signal }: Waiting = {}): Promise<void> {
    using _lock = await this.#changes.acquire(signal);
    const { inbound } = this.#bandwidth;
    const ports = [...this.#ports.values(), port];
    this.#requireRoom(inbound, port, ports);
    try {
      await this.#limits.carryOut(planPlug(this.#bridge, inbound, port, ports), signal);
    } catch (error) {
      await this.#limits.carryOut(planUnplug(this.#bridge, inbound, port.classId, [...this.#ports.values()]));
      throw error;
    }
    this.#ports.set(port.classId, port);
  }

  /** Gives the share back. Idempotent. */
  async unplug(classId: number, { signal }: Waiting = {}): Promise<void> {
    using _lock = await this.#changes.acquire(signal);
    const { inbound } = this.#bandwidth;
    if (!this.#ports.delete(classId) || !isLimit(inbound)) return;
    await this.#limits.carryOut(planUnplug(this.#bridge, inbound, classId, [...this.#ports.values()]), signal);
  }

  #requireRoom(inbound: Rate | undefined, port: FloorPort, ports: readonly FloorPort[]): asserts inbound is Rate {
    if (!isLimit(inbound)) {
      throw new VirtError(
        `cannot keep ${port.floor} kB/s for the interface ${port.mac}: network '${this.#network}' has no inbound bandwidth to take it from: give it <bandwidth><inbound average=…/>`,
        { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.NETWORK },
      );
    }
    const [most, which] = inbound.peak === undefined ? [inbound.average, 'average'] : [inbound.peak, 'peak'];
    if (floorSum(ports) <= most) return;
    throw new VirtError(
      `cannot keep ${port.floor} kB/s for the interface ${port.mac}: that would overcommit '${which}' (${most}) on network '${this.#network}', of which ${floorSum(ports) - port.floor} are given away`,
      { code: ErrorCode.OPERATION_INVALID, domain: ErrorDomain.NETWORK },
    );
  }

  /** For when the bridge is gone or goes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#limits[Symbol.asyncDispose]();
  }
}

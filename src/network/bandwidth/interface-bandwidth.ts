/** Limits of one guest's interface, from its start, changed while it runs. */
import { DeviceLimits, type LimitOptions } from './device-limits.ts';
import { type Bandwidth, planInterfaceBandwidth } from './traffic-plan.ts';

export interface InterfaceBandwidthOptions extends LimitOptions {
  /** The device is a macvtap. */
  readonly hostView?: boolean | undefined;
  /** The device runs already, and may have limits that are to be replaced. */
  readonly isAdopted?: boolean | undefined;
}

/** Of a device that is there. @throws VirtError INTERNAL_ERROR where the kernel refuses; then nothing is limited */
export async function openInterfaceBandwidth(
  device: string,
  bandwidth: Bandwidth,
  options: InterfaceBandwidthOptions,
): Promise<InterfaceBandwidth> {
  const limits = new InterfaceBandwidth(device, options);
  await limits.set(bandwidth, { signal: options.signal });
  return limits;
}

export class InterfaceBandwidth implements AsyncDisposable {
  readonly #device: string;
  readonly #hostView: boolean;
  readonly #limits: DeviceLimits;

  constructor(device: string, { ledger, hostView = false, isAdopted = false }: InterfaceBandwidthOptions) {
    this.#device = device;
    this.#hostView = hostView;
    this.#limits = new DeviceLimits(device, ledger, { isAdopted });
  }

  /** Replaces what there was; an empty one lifts all limits. */
  async set(bandwidth: Bandwidth, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#limits.removeTable();
    try {
      await this.#limits.carryOut(
        planInterfaceBandwidth(this.#device, bandwidth, { hostView: this.#hostView }),
        signal,
      );
    } catch (error) {
      // Half a limit is none that anybody asked for.
      await this.#limits.carryOut(planInterfaceBandwidth(this.#device, {}), signal);
      await this.#limits.removeTable();
      throw error;
    }
  }

  /** For when the device is gone or goes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#limits[Symbol.asyncDispose]();
  }
}

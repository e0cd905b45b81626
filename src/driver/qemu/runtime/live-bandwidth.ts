/** Bandwidth of running guests' interfaces: what the host's end may carry is changed while it runs. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { InterfaceBandwidth } from '../../../network/bandwidth/interface-bandwidth.ts';
import type { QemuRoot } from './qemu-root.ts';
import type { RunningGuest } from './running-guest.ts';

/** The limits that were changed here, by guest and device: the next change replaces them. */
export class LiveBandwidths {
  readonly #root: QemuRoot;
  readonly #limits = new WeakMap<RunningGuest, Map<string, InterfaceBandwidth>>();

  constructor(root: QemuRoot) {
    this.#root = root;
  }

  /** @throws VirtError OPERATION_UNSUPPORTED for an interface without a device of the host's; INTERNAL_ERROR where the kernel refuses */
  async set(
    guest: RunningGuest,
    { target, type, bandwidth = {} }: NetworkInterface,
    signal?: AbortSignal,
  ): Promise<void> {
    const device = target?.dev;
    if (device === undefined) throw unsupported('the interface has no device on this host');
    // A share is the network's to give, and reserved when the guest joins it.
    if (bandwidth.inbound?.floor !== undefined)
      throw unsupported('a share (floor) cannot be changed while the guest runs');
    const known = this.#limits.get(guest) ?? new Map<string, InterfaceBandwidth>();
    this.#limits.set(guest, known);
    const limits = known.get(device);
    if (limits !== undefined) return await limits.set(bandwidth, { signal });
    const { openInterfaceBandwidth } = await import('../../../network/bandwidth/interface-bandwidth.ts');
    const shortName = this.#root.layout.shortName(guest.id, guest.domain.name ?? '');
    const opened = await openInterfaceBandwidth(device, bandwidth, {
      ledger: this.#root.ledgerOf(shortName).ledger,
      hostView: type === 'direct',
      isAdopted: true,
      signal,
    });
    known.set(device, opened);
    guest.keepPlugged(opened);
  }
}

function unsupported(why: string): VirtError {
  return new VirtError(
    `the bandwidth of a running interface cannot be changed: ${why}; change the next start (--config)`,
    {
      code: ErrorCode.OPERATION_UNSUPPORTED,
      domain: ErrorDomain.QEMU,
    },
  );
}

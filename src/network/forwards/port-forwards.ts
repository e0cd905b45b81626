/**
 * Ports of the host that lead to guests of one network: which there are, whether they are free, and where their guests are at the moment. The rules that
 * carry connections there are the firewall's.
 */
import { isIP } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { Mutex } from '../../core/mutex.ts';
import type { BridgedNetwork, HostPortForward } from '../../model/network/network.ts';
import { lookUpProgram } from '../../process/find-program.ts';
import { runCommand } from '../../process/run-command.ts';
import type { NetworkFirewall } from '../firewall/network-firewall.ts';
import type { ResolvedForward } from '../firewall/network-rules.ts';
import { describePort, type PortName, ReservedPort } from './reserved-port.ts';

export interface PortForwardsOptions {
  readonly firewall: Pick<NetworkFirewall, 'setForwards'>;
  /** A guest's addresses at the moment, of both families; none where it has none or is not there. */
  readonly resolve: (guest: string) => Promise<readonly string[]>;
  readonly onNote: (note: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A forward as it stands. */
export interface PortForwardState {
  readonly forward: HostPortForward;
  /** Empty: it waits for its guest. */
  readonly addresses: readonly string[];
}

interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

interface OpenForward {
  readonly forward: HostPortForward;
  readonly reserved: ReservedPort;
  addresses: readonly string[];
}

const log = new LogSource('network.bridge_driver');

/**
 * Those that the network's definition declares.
 * @throws VirtError RESOURCE_BUSY where a port is taken; then none is forwarded
 */
export async function openPortForwards(network: BridgedNetwork, options: PortForwardsOptions): Promise<PortForwards> {
  const forwards = new PortForwards(options);
  try {
    for (const forward of network.portForwards) await forwards.declare(forward);
    await forwards.update({ signal: options.signal });
    return forwards;
  } catch (error) {
    await forwards[Symbol.asyncDispose]();
    throw error;
  }
}

export class PortForwards implements AsyncDisposable {
  readonly #options: PortForwardsOptions;
  readonly #open: OpenForward[] = [];
  readonly #changes = new Mutex();
  #made: readonly ResolvedForward[] = [];

  constructor(options: PortForwardsOptions) {
    this.#options = options;
  }

  list(): readonly PortForwardState[] {
    return this.#open.map(({ forward, addresses }) => ({ forward, addresses }));
  }

  /** Takes the port; `update` brings it into effect. @throws VirtError RESOURCE_BUSY */
  async declare(forward: HostPortForward): Promise<void> {
    const other = this.#open.find((open) => overlaps(open.forward, forward));
    if (other !== undefined) {
      throw new VirtError(
        `cannot forward ${describePort(forward)} to '${forward.guest}': ${describePort(other.forward)} goes to '${other.forward.guest}' already`,
        { code: ErrorCode.RESOURCE_BUSY, domain: ErrorDomain.NETWORK },
      );
    }
    this.#open.push({ forward, reserved: await ReservedPort.take(forward), addresses: [] });
  }

  /** These, and no others. @throws VirtError RESOURCE_BUSY where a port is taken; then all is as before */
  async set(wanted: readonly HostPortForward[], { signal }: Waiting = {}): Promise<void> {
    const before = this.#open.map(({ forward }) => forward);
    const isIn = (list: readonly HostPortForward[]) => (one: HostPortForward) =>
      list.some((other) => isDeepStrictEqual({ ...one }, { ...other }));
    const gone = before.filter((one) => !isIn(wanted)(one));
    const declared: HostPortForward[] = [];
    for (const forward of gone) await this.#drop(forward);
    try {
      for (const forward of wanted.filter((one) => !isIn(before)(one))) {
        await this.declare(forward);
        declared.push(forward);
      }
    } catch (error) {
      for (const forward of declared) await this.#drop(forward);
      for (const forward of gone) await this.declare(forward);
      throw error;
    } finally {
      await this.update({ signal });
    }
  }

  /** @throws VirtError RESOURCE_BUSY where the port is taken */
  async add(forward: HostPortForward, { signal }: Waiting = {}): Promise<void> {
    await this.declare(forward);
    try {
      await this.update({ signal });
    } catch (error) {
      await this.#drop(forward);
      throw error;
    }
  }

  /** @throws VirtError OPERATION_INVALID where there is none */
  async remove(name: PortName, { signal }: Waiting = {}): Promise<void> {
    if (!(await this.#drop(name))) {
      throw new VirtError(`cannot remove the forward of ${describePort(name)}: there is none`, {
        code: ErrorCode.OPERATION_INVALID,
        domain: ErrorDomain.NETWORK,
      });
    }
    await this.update({ signal });
  }

  /** Guests have come, gone, or have other addresses. Does nothing where that is of no consequence. */
  async update({ signal }: Waiting = {}): Promise<void> {
    using _lock = await this.#changes.acquire(signal);
    const guests = [...new Set(this.#open.map(({ forward }) => forward.guest))];
    const addresses = new Map(
      await Promise.all(guests.map(async (guest) => [guest, await this.#find(guest)] as const)),
    );
    for (const open of this.#open) {
      const { address, guest } = open.forward;
      open.addresses = onePerFamily(addresses.get(guest) ?? [], address);
    }
    const wanted = this.#open.flatMap(resolved);
    const gone = this.#made.filter((made) => !wanted.some((forward) => isSame(forward, made)));
    const isNew = wanted.some((forward) => !this.#made.some((made) => isSame(forward, made)));
    if (!isNew && gone.length === 0) return;
    await this.#options.firewall.setForwards(wanted, { signal });
    for (const {
      reserved,
      addresses: [first],
      forward,
    } of this.#open) {
      reserved.guest = first === undefined ? undefined : { address: first, port: forward.to ?? forward.port };
    }
    this.#made = wanted;
    for (const forward of gone) await forgetConnections(forward, signal);
  }

  /** Gives the ports back. The rules end with the firewall, or are removed before. */
  async [Symbol.asyncDispose](): Promise<void> {
    const names = this.#open.map(({ forward }) => forward);
    for (const name of names) await this.#drop(name);
    await this.update();
  }

  async #find(guest: string): Promise<readonly string[]> {
    return isIP(guest) === 0 ? await this.#options.resolve(guest) : [guest];
  }

  async #drop(name: PortName): Promise<boolean> {
    const index = this.#open.findIndex(({ forward }) => isNamed(forward, name));
    const [open] = index < 0 ? [] : this.#open.splice(index, 1);
    await open?.reserved[Symbol.asyncDispose]();
    return open !== undefined;
  }
}

function resolved({ forward, addresses }: OpenForward): ResolvedForward[] {
  const { proto, address, port, to = port } = forward;
  return addresses.map((guestAddress) => ({ proto, address, port, guestAddress, guestPort: to }));
}

/** The first of each family, and only of that which the host's end has. */
function onePerFamily(addresses: readonly string[], hostAddress: string | undefined): string[] {
  const families = hostAddress === undefined ? [4, 6] : [isIP(hostAddress)];
  return families.flatMap((family) => addresses.find((address) => isIP(address) === family) ?? []);
}

function overlaps(one: PortName, other: PortName): boolean {
  const isSameAddress = one.address === undefined || other.address === undefined || one.address === other.address;
  return one.proto === other.proto && one.port === other.port && isSameAddress;
}

function isNamed(forward: PortName, { proto, address, port }: PortName): boolean {
  return forward.proto === proto && forward.port === port && forward.address === address;
}

function isSame(one: ResolvedForward, other: ResolvedForward): boolean {
  return isNamed(one, other) && one.guestAddress === other.guestAddress && one.guestPort === other.guestPort;
}

/** Whoever keeps sending datagrams would reach the old guest for ever: the kernel remembers. Without the program, for as long as they pause. */
async function forgetConnections({ proto, port, guestAddress }: ResolvedForward, signal?: AbortSignal): Promise<void> {
  if (lookUpProgram('conntrack') === undefined) return;
  const family = guestAddress.includes(':') ? 'ipv6' : 'ipv4';
  const args = ['-D', '-f', family, '-p', proto, '--orig-port-dst', String(port), '--reply-src', guestAddress];
  const { stderr } = await runCommand('conntrack', args, { timeout: 5000, killSignal: 'SIGKILL', signal });
  log.debug('forgetConnections', () => stderr.trim());
}

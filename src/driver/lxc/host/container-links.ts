/**
 * The interfaces of one container: makes them in its network namespace, limits the host's ends, adds and removes some while it runs. What is made
 * lies in the container's namespace with one end at least, so that the kernel removes it with the container; limits that outlive it are in the
 * ledger.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import { randomBelow } from '../../../core/random.ts';
import type { Hostdev } from '../../../model/domain/devices/hostdev.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { InterfaceBandwidth } from '../../../network/bandwidth/interface-bandwidth.ts';
import type { Bandwidth } from '../../../network/bandwidth/traffic-plan.ts';
import { IpBatchError, runIpBatch } from '../../../network/bridge/ip-command.ts';
import type { NetworkAttachment } from '../../guest-sources.ts';
import {
  interfaceNumbers,
  isHostLink,
  type LinkPlan,
  type NetworkPlanInput,
  planHostLink,
  planInterface,
  planLinkRemoval,
} from '../plan/container-network.ts';
import type { LinkNames } from './link-names.ts';

const log = new LogSource('lxc.lxc_process');

export interface ContainerLinksOptions {
  /** A process in the container's network namespace, by this process's numbers. */
  readonly pid: number;
  readonly ledger: Pick<Ledger, 'record'>;
  /** One for all containers of a driver. */
  readonly names: LinkNames;
  /** What an interface of type `network` is really connected to. */
  readonly attachmentOf?: ((device: NetworkInterface) => NetworkAttachment | undefined) | undefined;
  /** The host's end is there: the virtual network joins it. */
  readonly onPlugged?: ((device: NetworkInterface, hostEnd: string) => Promise<void>) | undefined;
}

/** How often another process may take the name that was free a moment ago. */
const MAX_NAME_ATTEMPTS = 100;
/** How long the kernel may take to remove the interface of a container that has ended. */
const LEAVES_MS = 2000;
const LEAVES_POLL_MS = 10;
/** Among how many more free names each further attempt chooses. */
const SPREAD = 30;

interface Link extends Pick<LinkPlan, 'name' | 'hostEnd'> {
  limits?: InterfaceBandwidth | undefined;
}

export class ContainerLinks implements AsyncDisposable {
  readonly #options: ContainerLinksOptions;
  readonly #links = new Map<NetworkInterface, Link>();

  constructor(options: ContainerLinksOptions) {
    this.#options = options;
  }

  /** Of a container that an earlier process has connected: what its live definition says of the ends of its interfaces. */
  static takeOver({ devices }: Domain, options: ContainerLinksOptions): ContainerLinks {
    const links = new ContainerLinks(options);
    const numbers = interfaceNumbers(devices);
    for (const [index, device] of (devices?.interfaces ?? []).entries()) {
      const name = device.guest?.dev ?? `eth${numbers[index] ?? index}`;
      links.#links.set(device, { name, hostEnd: device.target?.dev });
    }
    return links;
  }

  /**
   * Before the container's first program: its loopback, all its interfaces, the host's devices that it gets. The definition's interfaces are told
   * the names of their ends (`target`).
   * @throws VirtError; then nothing is limited, and what was made goes with the namespace
   */
  async connect({ devices }: Domain, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    await using undo = new DisposalStack();
    undo.use(this);
    const inside = ['link set dev lo up'];
    const numbers = interfaceNumbers(devices);
    for (const [index, device] of (devices?.interfaces ?? []).entries()) {
      inside.push(...(await this.#plug(device, numbers[index] ?? index, signal)).inside);
    }
    for (const device of (devices?.hostdevs ?? []).filter(isHostLink)) {
      const plan = planHostLink(device, this.#input(noName));
      await this.#onHost(plan, signal);
      inside.push(...plan.inside);
    }
    await this.#inside(inside, signal);
    undo.move();
  }

  /** Also while the container runs. `index` names it where the definition does not. @returns its name inside */
  async attach(
    device: NetworkInterface,
    index: number,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<string> {
    const { name, inside } = await this.#plug(device, this.#freeIndex(index), signal);
    await using undo = new DisposalStack();
    undo.defer(async () => await this.detach(device));
    await this.#inside(inside, signal);
    undo.move();
    return name;
  }

  /** @throws VirtError where the kernel refuses */
  async detach(device: NetworkInterface): Promise<void> {
    const link = this.#links.get(device);
    if (link === undefined) return;
    await link.limits?.[Symbol.asyncDispose]();
    await this.#remove(link, false);
    this.#links.delete(device);
  }

  async giveHostLink(device: Hostdev, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const plan = planHostLink(device, this.#input(noName));
    await this.#onHost(plan, signal);
    await this.#inside(plan.inside, signal);
  }

  /** The host has it again. */
  async takeHostLink(device: Hostdev): Promise<void> {
    await this.#remove(planHostLink(device, this.#input(noName)), true);
  }

  /** Replaces the limits of an interface. */
  async limit(device: NetworkInterface, bandwidth: Bandwidth): Promise<void> {
    const link = this.#links.get(device);
    if (link?.hostEnd === undefined) return;
    if (link.limits === undefined) link.limits = await openLimits(link.hostEnd, bandwidth, this.#options.ledger);
    else await link.limits.set(bandwidth);
  }

  /** For when the container has ended: the interfaces have gone with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { limits } of this.#links.values()) await limits?.[Symbol.asyncDispose]();
    this.#links.clear();
  }

  /** One that names no interface yet: others may have left. */
  #freeIndex(index: number): number {
    const names = new Set([...this.#links.values()].map(({ name }) => name));
    let free = index;
    while (names.has(`eth${free}`)) free++;
    return free;
  }

  /** The host's side of an interface, whole or not at all. */
  async #plug(device: NetworkInterface, index: number, signal: AbortSignal | undefined): Promise<LinkPlan> {
    const plan = await this.#make(device, index, signal);
    const { name, hostEnd } = plan;
    const link: Link = { name, hostEnd };
    this.#links.set(device, link);
    device.guest = { ...device.guest, dev: name };
    log.debug('plug', () => `${name} of process ${this.#options.pid}, host's end ${hostEnd ?? 'none'}`);
    if (hostEnd === undefined) return plan;
    await using undo = new DisposalStack();
    undo.defer(async () => await this.detach(device));
    device.target = { ...device.target, dev: hostEnd };
    if (device.bandwidth !== undefined) {
      link.limits = await openLimits(hostEnd, device.bandwidth, this.#options.ledger, signal);
    }
    await this.#options.onPlugged?.(device, hostEnd);
    undo.move();
    return plan;
  }

  /** What the host does, again with another name where somebody else was quicker. */
  async #make(device: NetworkInterface, index: number, signal: AbortSignal | undefined): Promise<LinkPlan> {
    const { names } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const skip = attempt === 1 ? 0 : randomBelow(attempt * SPREAD);
      const taken: string[] = [];
      const plan = planInterface(
        device,
        index,
        this.#input((prefix) => {
          const name = names.take(prefix, skip);
          taken.push(name);
          return name;
        }),
      );
      try {
        await runIpBatch(plan.host, signal);
        return plan;
      } catch (error) {
        if (error instanceof IpBatchError && error.line > 0) await this.#remove(plan, false);
        // The first line makes the interface. Whether its name was the reason tells the host, not the message.
        const isFirstLine = error instanceof IpBatchError && error.line === 0;
        const isLate = isFirstLine && taken.some((name) => names.has(name));
        // One that the definition names may be that of a run before, which the kernel takes away a moment after its last process.
        const { hostEnd } = plan;
        const mayLeave = isFirstLine && attempt === 1 && hostEnd !== undefined && !taken.includes(hostEnd);
        if (mayLeave && (await this.#leaves(hostEnd, signal))) continue;
        if (!isLate || attempt >= MAX_NAME_ATTEMPTS) throw this.#explained(error, plan);
      } finally {
        for (const name of taken) names.release(name);
      }
    }
  }

  async #onHost(plan: LinkPlan, signal: AbortSignal | undefined): Promise<void> {
    await runIpBatch(plan.host, signal).catch((error: unknown) => {
      throw this.#explained(error, plan);
    });
  }

  /** What the host lacks, where that is the reason. Asked after the failure: a device may have further names, which only the kernel knows. */
  #explained(error: unknown, { needs }: LinkPlan): unknown {
    if (!(error instanceof IpBatchError) || needs === undefined || this.#options.names.has(needs.name)) return error;
    const { name, isBridge } = needs;
    const message = isBridge
      ? `there is no bridge '${name}' on this host: create it (ip link add ${name} type bridge; ip link set ${name} up), or use <interface type='network'>`
      : `there is no network device '${name}' on this host: ip -brief link shows those that there are`;
    return new VirtError(message, { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.NETWORK, cause: error });
  }

  /** Whether the host has an interface of that name no longer, after a while at the most. */
  async #leaves(name: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { names } = this.#options;
    for (let waitedMs = 0; names.has(name); waitedMs += LEAVES_POLL_MS) {
      if (waitedMs >= LEAVES_MS) return false;
      await pause(LEAVES_POLL_MS, undefined, { signal });
    }
    return true;
  }

  #input(freeName: (prefix: string) => string): NetworkPlanInput {
    const { pid, attachmentOf } = this.#options;
    return { pid, attachmentOf: attachmentOf ?? (() => undefined), freeName };
  }

  async #remove(link: Pick<LinkPlan, 'name' | 'hostEnd'>, isHosts: boolean): Promise<void> {
    const { host, inside } = planLinkRemoval(link, { isHosts, home: process.pid });
    await runIpBatch(host);
    await this.#inside(inside, undefined);
  }

  async #inside(lines: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    await runIpBatch(lines, signal, { namespaceOf: this.#options.pid });
  }
}

/** For plans that need none. */
function noName(): never {
  throw new TypeError('a device of the host keeps its name');
}

async function openLimits(
  hostEnd: string,
  bandwidth: Bandwidth,
  ledger: Pick<Ledger, 'record'>,
  signal?: AbortSignal,
): Promise<InterfaceBandwidth> {
  const { openInterfaceBandwidth } = await import('../../../network/bandwidth/interface-bandwidth.ts');
  return await openInterfaceBandwidth(hostEnd, bandwidth, { ledger, signal });
}

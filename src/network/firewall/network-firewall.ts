/**
 * The firewall of one running network: made when it starts, changed with it, put back when somebody flushed it, removed at its end. What the rules are
 * is planned in `plan.ts`; this owns them, in the ledger before they are made.
 */
import { writeFileSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { Ledger, LedgerEntry } from '../../core/ledger.ts';
import { LogSource } from '../../core/log-source.ts';
import { Mutex } from '../../core/mutex.ts';
import type { BridgedNetwork } from '../../model/network/network.ts';
import { networkNamespace } from '../network-namespace.ts';
import { isComplete, makeStep, removeChains, removeTable, tryTraffic } from './carry-out.ts';
import { type FirewallFacts, readFirewallFacts } from './facts.ts';
import type { ResolvedForward } from './network-rules.ts';
import { type FirewallBackend, type FirewallPlan, type FirewallStep, planFirewall } from './plan.ts';
import type { RuleFamily } from './rule.ts';

export interface FirewallOptions {
  readonly ledger: Pick<Ledger, 'record'>;
  /** What the administrator should know. */
  readonly onNote: (note: string) => void;
  /** Undefined: nft where it works, else iptables. */
  readonly backend?: FirewallBackend | undefined;
  readonly proc?: string;
  readonly signal?: AbortSignal | undefined;
}

interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

/** One thing that was made, and how to remove it. */
interface Made {
  readonly entry: LedgerEntry;
  remove(signal?: AbortSignal): Promise<void>;
}

const log = new LogSource('network.bridge_driver');

/**
 * Makes the rules of a network whose bridge is there. Rules of the same network that an earlier process left are replaced.
 * @throws VirtError INTERNAL_ERROR where no firewall takes them; then none are left
 */
export async function openFirewall(network: BridgedNetwork, options: FirewallOptions): Promise<NetworkFirewall> {
  const { proc, signal } = options;
  const facts = await readFirewallFacts({ ...(proc !== undefined && { proc }), signal });
  if (facts.nft === undefined && facts.iptables === undefined && Object.keys(facts.commands).length === 0) {
    throw new VirtError(
      `cannot make the firewall of network '${network.name}': neither nft nor iptables is installed: apt-get install nftables`,
      { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.FIREWALL },
    );
  }
  const first = options.backend ?? (facts.nft === undefined ? 'iptables' : 'nft');
  const firewall = new NetworkFirewall(network, facts, first, options);
  try {
    await firewall.update(network, { signal });
    return firewall;
  } catch (error) {
    await firewall[Symbol.asyncDispose]();
    signal?.throwIfAborted();
    const isChoice = options.backend === undefined && first === 'nft' && Object.keys(facts.commands).length > 0;
    if (!isChoice) throw failure(network, error);
    return await openOther(network, facts, options, error);
  }
}

/** iptables, where the kernel refuses nft; what nft said stays the reason when that fails too. */
async function openOther(
  network: BridgedNetwork,
  facts: FirewallFacts,
  options: FirewallOptions,
  reason: unknown,
): Promise<NetworkFirewall> {
  // nft was refused, so that iptables of its family would be as well.
  const { legacy } = facts.commands;
  const usable = legacy === undefined ? facts : { ...facts, iptables: 'legacy' as const };
  const firewall = new NetworkFirewall(network, usable, 'iptables', options);
  try {
    await firewall.update(network, { signal: options.signal });
  } catch (error) {
    log.warn('openFirewall', () => `iptables does not work either: ${String(error)}`);
    await firewall[Symbol.asyncDispose]();
    throw failure(network, reason);
  }
  options.onNote(
    `the firewall of network '${network.name}' is made with iptables, because nft does not work here: ${wordsOf(reason)}`,
  );
  return firewall;
}

export class NetworkFirewall implements AsyncDisposable {
  #network: BridgedNetwork;
  #plan: FirewallPlan;
  #forwards: readonly ResolvedForward[] = [];
  readonly #facts: FirewallFacts;
  readonly #backend: FirewallBackend;
  readonly #options: FirewallOptions;
  readonly #made = new Map<string, Made>();
  readonly #told = new Set<string>();
  readonly #changes = new Mutex();
  #routesLoopback = false;
  #fillsChecksums = false;
  #disposed = false;

  /** Makes nothing yet: `openFirewall` does. */
  constructor(network: BridgedNetwork, facts: FirewallFacts, backend: FirewallBackend, options: FirewallOptions) {
    this.#network = network;
    this.#facts = facts;
    this.#backend = backend;
    this.#options = options;
    this.#plan = this.#planned(network, []);
  }

  /** What is made. */
  get plan(): FirewallPlan {
    return this.#plan;
  }

  /** The network has other addresses or another way to the outside now. Replaces the rules; connections stay. */
  async update(network: BridgedNetwork, { signal }: Waiting = {}): Promise<void> {
    await this.#change(network, this.#forwards, signal);
  }

  /** Connections to ports of the host that go to guests: these, and no others. */
  async setForwards(forwards: readonly ResolvedForward[], { signal }: Waiting = {}): Promise<void> {
    await this.#change(this.#network, forwards, signal);
  }

  /** Puts back what somebody has flushed. @returns whether something was missing */
  async refresh({ signal }: Waiting = {}): Promise<boolean> {
    using _lock = await this.#changes.acquire(signal);
    if (this.#disposed) return false;
    const { steps, bridge } = this.#plan;
    const states = await Promise.all(steps.map((step) => isComplete(step, bridge, signal)));
    if (states.every(Boolean)) return false;
    log.info('refresh', () => `rules of ${bridge} were flushed: they are made again`);
    await this.#make(this.#plan, signal);
    return true;
  }

  /** Removes all rules. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    using _lock = await this.#changes.acquire();
    this.#disposed = true;
    await this.#removeAllBut(new Set());
  }

  async #change(
    network: BridgedNetwork,
    forwards: readonly ResolvedForward[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    using _lock = await this.#changes.acquire(signal);
    if (this.#disposed) return;
    const plan = this.#planned(network, forwards);
    await this.#make(plan, signal);
    this.#network = network;
    this.#forwards = forwards;
    this.#plan = plan;
    this.#tell(plan.notes);
  }

  #planned(network: BridgedNetwork, forwards: readonly ResolvedForward[]): FirewallPlan {
    return planFirewall(network, { backend: this.#backend, facts: this.#facts, forwards });
  }

  async #make(plan: FirewallPlan, signal: AbortSignal | undefined): Promise<void> {
    const keep = new Set<string>();
    // It goes with the bridge, and only clients of DHCP from many years ago need it.
    const checksums = this.#fillsChecksums ? undefined : tryTraffic(plan.checksums, signal);
    this.#fillsChecksums = true;
    for (const step of plan.steps) {
      const known = new Set(this.#made.keys());
      for (const { key, made } of this.#recorded(step, plan.bridge)) {
        keep.add(key);
        this.#made.set(key, made);
      }
      try {
        await makeStep(step, plan.bridge, signal);
      } catch (error) {
        if (step.kind === 'nft') this.#forgetAllBut(known);
        throw error;
      }
    }
    await checksums;
    await this.#removeAllBut(keep);
    this.#routeLoopback(plan);
  }

  /** Records what a step makes, unless it is already. */
  #recorded(step: FirewallStep, bridge: string): { key: string; made: Made }[] {
    const families = step.kind === 'nft' ? step.families : [step.family];
    return families.map((family) => {
      const key = step.kind === 'nft' ? `nft ${family}` : `${step.command} ${family}`;
      return { key, made: this.#made.get(key) ?? this.#record(step, family, bridge) };
    });
  }

  #record(step: FirewallStep, family: RuleFamily, bridge: string): Made {
    const { ledger, proc } = this.#options;
    const identity = { family, bridge, namespace: networkNamespace(proc) };
    if (step.kind === 'nft') {
      const entry = ledger.record('nft-table', identity);
      return { entry, remove: (signal) => removeTable(family, bridge, signal) };
    }
    const { command } = step;
    const entry = ledger.record('iptables-chain', { ...identity, command });
    return { entry, remove: (signal) => removeChains(command, family, bridge, signal) };
  }

  /** What nft refuses is not made in part. */
  #forgetAllBut(known: ReadonlySet<string>): void {
    for (const [key, { entry }] of this.#made) {
      if (known.has(key)) continue;
      entry.done();
      this.#made.delete(key);
    }
  }

  async #removeAllBut(keep: ReadonlySet<string>): Promise<void> {
    for (const [key, made] of this.#made) {
      if (keep.has(key)) continue;
      await made.remove();
      made.entry.done();
      this.#made.delete(key);
    }
  }

  /** The setting is the bridge's own and goes with it; it is made when the rule that guards it stands. */
  #routeLoopback({ routeLoopback, bridge }: FirewallPlan): void {
    if (routeLoopback === this.#routesLoopback) return;
    const path = `${this.#options.proc ?? '/proc'}/sys/net/ipv4/conf/${bridge}/route_localnet`;
    try {
      writeFileSync(path, routeLoopback ? '1' : '0');
      this.#routesLoopback = routeLoopback;
    } catch (error) {
      this.#tell([
        `forwarded ports are not reached at 127.0.0.1, only at this host's other addresses: writing ${path}: ${wordsOf(error)}`,
      ]);
    }
  }

  #tell(notes: readonly string[]): void {
    for (const note of notes) {
      if (this.#told.has(note)) continue;
      this.#told.add(note);
      this.#options.onNote(note);
    }
  }
}

function failure(network: BridgedNetwork, cause: unknown): VirtError {
  return new VirtError(`cannot make the firewall of network '${network.name}': ${wordsOf(cause)}`, {
    code: cause instanceof VirtError ? cause.code : ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.FIREWALL,
    cause,
  });
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

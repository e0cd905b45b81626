/**
 * A running network with a bridge of its own: bridge, firewall, dnsmasq and shares of bandwidth, made in that order and taken away in the other.
 * Guests come and go; which of them there are is its owner's to know.
 */
import { existsSync, type FSWatcher, mkdirSync, readFileSync, rmSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { DisposalStack } from '../../core/dispose.ts';
import { LogSource } from '../../core/log-source.ts';
import { Mutex } from '../../core/mutex.ts';
import type { BridgedNetwork } from '../../model/network/network.ts';
import { adoptBridge, makeBridge } from '../../network/bridge/bridge-device.ts';
import { planBridge } from '../../network/bridge/bridge-plan.ts';
import { runBridgeBatch, runIpBatch } from '../../network/bridge/ip-command.ts';
import type { ProcessIdentity } from '../../process/proc.ts';
import type { ObjectLedger, SiblingRoot } from '../siblings.ts';
import { type FileHost, readHostsFile } from './dhcp-hosts-file.ts';
import { dnsmasqNotes, inlineHosts, needsDnsmasq, planDnsmasq } from './dnsmasq-config.ts';
import { DnsmasqProcess } from './dnsmasq-process.ts';
import { readHostRoutes, requireFreeSubnets, requireRouterAdvertisements } from './host-routes.ts';
import { parseLeaseFile } from './lease-file.ts';
import { dnsmasqFiles, leaseFile, ledgerName } from './network-paths.ts';
import type { PortRecord } from './network-ports.ts';
import { type NetworkRules, openNetworkRules } from './network-rules.ts';

const log = new LogSource('network.bridge_driver');

export interface BridgedNetworkOptions {
  readonly root: SiblingRoot;
  readonly onNote: (note: string) => void;
  /** The guests on it, for names in port forwards. */
  readonly ports: () => Iterable<PortRecord>;
  /** Whether a guest of that MAC address was on it and is gone. */
  readonly hasLeft: (mac: string) => boolean;
  /** dnsmasq is another process now: to be written down. */
  readonly onRestart: () => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

export class BridgedNetworkRun implements AsyncDisposable {
  #network: BridgedNetwork;
  readonly #options: BridgedNetworkOptions;
  readonly #own: ObjectLedger;
  readonly #stack = new DisposalStack();
  #dnsmasq: DnsmasqProcess | undefined;
  #rules: NetworkRules | undefined;
  #watcher: FSWatcher | undefined;
  #fileHosts: readonly FileHost[] = [];
  #hostsWatcher: FSWatcher | undefined;
  /** One at a time has dnsmasq started anew. */
  readonly #serving = new Mutex();
  #isEnding = false;

  private constructor(network: BridgedNetwork, options: BridgedNetworkOptions) {
    this.#network = network;
    this.#options = options;
    this.#own = options.root.ledgerOf(ledgerName(network.name));
    this.#stack.defer(() => this.#own.done());
  }

  /** @throws VirtError; then nothing is left of it */
  static async start(network: BridgedNetwork, options: BridgedNetworkOptions): Promise<BridgedNetworkRun> {
    const run = new BridgedNetworkRun(network, options);
    const { signal } = options;
    try {
      requireFreeSubnets(network, readHostRoutes());
      requireRouterAdvertisements(network);
      const plan = planBridge(network);
      run.#stack.use(await makeBridge(plan, { ledger: run.#own.ledger, signal }));
      await run.#openRules();
      await run.#startDnsmasq(signal);
      for (const note of dnsmasqNotes(network)) options.onNote(note);
      run.#follow();
      return run;
    } catch (error) {
      await run[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What a daemon before us started. */
  static async takeOver(
    network: BridgedNetwork,
    dnsmasq: ProcessIdentity | undefined,
    options: BridgedNetworkOptions,
  ): Promise<BridgedNetworkRun> {
    const run = new BridgedNetworkRun(network, options);
    run.#stack.use(adoptBridge(planBridge(network), { ledger: run.#own.ledger }));
    await run.#openRules();
    const files = dnsmasqFiles(options.root, network.name);
    if (dnsmasq !== undefined) {
      run.#dnsmasq = DnsmasqProcess.adopt(dnsmasq, files, {
        ledger: run.#own.ledger,
        onEnd: (why) => run.#dnsmasqEnded(why),
      });
    }
    run.#stack.defer(() => run.#stopDnsmasq());
    // It ended while no daemon was there to see.
    if (run.#dnsmasq === undefined) await run.#spawnDnsmasq(network, undefined);
    else run.#findHosts();
    run.#follow();
    return run;
  }

  get dnsmasq(): ProcessIdentity | undefined {
    return this.#dnsmasq?.identity;
  }

  get rules(): NetworkRules | undefined {
    return this.#rules;
  }

  /** The definition changed. @throws VirtError; the network then runs as before, as far as can be */
  async update(
    network: BridgedNetwork,
    { dnsmasq, signal }: { dnsmasq: boolean; signal?: AbortSignal | undefined },
  ): Promise<void> {
    const before = this.#network;
    using _turn = await this.#serving.acquire(signal);
    if (dnsmasq) {
      const [hosts, kept] = [readHostsFile(network), this.#fileHosts];
      await this.#stopDnsmasq();
      try {
        await this.#spawnDnsmasq(network, signal, hosts);
      } catch (error) {
        await this.#spawnDnsmasq(before, undefined, kept);
        throw error;
      }
    }
    await this.#rules?.update(network);
    this.#network = network;
    this.#follow();
  }

  /** The host's end of a guest's card is there. */
  async plug(port: PortRecord, hostEnd: string, { join }: { join: boolean }): Promise<void> {
    const { definition, attachment } = port;
    if (attachment.type !== 'bridge') return;
    if (join) await runIpBatch([`link set dev ${hostEnd} master ${attachment.bridge}`]);
    const settings: string[] = [];
    if (definition.port?.isolated === true) settings.push(`link set dev ${hostEnd} isolated on`);
    if (attachment.macTableManager === 'libvirt') {
      settings.push(
        `link set dev ${hostEnd} learning off flood off`,
        `fdb replace ${definition.mac.address} dev ${hostEnd} master static`,
      );
    }
    await runBridgeBatch(settings);
    await this.#guarantee(port);
    await this.#refreshForwards();
  }

  /** A port's share is another, or none. Where the bridge cannot give it, the port has what it had. @throws VirtError */
  async changeShare(before: PortRecord | undefined, after: PortRecord): Promise<void> {
    if (before?.classId !== undefined) await this.#rules?.withdraw(before.classId);
    try {
      await this.#guarantee(after);
    } catch (error) {
      if (before !== undefined) await this.#guarantee(before);
      throw error;
    }
  }

  async unplug({ classId }: PortRecord): Promise<void> {
    if (classId !== undefined) await this.#rules?.withdraw(classId);
    await this.#refreshForwards();
  }

  /** All goes on without us: a daemon that stops. */
  release(): void {
    this.#isEnding = true;
    this.#watcher?.close();
    this.#hostsWatcher?.close();
    this.#dnsmasq?.release();
    this.#own.ledger[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true;
    this.#watcher?.close();
    this.#hostsWatcher?.close();
    using _turn = await this.#serving.acquire();
    await this.#stack[Symbol.asyncDispose]();
  }

  async #guarantee({ definition, classId }: PortRecord): Promise<void> {
    const floor = definition.bandwidth?.inbound?.floor ?? 0;
    if (classId !== undefined && floor > 0)
      await this.#rules?.guarantee({ classId, mac: definition.mac.address, floor });
  }

  async #openRules(): Promise<void> {
    this.#rules = await openNetworkRules(this.#network, {
      ledger: this.#own.ledger,
      onNote: this.#options.onNote,
      resolve: async (guest) => this.#addressesOf(guest),
      signal: this.#options.signal,
    });
    this.#stack.use(this.#rules);
  }

  async #startDnsmasq(signal: AbortSignal | undefined): Promise<void> {
    this.#stack.defer(() => this.#stopDnsmasq());
    await this.#spawnDnsmasq(this.#network, signal);
  }

  async #spawnDnsmasq(
    network: BridgedNetwork,
    signal: AbortSignal | undefined,
    hosts: readonly FileHost[] = readHostsFile(network),
  ): Promise<void> {
    this.#fileHosts = hosts;
    if (!needsDnsmasq(network)) return;
    const { root } = this.#options;
    const files = dnsmasqFiles(root, network.name);
    for (const path of [files.conf, files.pid]) mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#dnsmasq = await DnsmasqProcess.start({
      network: network.name,
      conf: configurationOf(network, files.pid, hosts),
      files,
      ledger: this.#own.ledger,
      dieWithParent: root.placement === 'embedded',
      onEnd: (why) => this.#dnsmasqEnded(why),
      signal,
    });
  }

  async #stopDnsmasq(): Promise<void> {
    await this.#dnsmasq?.[Symbol.asyncDispose]();
    this.#dnsmasq = undefined;
  }

  #dnsmasqEnded(why: string): void {
    const { name } = this.#network;
    log.error('dnsmasq', () => `network=${name}: ${why}`);
    this.#options.onNote(
      `network '${name}' has no DHCP and DNS any more: ${why}; restart it (virsh net-destroy ${name}; virsh net-start ${name})`,
    );
  }

  /** Where guests of forwards are is known from their leases; a file of hosts is read again when somebody has changed it. */
  #follow(): void {
    this.#followHosts();
    if (this.#watcher !== undefined || this.#network.portForwards.length === 0) return;
    const path = leaseFile(this.#options.root, this.#network.name);
    if (!existsSync(dirname(path))) return;
    this.#watcher = watch(dirname(path), { persistent: false }, (_, name) => {
      if (name === basename(path)) void this.#refreshForwards();
    });
  }

  /** What the dnsmasq that was found knows; or else, what it is to know. */
  #findHosts(): void {
    if (this.#network.dhcpHostsFile === undefined) return;
    try {
      const { conf, pid } = dnsmasqFiles(this.#options.root, this.#network.name);
      const hosts = readHostsFile(this.#network);
      if (readFileSync(conf, 'utf8') === configurationOf(this.#network, pid, hosts)) this.#fileHosts = hosts;
      else void this.#rereadHosts();
    } catch (error) {
      this.#options.onNote(error instanceof Error ? error.message : String(error));
    }
  }

  #followHosts(): void {
    this.#hostsWatcher?.close();
    const path = this.#network.dhcpHostsFile?.path;
    this.#hostsWatcher = undefined;
    if (path === undefined || !existsSync(dirname(path))) return;
    this.#hostsWatcher = watch(dirname(path), { persistent: false }, (_, name) => {
      if (name === basename(path)) void this.#rereadHosts();
    });
  }

  /** Bad lines change nothing, and are told. */
  async #rereadHosts(): Promise<void> {
    using _turn = await this.#serving.acquire();
    if (this.#isEnding) return;
    const { name } = this.#network;
    try {
      const hosts = readHostsFile(this.#network);
      if (isDeepStrictEqual(hosts, this.#fileHosts)) return;
      await this.#stopDnsmasq();
      await this.#spawnDnsmasq(this.#network, undefined, hosts);
      await this.#options.onRestart();
      await this.#refreshForwards();
      log.info('rereadHosts', () => `network=${name}: ${hosts.length} hosts`);
    } catch (error) {
      this.#options.onNote(
        `network '${name}' keeps the DHCP hosts it had: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  async #refreshForwards(): Promise<void> {
    try {
      await this.#rules?.refreshForwards();
    } catch (error) {
      const { name } = this.#network;
      this.#options.onNote(
        `port forwards of network '${name}': ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  /** By its guest's cards, by the name it told DHCP, or by a name that the definition gives. */
  #addressesOf(guest: string): string[] {
    const macs = new Set<string>();
    for (const { definition } of this.#options.ports()) {
      if (definition.owner.name === guest) macs.add(definition.mac.address);
    }
    const hosts = this.#network.ips.flatMap(({ dhcp }) => dhcp?.hosts ?? []);
    for (const { mac, name } of hosts) if (name === guest && mac !== undefined) macs.add(mac.toLowerCase());
    const leases = this.#readLeases().filter(
      ({ mac, hostname }) => (mac !== undefined && macs.has(mac)) || (hostname === guest && !this.#hasLeft(mac)),
    );
    const fixed = hosts.filter(
      ({ name, mac }) => (name === guest || (mac !== undefined && macs.has(mac.toLowerCase()))) && !this.#hasLeft(mac),
    );
    const names = (this.#network.dns?.hosts ?? []).filter(({ hostnames }) => hostnames.includes(guest));
    const addresses = [
      ...leases.map(({ address }) => address),
      ...fixed.map(({ ip }) => ip),
      ...names.map(({ ip }) => ip),
      ...this.#fileHosts
        .filter(({ name, mac }) => (name === guest || (mac !== undefined && macs.has(mac))) && !this.#hasLeft(mac))
        .flatMap((host) => [...host.addresses]),
    ];
    return [...new Set(addresses.filter((address) => address !== undefined))];
  }

  #hasLeft(mac: string | undefined): boolean {
    return mac !== undefined && this.#options.hasLeft(mac.toLowerCase());
  }

  #readLeases(): ReturnType<typeof parseLeaseFile> {
    return parseLeaseFile(readLeaseText(this.#options.root, this.#network.name));
  }
}

function configurationOf(network: BridgedNetwork, pidFile: string, hosts: readonly FileHost[]): string {
  const plan = planDnsmasq(network, { hostsFile: '', addnHostsFile: '', pidFile });
  const lines = hosts.map(({ line }) => line);
  return inlineHosts(plan, network, lines);
}

/** The lease file's text; nothing where dnsmasq has not written any. */
export function readLeaseText(root: Pick<SiblingRoot, 'etc' | 'lib' | 'run' | 'log'>, name: string): string {
  const path = leaseFile(root, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** For networks that nothing is kept of. */
export function forgetLeases(root: Pick<SiblingRoot, 'etc' | 'lib' | 'run' | 'log'>, name: string): void {
  rmSync(leaseFile(root, name), { force: true });
}

/**
 * Host network devices of one guest: opens taps (on a bridge, or free-standing), vhost-net and vhost-vsock, and hands
 * the descriptors to whoever starts QEMU. A tap lives as long as its descriptors, so that QEMU's end is its end; the ledger
 * has it all the same. What a tap is to be like is decided in `network-device-settings.ts`.
 */
import { closeSync, openSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Ledger, LedgerEntry } from '../../../core/ledger.ts';
import type { ObjectIdentity } from '../../../core/ledger-format.ts';
import { LogSource } from '../../../core/log-source.ts';
import {
  loadNetworkCalls,
  MAX_INTERFACE_NAME_BYTES,
  NetworkCallError,
  type NetworkCalls,
} from '../../../guest/network-device-ioctl.ts';
import { runNetworkProgram } from '../../../guest/network-program.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { InterfaceBandwidthOptions } from '../../../network/bandwidth/interface-bandwidth.ts';
import type { Bandwidth } from '../../../network/bandwidth/traffic-plan.ts';
import { errnoOf } from '../../../process/process-error.ts';
import type { FdRequest } from '../plan/parts.ts';
import { makeMacvtap, openQueue, removeMacvtap } from './network-device-macvtap.ts';
import { type TapSettings, tapSettingsOf } from './network-device-settings.ts';

const log = new LogSource('util.netdev');

export type NetworkDeviceRequest = FdRequest & { readonly kind: 'tap' | 'vhost-net' | 'vhost-vsock' };

/** A device about to be opened. */
export interface NetworkDevicePlan {
  /** To be in the ledger before `open`, each under its kind. */
  readonly ledgerRecords: readonly { readonly kind: string; readonly identity: ObjectIdentity }[];
  /** @returns a descriptor, which is the caller's from then on */
  open(): Promise<number>;
}

export interface NetworkDevicesOptions {
  /** The guest's interfaces, with aliases. */
  readonly interfaces: readonly NetworkInterface[];
  readonly ledger: Pick<Ledger, 'record'>;
  /** The system; tests put something else here. */
  readonly loadCalls?: () => Promise<NetworkCalls>;
  readonly vhostVsockPath?: string;
  /** Limits the host's end of an interface; `tc`, where tests put nothing else. */
  readonly limit?: (
    device: string,
    bandwidth: Bandwidth,
    options: InterfaceBandwidthOptions,
  ) => Promise<AsyncDisposable>;
  /** The host's end of an interface is there, and is not used yet. */
  readonly onPlugged?: ((device: NetworkInterface, hostEnd: string) => Promise<void>) | undefined;
}

/** A name may be given again once the device is gone; the kernel's number is not. */
interface HostEnd {
  readonly name: string;
  readonly index: number;
}

/** How often another process may take the name that was free a moment ago. */
const MAX_NAME_ATTEMPTS = 100;
/** The first tap of a guest is usually the first of the host. */
const NAME_PREFIX = { tap: 'vnet', macvtap: 'macvtap' } as const;
const MAX_TAPS = 10_000;

/** The network devices of one guest. Disposal says that they are gone: for when QEMU has ended. */
export class NetworkDevices implements AsyncDisposable {
  readonly #options: NetworkDevicesOptions;
  readonly #entries: LedgerEntry[] = [];
  /** Names of taps that were made, by alias: further queues join them. */
  readonly #taps = new Map<string, string>();
  readonly #downscripts: { path: string; name: string }[] = [];
  readonly #macvtaps: HostEnd[] = [];
  readonly #limits: (HostEnd & { readonly limits: AsyncDisposable })[] = [];
  #calls: NetworkCalls | undefined;

  constructor(options: NetworkDevicesOptions) {
    this.#options = options;
  }

  /** Opens one device, recorded in the ledger first. @throws VirtError naming the cause and the fix */
  async open(request: NetworkDeviceRequest): Promise<number> {
    for (let attempt = 1; ; attempt += 1) {
      const plan = await this.plan(request);
      const entries = plan.ledgerRecords.map(({ kind, identity }) => this.#options.ledger.record(kind, identity));
      try {
        const fd = await plan.open();
        log.debug(
          'open',
          () =>
            `${request.kind} fd=${fd} ${plan.ledgerRecords.map(({ identity }) => JSON.stringify(identity)).join(' ')}`,
        );
        this.#entries.push(...entries);
        return fd;
      } catch (error) {
        for (const entry of entries) entry.done();
        if (!(error instanceof NameTakenError) || attempt >= MAX_NAME_ATTEMPTS) throw error;
      }
    }
  }

  /** What opening the device would make. */
  async plan(request: NetworkDeviceRequest): Promise<NetworkDevicePlan> {
    if (request.kind === 'vhost-vsock') {
      const path = this.#options.vhostVsockPath ?? '/dev/vhost-vsock';
      return { ledgerRecords: [], open: async () => openVhost(path, 'vsock', 'leave <vsock> out') };
    }
    const device = this.#interfaceOf(request.interfaceAlias);
    const settings = tapSettingsOf(device);
    if (request.kind === 'vhost-net') {
      const open = async () => openVhost(settings.vhostPath, 'net', "use <driver name='qemu'/>");
      return { ledgerRecords: [], open };
    }
    this.#calls ??= await (this.#options.loadCalls ?? loadNetworkCalls)();
    const calls = this.#calls;
    const made = this.#taps.get(request.interfaceAlias);
    if (made !== undefined || settings.existing) {
      const name = made ?? settings.name ?? '';
      const join = settings.direct === undefined ? joinTap : openQueue;
      const open = async () => {
        const fd = join(calls, settings, name);
        if (made === undefined && request.queue === 0) await this.#orClose(fd, () => this.#limit(device, name, calls));
        return fd;
      };
      return { ledgerRecords: [], open };
    }
    const isMacvtap = settings.direct !== undefined;
    const name = settings.name ?? freeName(calls, NAME_PREFIX[isMacvtap ? 'macvtap' : 'tap']);
    const open = async () => {
      const fd = await (isMacvtap ? makeOwnMacvtap : makeTap)(calls, settings, name);
      this.#taps.set(request.interfaceAlias, name);
      // The live definition says which device it is, as libvirt's does.
      device.target = { ...device.target, dev: name };
      if (settings.downscript !== undefined) this.#downscripts.push({ path: settings.downscript, name });
      if (isMacvtap) this.#macvtaps.push({ name, index: calls.indexOf(name) });
      await this.#orClose(fd, async () => {
        await this.#limit(device, name, calls);
        await this.#options.onPlugged?.(device, name);
      });
      return fd;
    };
    return { ledgerRecords: [{ kind: 'tap', identity: { name, mac: settings.mac } }], open };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { path, name } of this.#downscripts.splice(0)) await runNetworkProgram(path, [name]);
    for (const { limits, ...end } of this.#limits.splice(0)) {
      if (!this.#isTaken(end)) await limits[Symbol.asyncDispose]();
    }
    for (const end of this.#macvtaps.splice(0)) {
      if (this.#calls?.indexOf(end.name) === end.index) await removeMacvtap(end.name);
    }
    for (const entry of this.#entries.splice(0)) entry.done();
  }

  /** `<bandwidth>`: loaded only for guests that have it. */
  async #limit({ bandwidth, type }: NetworkInterface, name: string, calls: NetworkCalls): Promise<void> {
    if (bandwidth === undefined) return;
    const open =
      this.#options.limit ?? (await import('../../../network/bandwidth/interface-bandwidth.ts')).openInterfaceBandwidth;
    const limits = await open(name, bandwidth, { ledger: this.#options.ledger, hostView: type === 'direct' });
    this.#limits.push({ name, index: calls.indexOf(name), limits });
  }

  /** The device was unplugged, and its name given to another guest's: what is limited there is not ours. */
  #isTaken({ name, index }: HostEnd): boolean {
    const now = this.#calls?.indexOf(name) ?? 0;
    return now !== 0 && now !== index;
  }

  async #orClose(fd: number, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #interfaceOf(alias: string): NetworkInterface {
    const found = this.#options.interfaces.find((device) => device.alias?.name === alias);
    if (found !== undefined) return found;
    throw new VirtError(`cannot open a tap device: the guest has no interface '${alias}'`, {
      code: ErrorCode.INTERNAL_ERROR,
      domain: ErrorDomain.NETWORK,
    });
  }
}

/** Another process took a made-up name first: the next one is tried. */
class NameTakenError extends VirtError {}

function freeName(calls: NetworkCalls, prefix: string): string {
  for (let number = 0; number < MAX_TAPS; number += 1) {
    if (calls.indexOf(`${prefix}${number}`) === 0) return `${prefix}${number}`;
  }
  throw failure(`all names ${prefix}0 to ${prefix}${MAX_TAPS - 1} are taken`);
}

/** Makes a tap and sets it up; on failure closing the descriptor takes it away again. */
async function makeTap(calls: NetworkCalls, settings: TapSettings, name: string): Promise<number> {
  const { bridge, title } = settings;
  if (Buffer.byteLength(name) > MAX_INTERFACE_NAME_BYTES) {
    throw failure(`${title}: the name '${name}' is longer than ${MAX_INTERFACE_NAME_BYTES} bytes`);
  }
  if (bridge !== undefined && calls.indexOf(bridge) === 0) {
    throw failure(
      `${title}: bridge '${bridge}' does not exist: create it (ip link add ${bridge} type bridge; ip link set ${bridge} up) or use <interface type='user'/>`,
    );
  }
  const fd = openTun(settings);
  try {
    connect(calls, fd, settings, name, true);
    await setUpTap(calls, fd, settings, name);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw explain(error, settings, name);
  }
}

async function setUpTap(calls: NetworkCalls, fd: number, settings: TapSettings, name: string): Promise<void> {
  const { bridge } = settings;
  if (settings.sendBufferBytes !== undefined) calls.setSendBuffer(fd, settings.sendBufferBytes);
  calls.setMac(name, settings.mac);
  // Before it joins: a port with a smaller MTU would lower the bridge's own.
  const mtu = settings.mtu ?? (bridge === undefined ? undefined : calls.mtuOf(bridge));
  if (mtu !== undefined) calls.setMtu(name, mtu);
  if (bridge !== undefined) calls.addToBridge(bridge, name);
  if (settings.isolated) await runNetworkProgram('bridge', ['link', 'set', 'dev', name, 'isolated', 'on']);
  for (const { address, prefix, peer } of settings.ips) {
    const length = prefix ?? (address.includes(':') ? 64 : 24);
    const ends = peer === undefined ? [`${address}/${length}`] : [address, 'peer', `${peer}/${length}`];
    await runNetworkProgram('ip', ['address', 'add', ...ends, 'dev', name]);
  }
  calls.setUp(name);
  for (const { address, prefix, gateway, metric } of settings.routes) {
    const via = gateway === undefined ? [] : ['via', gateway];
    const cost = metric === undefined ? [] : ['metric', String(metric)];
    const network = prefix === undefined ? `${address}` : `${address}/${prefix}`;
    await runNetworkProgram('ip', ['route', 'add', network, ...via, 'dev', name, ...cost]);
  }
  if (settings.script !== undefined) await runNetworkProgram(settings.script, [name]);
}

async function makeOwnMacvtap(calls: NetworkCalls, settings: TapSettings, name: string): Promise<number> {
  try {
    return await makeMacvtap(calls, settings, name);
  } catch (error) {
    // It is not left of ours: another guest that starts now has it.
    if (settings.name !== undefined || calls.indexOf(name) === 0) throw error;
    throw new NameTakenError(`${settings.title}: device '${name}' exists already`, {
      code: ErrorCode.OPERATION_FAILED,
      domain: ErrorDomain.NETWORK,
      cause: error,
    });
  }
}

/** A further queue of a tap, or a tap that somebody else keeps. */
function joinTap(calls: NetworkCalls, settings: TapSettings, name: string): number {
  if (calls.indexOf(name) === 0) {
    const command = `ip tuntap add dev ${name} mode tap`;
    throw failure(
      `${settings.title}: tap device '${name}' does not exist: create it (${command}) or leave managed='no' out`,
    );
  }
  const fd = openTun(settings);
  try {
    connect(calls, fd, settings, name, false);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw explain(error, settings, name);
  }
}

function connect(calls: NetworkCalls, fd: number, settings: TapSettings, name: string, exclusive: boolean): void {
  try {
    calls.setTap(fd, name, { vnetHeader: settings.vnetHeader, multiQueue: settings.queues > 1, exclusive });
  } catch (error) {
    if (!exclusive || !(error instanceof NetworkCallError) || error.errno !== 'EBUSY') throw error;
    const message = `${settings.title}: tap device '${name}' exists already: choose another <target dev='…'/>, or managed='no'`;
    if (settings.name !== undefined) throw failure(message, error);
    throw new NameTakenError(message, { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.NETWORK, cause: error });
  }
}

function openTun({ tapPath, title }: TapSettings): number {
  try {
    return openSync(tapPath, 'r+');
  } catch (error) {
    const errno = errnoOf(error) ?? String(error);
    const fix =
      errno === 'EACCES' || errno === 'EPERM'
        ? "run as root, or use <interface type='user'/>"
        : "load the kernel's tun module, pass the device into this container, or use <interface type='user'/>";
    throw failure(`${title}: opening ${tapPath}: ${errno}; ${fix}`, error);
  }
}

function openVhost(path: string, what: 'net' | 'vsock', otherwise: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    const errno = errnoOf(error) ?? String(error);
    const fix = errno === 'EACCES' || errno === 'EPERM' ? 'run as root' : `load the kernel's vhost_${what} module`;
    throw failure(`opening ${path}: ${errno}; ${fix}, or ${otherwise}`, error);
  }
}

function explain(error: unknown, { title, bridge }: TapSettings, name: string): unknown {
  if (!(error instanceof NetworkCallError)) return error;
  const { errno } = error;
  if (errno === 'EPERM') {
    const fix = "run as root (CAP_NET_ADMIN), or use <interface type='user'/>";
    return failure(`${title}: tap device '${name}': ${error.message}; ${fix}`, error);
  }
  if (errno === 'EOPNOTSUPP' && bridge !== undefined) {
    return failure(
      `${title}: '${bridge}' is no bridge: ${error.message}; name a bridge in <source bridge='…'/>`,
      error,
    );
  }
  if (errno === 'EINVAL') {
    const fix = 'its kind or its number of queues may differ from what <driver queues=…/> asks for';
    return failure(`${title}: tap device '${name}': ${error.message}; ${fix}`, error);
  }
  return failure(`${title}: tap device '${name}': ${error.message}`, error);
}

function failure(message: string, cause?: unknown): VirtError {
  return new VirtError(`cannot set up the network: ${message}`, {
    code: ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.NETWORK,
    cause,
  });
}

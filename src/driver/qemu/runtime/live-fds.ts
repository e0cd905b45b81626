/**
 * Descriptors and secrets that a new device needs in a running QEMU: opened here, handed over its monitor, and put into the steps where the
 * plan has the numbers that a new process would inherit. Nothing is left of them when the device is refused.
 */
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { memberOf } from '../../../core/members.ts';
import { randomHex } from '../../../core/random.ts';
import { NETWORK_REMOVERS } from '../../../guest/network-program.ts';
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { MASTER_KEY_ID } from '../devices/secret.ts';
import { type LiveStep, stepOf } from '../live/part-diff.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { FdRequest } from '../plan/parts.ts';
import type { Props, PropValue } from '../plan/props.ts';
import type { DriverParts } from './driver-parts.ts';
import { prepareFds } from './inherited-fds.ts';
import { NetworkDevices } from './network-device.ts';
import type { RunningGuest } from './running-guest.ts';

const log = new LogSource('qemu.qemu_process');

/** Properties that hold a descriptor's number, or several with colons. */
const FD_KEYS: ReadonlySet<string> = new Set(['fd', 'fds', 'vhostfd', 'vhostfds']);
const FD_SET = /^\/dev\/fdset\/(\d+)$/;
const FD_FILE = /^\/dev\/fd\/(\d+)$/;
/** What can follow a device into a running QEMU. */
const KINDS: ReadonlySet<FdRequest['kind']> = new Set([
  'tap',
  'vhost-net',
  'vhost-vsock',
  'listen-unix',
  'file',
  'secret',
  'master-key',
]);

/** Steps as QEMU understands them now. */
export interface HandedSteps {
  readonly steps: readonly LiveStep[];
  /** The device is there: sockets get their paths. @returns what goes with the device, or with the guest */
  keep(): AsyncDisposable;
  /** It was refused. */
  takeBack(): Promise<void>;
}

/** @throws VirtError OPERATION_UNSUPPORTED for descriptors that only a new process can have */
export function requireTransferable(steps: readonly LiveStep[], plan: LaunchPlan): void {
  const requests = steps.flatMap(({ part }) => numbersIn(part.props, plan)).map((number) => requestOf(plan, number));
  const stuck = requests.find(({ kind }) => !KINDS.has(kind));
  if (stuck === undefined) return;
  throw new VirtError(
    `the device needs a ${stuck.kind === 'socketpair' ? 'console of this process' : stuck.kind}, which only a new QEMU can have: add it to the next start (--config), or use another type (pty, unix)`,
    { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.QEMU },
  );
}

/** @param domain the live definition as it will be: taps write their names into it */
export async function handOver(
  { root, secrets, starter }: Pick<DriverParts, 'root' | 'secrets' | 'starter'>,
  guest: RunningGuest,
  { steps, plan, domain }: { readonly steps: readonly LiveStep[]; readonly plan: LaunchPlan; readonly domain: Domain },
): Promise<HandedSteps> {
  const shortName = root.layout.shortName(guest.id, guest.domain.name ?? '');
  const hand = new Hand(guest, plan, {
    network: new NetworkDevices({
      interfaces: domain.devices?.interfaces ?? [],
      ledger: root.ledgerOf(shortName).ledger,
      onPlugged: async (device, hostEnd) => await starter.plugged(device, hostEnd),
    }),
    scratchDir: root.layout.roots.run,
    secretOf: ({ secret }) => (secret.value === undefined ? secrets.resolve(secret) : Buffer.from(secret.value)),
  });
  try {
    // Secrets go over the monitor, which is private: no key is needed to pass them by a file.
    const wanted = steps.filter(({ id }) => id !== MASTER_KEY_ID);
    const translated: LiveStep[] = [];
    for (const { part } of wanted) translated.push(stepOf({ ...part, props: await hand.translate(part.props) }));
    return { steps: translated, keep: () => hand.keep(), takeBack: () => hand.takeBack() };
  } catch (error) {
    await hand.takeBack();
    throw error;
  }
}

/** What is left of a device that has gone: its sets of descriptors in QEMU, and the socket that others found it by. */
export async function dropRest({ qmp }: RunningGuest, device: DeviceInfo): Promise<void> {
  const alias = device.alias?.name ?? '';
  const sets: unknown = await qmp.execute('query-fdsets');
  for (const set of Array.isArray(sets) ? (sets as unknown[]) : []) {
    const [id, fds] = [memberOf(set, 'fdset-id'), memberOf(set, 'fds')];
    const isOwn = Array.isArray(fds) && fds.some((fd: unknown) => opaqueOf(fd).startsWith(`${alias}-`));
    if (isOwn && typeof id === 'number') await qmp.execute('remove-fd', { 'fdset-id': id });
  }
  const name = memberOf(memberOf(device, 'target'), 'dev');
  // Unlike a tap it stays when QEMU closes it.
  if (memberOf(device, 'type') === 'direct' && typeof name === 'string') {
    const context = { procRoot: '/proc', sameBoot: true, signal: undefined };
    await NETWORK_REMOVERS.tap({ name, mac: String(memberOf(memberOf(device, 'mac'), 'address')) }, context);
  }
  const [source]: unknown[] = [memberOf(device, 'sources')].flat();
  const path = memberOf(source, 'path');
  if (memberOf(device, 'type') === 'unix' && memberOf(source, 'mode') === 'bind' && typeof path === 'string') {
    rmSync(path, { force: true });
  }
}

function opaqueOf(fd: unknown): string {
  const opaque = memberOf(fd, 'opaque');
  return typeof opaque === 'string' ? opaque : '';
}

interface HandSources {
  readonly network: NetworkDevices;
  readonly scratchDir: string;
  secretOf(request: FdRequest & { kind: 'secret' }): Uint8Array;
}

class Hand {
  readonly #guest: RunningGuest;
  readonly #plan: LaunchPlan;
  readonly #sources: HandSources;
  readonly #names: string[] = [];
  readonly #sets: number[] = [];
  readonly #published: (() => void)[] = [];
  readonly #open = new DisposalStack();

  constructor(guest: RunningGuest, plan: LaunchPlan, sources: HandSources) {
    this.#guest = guest;
    this.#plan = plan;
    this.#sources = sources;
  }

  async translate(props: Props): Promise<Props> {
    const { file } = props;
    const number = typeof file === 'string' ? FD_FILE.exec(file)?.[1] : undefined;
    const request = number === undefined ? undefined : requestOf(this.#plan, Number(number));
    if (request?.kind === 'secret') return this.#inline(props, request);
    const translated: Record<string, PropValue | undefined> = {};
    for (const [key, value] of Object.entries(props)) translated[key] = await this.#value(key, value);
    return translated;
  }

  keep(): AsyncDisposable {
    for (const publish of this.#published) publish();
    const { network } = this.#sources;
    // QEMU has its own of them by now.
    void this.#open[Symbol.asyncDispose]();
    return network;
  }

  async takeBack(): Promise<void> {
    const { qmp } = this.#guest;
    const commands = [
      ...this.#names.map((fdname) => ({ command: 'closefd', args: { fdname } })),
      ...this.#sets.map((set) => ({ command: 'remove-fd', args: { 'fdset-id': set } })),
    ];
    for (const { command, args } of commands) {
      // What a command has taken already is not there any more.
      await qmp.execute(command, args).catch((error: unknown) => log.debug('takeBack', () => String(error)));
    }
    await this.#open[Symbol.asyncDispose]();
    await this.#sources.network[Symbol.asyncDispose]();
  }

  #inline({ 'qom-type': type, id }: Props, request: FdRequest & { kind: 'secret' }): Props {
    const data = Buffer.from(this.#sources.secretOf(request)).toString('base64');
    return { 'qom-type': type, id, data, format: 'base64' };
  }

  async #value(key: string, value: PropValue | undefined): Promise<PropValue | undefined> {
    if (FD_KEYS.has(key) && (typeof value === 'string' || typeof value === 'number')) {
      const names: string[] = [];
      for (const number of String(value).split(':')) names.push(await this.#pass(Number(number)));
      return names.join(':');
    }
    const set = typeof value === 'string' ? FD_SET.exec(value)?.[1] : undefined;
    return set === undefined ? value : await this.#passSet(Number(set));
  }

  /** @returns the name that QEMU knows it by */
  async #pass(number: number): Promise<string> {
    const fdname = `fd-${randomHex(8)}`;
    await this.#guest.qmp.execute('getfd', { fdname }, { fds: [await this.#openFd(requestOf(this.#plan, number))] });
    this.#names.push(fdname);
    return fdname;
  }

  /** QEMU numbers its sets itself: the plan's numbers are those of a new process. */
  async #passSet(set: number): Promise<string> {
    const { fd, opaque } = setOf(this.#plan, set);
    const fds = [await this.#openFd(requestOf(this.#plan, fd))];
    const { 'fdset-id': id } = await this.#guest.qmp.execute('add-fd', { opaque }, { fds });
    this.#sets.push(id);
    return `/dev/fdset/${id}`;
  }

  async #openFd(request: FdRequest): Promise<number> {
    if (request.kind === 'listen-unix') mkdirSync(dirname(request.path), { recursive: true, mode: 0o700 });
    const { network, scratchDir } = this.#sources;
    const prepared = await prepareFds([request], {
      resolveSecret: () => new Uint8Array(),
      masterKey: new Uint8Array(),
      scratchDir,
      openNetworkDevice: (wanted) => network.open(wanted),
    });
    this.#open.defer(async () => prepared[Symbol.dispose]());
    this.#published.push(() => prepared.publish());
    const [stdio] = prepared.stdio;
    if (typeof stdio !== 'object') throw new TypeError(`a descriptor of kind ${request.kind} cannot be handed over`);
    if ('fd' in stdio) return stdio.fd;
    const fd = openFile(stdio.path, stdio.flags);
    this.#open.defer(async () => closeSync(fd));
    return fd;
  }
}

/** Numbers of descriptors that a part refers to. */
function numbersIn(props: Props, plan: LaunchPlan): number[] {
  return Object.entries(props).flatMap(([key, value]): number[] => {
    if (typeof value !== 'string' && typeof value !== 'number') return [];
    if (FD_KEYS.has(key)) return String(value).split(':').map(Number);
    const set = FD_SET.exec(String(value))?.[1];
    if (set !== undefined) return [setOf(plan, Number(set)).fd];
    const file = FD_FILE.exec(String(value))?.[1];
    return file === undefined ? [] : [Number(file)];
  });
}

/** The first descriptor that a process inherits is 3. */
function requestOf({ fds }: LaunchPlan, number: number): FdRequest {
  const request = fds[number - 3];
  if (request === undefined) throw new TypeError(`the plan has no descriptor ${number}`);
  return request;
}

function setOf({ parts }: LaunchPlan, set: number): { fd: number; opaque: string } {
  const found = parts.find((part) => part.kind === 'keyval' && part.option === 'add-fd' && part.props['set'] === set);
  if (found?.kind !== 'keyval') throw new TypeError(`the plan has no set ${set} of descriptors`);
  const { fd, opaque } = found.props;
  return { fd: Number(fd), opaque: typeof opaque === 'string' ? opaque : '' };
}

function openFile(path: string, flags: string): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw new VirtError(
      `cannot open ${path} for the guest: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        code: ErrorCode.SYSTEM_ERROR,
        domain: ErrorDomain.QEMU,
        cause,
      },
    );
  }
}

/**
 * What completing, validating and planning a definition may look at. Everything is data: the planner never
 * touches the host, so the same plan can be made for another machine's QEMU.
 */

import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { HostFacts } from '../../host/host-facts.ts';
import type { StorageSource } from '../../model/domain/devices/storage-source.ts';
import type { Domain } from '../../model/domain/domain.ts';
import type { Sysinfo } from '../../model/domain/sysinfo.ts';
import type { FaultList } from '../../model/schema/faults.ts';
import type { NetworkAttachment } from '../guest-sources.ts';
import type { QemuCapabilities } from './capabilities/capabilities.ts';
import type { QemuConfig } from './config.ts';
import type { HostCpuModel } from './cpu/host-model.ts';
import type { Layout } from './layout.ts';
import type { DeferredCommand, FdRequest, FileRequest, HelperProcess, Part } from './plan/parts.ts';

/** Guests with many cards need more descriptors than there are one-digit numbers. */
const SPARE_FD = 9;

/** Inputs that do not change from guest to guest. */
export interface DriverContext {
  readonly caps: QemuCapabilities;
  readonly host: HostFacts;
  readonly config: QemuConfig;
  readonly layout: Layout;
  /** Resolves what only the host's other drivers know. Absent: such references are faults. */
  readonly lookup: Lookup;
  /** The moment the guest starts, for clocks that are given relative to it. Absent: such clocks are faults. */
  readonly hostClock?: HostClock | undefined;
  /** Source of the identifiers that a definition leaves to chance. Absent: they stay unset. */
  readonly randomBytes?: ((count: number) => Uint8Array) | undefined;
  /** The host's own SMBIOS strings, for `<smbios mode='host'/>`. */
  readonly hostSysinfo?: Sysinfo | undefined;
  /** The host's processor where a plan is for another host than the one that QEMU was probed on. */
  readonly hostCpuModel?: HostCpuModel | undefined;
}

/** What the host's clock says. */
export interface HostClock {
  /** Milliseconds since 1970 in UTC. */
  readonly nowMs: number;
  /** How far local time is ahead of UTC. */
  readonly utcOffsetSeconds: number;
}

/** References out of the domain XML, answered by the caller. */
export interface Lookup {
  /** `<source pool= volume=>`: the volume's type, path and format. */
  volume?(pool: string, volume: string, mode?: string): VolumeFound | undefined;
  /** `<source network=>`: how guests of that network attach. */
  network?(name: string): NetworkAttachment | undefined;
  /** `<hostdev type='scsi'>`: the generic device (`sg3`) of that unit on the host. */
  scsiGeneric?(adapter: string, bus: number, target: number, unit: bigint): string | undefined;
  /** `<listen type='network'>`: the first address that the host has on that network. Absent: the configured one. */
  networkAddress?(name: string): string | undefined;
  /**
   * A free TCP port for a display that leaves the choice to us. Absent: the first that libvirt would try, which is what
   * a mere command line shows.
   */
  graphicsPort?(request: GraphicsPortRequest): number;
  /** DRM render node for OpenGL where the definition names none. Absent: QEMU's own choice. */
  renderNode?(): string | undefined;
  /** A vsock address that no guest of this host has, for `<cid auto='yes'/>`. Absent: the one that is written, or 3. */
  vsockCid?(): number;
  /** Whether /dev/vhost-net can be opened for an interface. Absent: for KVM guests, unless driver name='qemu'. */
  vhostNet?(request: { readonly kvm: boolean; readonly driver: string | undefined }): boolean;
}

/** What a display needs a port for; `index` counts the definition's `<graphics>`. */
export interface GraphicsPortRequest {
  readonly index: number;
  readonly use: 'vnc' | 'vnc-websocket' | 'spice' | 'spice-tls' | 'rdp';
}

/** A storage volume; `source` where it is reached over the network rather than by its path. */
export interface VolumeFound {
  readonly type: string;
  readonly path: string;
  readonly format: string;
  readonly source?: StorageSource;
}

/** One definition under work. `domain` is changed in place; faults are gathered. */
export interface DomainContext extends DriverContext {
  readonly domain: Domain;
  /** What to call the definition's text in faults: a path. */
  readonly fileName?: string | undefined;
  readonly faults: FaultList;
}

/** Adds a fault and goes on: the form for "unsupported configuration" findings. */
export function fault(context: DomainContext, where: object, message: string, field?: string): void {
  context.faults.add(where, message, field);
}

/** Ends the planning at once: for what no later step can do without. */
export function refuse(message: string, code: ErrorCode = ErrorCode.CONFIG_UNSUPPORTED): never {
  throw new VirtError(message, { code, domain: ErrorDomain.QEMU });
}

/** Collects what a plan needs besides its arguments. Passed to every `plan` function. */
export class PlanContext implements DomainContext {
  readonly domain: Domain;
  readonly fileName: string | undefined;
  readonly faults: FaultList;
  readonly caps: QemuCapabilities;
  readonly host: HostFacts;
  readonly config: QemuConfig;
  readonly layout: Layout;
  readonly lookup: Lookup;
  readonly hostClock: HostClock | undefined;
  readonly randomBytes: ((count: number) => Uint8Array) | undefined;
  readonly hostSysinfo: Sysinfo | undefined;
  readonly hostCpuModel: HostCpuModel | undefined;
  /** Numeric id of the guest about to start; -1 when only a command line is asked for. */
  readonly id: number;
  readonly fds: FdRequest[] = [];
  readonly files: FileRequest[] = [];
  readonly helpers: HelperProcess[] = [];
  readonly deferred: DeferredCommand[] = [];
  readonly environment: Record<string, string> = {};
  /** Parts that several devices share (TLS credentials, secrets), by id, so that each is planned once. */
  readonly shared = new Map<string, Part>();
  /**
   * Character devices whose host end the embedding program holds itself, by the device's alias, whatever their
   * source says: QEMU gets one end of a socket pair, named after the alias. Set it before planning.
   */
  chardevOverrides?: ReadonlyMap<string, { readonly kind: 'socketpair' }>;
  /** The monitor listens here, so that whoever comes later can reach it too; undefined: the caller holds its other end. */
  monitorSocket?: string;
  /** A copy of all that the guest writes to that character device; a `<log>` of the definition wins. */
  serialLog?: { readonly alias: string; readonly path: string; readonly append: boolean };
  #fdSets = 0;

  constructor(context: DomainContext, id: number) {
    this.domain = context.domain;
    this.fileName = context.fileName;
    this.faults = context.faults;
    this.caps = context.caps;
    this.host = context.host;
    this.config = context.config;
    this.layout = context.layout;
    this.lookup = context.lookup;
    this.hostClock = context.hostClock;
    this.randomBytes = context.randomBytes;
    this.hostSysinfo = context.hostSysinfo;
    this.hostCpuModel = context.hostCpuModel;
    this.id = id;
  }

  get name(): string {
    return this.domain.name ?? '';
  }

  get domainDir(): string {
    return this.layout.domainDir(this.id, this.name);
  }

  /** Reserves the next inherited descriptor (3 and up) and returns its number in QEMU. */
  requestFd(request: FdRequest): number {
    if (this.fds.length === SPARE_FD - 3) this.fds.push({ kind: 'spare' });
    this.fds.push(request);
    return 2 + this.fds.length;
  }

  /** The next free number of a descriptor set (`-add-fd set=N`, opened as /dev/fdset/N), from 0. */
  nextFdSet(): number {
    return this.#fdSets++;
  }
}

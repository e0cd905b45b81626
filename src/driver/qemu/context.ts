/**
 * What completing, validating and planning a definition may look at. Everything is data: the planner never
 * touches the host, so the same plan can be made for another machine's QEMU.
 */

import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { HostFacts } from '../../host/host-facts.ts';
import type { Domain } from '../../model/domain/domain.ts';
import type { FaultList } from '../../model/schema/faults.ts';
import type { QemuCapabilities } from './capabilities/capabilities.ts';
import type { QemuConfig } from './config.ts';
import type { Layout } from './layout.ts';
import type { DeferredCommand, FdRequest, FileRequest, HelperProcess, Part } from './plan/parts.ts';

/** Inputs that do not change from guest to guest. */
export interface DriverContext {
  readonly caps: QemuCapabilities;
  readonly host: HostFacts;
  readonly config: QemuConfig;
  readonly layout: Layout;
  /** Resolves what only the host's other drivers know. Absent: such references are faults. */
  readonly lookup: Lookup;
}

/** References out of the domain XML, answered by the caller. */
export interface Lookup {
  /** `<source pool= volume=>`: the volume's type, path and format. */
  volume?(pool: string, volume: string): { type: string; path: string; format: string } | undefined;
  /** `<source network=>`: how guests of that network attach. */
  network?(name: string): NetworkAttachment | undefined;
}

/** How an interface of a virtual network is really attached. */
export type NetworkAttachment =
  | { readonly type: 'bridge'; readonly bridge: string; readonly macTableManager?: string }
  | { readonly type: 'direct'; readonly dev: string; readonly mode: string }
  | { readonly type: 'user' };

/** One definition under work. `domain` is changed in place; faults are gathered. */
export interface DomainContext extends DriverContext {
  readonly domain: Domain;
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
  readonly faults: FaultList;
  readonly caps: QemuCapabilities;
  readonly host: HostFacts;
  readonly config: QemuConfig;
  readonly layout: Layout;
  readonly lookup: Lookup;
  /** Numeric id of the guest about to start; -1 when only a command line is asked for. */
  readonly id: number;
  readonly fds: FdRequest[] = [];
  readonly files: FileRequest[] = [];
  readonly helpers: HelperProcess[] = [];
  readonly deferred: DeferredCommand[] = [];
  readonly environment: Record<string, string> = {};
  /** Parts that several devices share (TLS credentials, secrets), by id, so that each is planned once. */
  readonly shared = new Map<string, Part>();

  constructor(context: DomainContext, id: number) {
    this.domain = context.domain;
    this.faults = context.faults;
    this.caps = context.caps;
    this.host = context.host;
    this.config = context.config;
    this.layout = context.layout;
    this.lookup = context.lookup;
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
    this.fds.push(request);
    return 2 + this.fds.length;
  }
}

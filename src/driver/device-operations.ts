/**
 * Changes of a domain's hardware, running or not: devices, virtual CPUs, memory, I/O threads, and what its definition says
 * of itself. Part of the driver contract.
 */
import type { AffectOptions } from './driver.ts';

/** The parts of a definition that only describe it (virDomainMetadataType). */
export type MetadataKind = 'description' | 'title' | 'element';

/** What a guest's power-off, reboot or crash does (virDomainLifecycle, virDomainLifecycleAction). */
export type LifecycleTrigger = 'poweroff' | 'reboot' | 'crash';
/** Where a definition says it. */
export const LIFECYCLE_FIELDS = { poweroff: 'onPoweroff', reboot: 'onReboot', crash: 'onCrash' } as const;
export type LifecycleAction =
  | 'destroy'
  | 'restart'
  | 'rename-restart'
  | 'preserve'
  | 'coredump-destroy'
  | 'coredump-restart';

/** An I/O thread and the host CPUs that it may use. */
export interface IothreadInfo {
  readonly id: number;
  readonly cpus: readonly number[];
}

/** How long an I/O thread polls, and how many workers it has (VIR_DOMAIN_IOTHREAD_…). What is undefined stays. */
export interface IothreadSettings {
  readonly pollMaxNs?: bigint | undefined;
  readonly pollGrow?: number | undefined;
  readonly pollShrink?: number | undefined;
  readonly threadPoolMin?: number | undefined;
  readonly threadPoolMax?: number | undefined;
}

export interface DeviceOperations {
  attachDevice(uuid: string, xml: string, options?: AffectOptions): Promise<void>;
  /** Returns when the guest has let go of it, or after a few seconds in which it has not: then the event `device-removed` tells. */
  detachDevice(uuid: string, xml: string, options?: AffectOptions): Promise<void>;
  detachDeviceAlias(uuid: string, alias: string, options?: AffectOptions): Promise<void>;
  /** `force`: also eject a medium that the guest has locked. */
  updateDevice(uuid: string, xml: string, options?: AffectOptions & { readonly force?: boolean }): Promise<void>;
  /** `maximum`: of the definition. `guest`: through the agent. */
  vcpuCount(
    uuid: string,
    options?: AffectOptions & { readonly maximum?: boolean; readonly guest?: boolean },
  ): Promise<number>;
  setVcpus(
    uuid: string,
    count: number,
    options?: AffectOptions & { readonly maximum?: boolean; readonly guest?: boolean; readonly hotpluggable?: boolean },
  ): Promise<void>;
  /** Single virtual CPUs on or off. */
  setVcpu(uuid: string, vcpus: readonly number[], enabled: boolean, options?: AffectOptions): Promise<void>;
  /** The balloon's target, or with `maximum` the most the next start may have. */
  setMemory(uuid: string, memoryKiB: number, options?: AffectOptions & { readonly maximum?: boolean }): Promise<void>;
  /** How often the balloon asks the guest for its statistics; 0: never. */
  setMemoryStatsPeriod(uuid: string, seconds: number, options?: AffectOptions): Promise<void>;
  iothreads(uuid: string, options?: AffectOptions): Promise<readonly IothreadInfo[]>;
  addIothread(uuid: string, id: number, options?: AffectOptions): Promise<void>;
  removeIothread(uuid: string, id: number, options?: AffectOptions): Promise<void>;
  setIothread(uuid: string, id: number, settings: IothreadSettings, options?: AffectOptions): Promise<void>;
  setLifecycleAction(
    uuid: string,
    trigger: LifecycleTrigger,
    action: LifecycleAction,
    options?: AffectOptions,
  ): Promise<void>;
  /** @throws VirtError NO_DOMAIN_METADATA where there is none */
  metadata(uuid: string, kind: MetadataKind, namespaceUri?: string, options?: AffectOptions): Promise<string>;
  /** `value` undefined removes it. `key` is the prefix of an element's namespace. */
  setMetadata(
    uuid: string,
    change: {
      readonly kind: MetadataKind;
      readonly value: string | undefined;
      readonly key?: string | undefined;
      readonly namespaceUri?: string | undefined;
    },
    options?: AffectOptions,
  ): Promise<void>;
  /** Grows or shrinks a block device's image; `disk` is a target name or source path. */
  blockResize(
    uuid: string,
    disk: string,
    sizeBytes: bigint,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<void>;
}

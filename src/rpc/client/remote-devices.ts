/** Devices, virtual CPUs and memory of a domain behind the protocol. */
import type {
  DeviceOperations,
  IothreadInfo,
  IothreadSettings,
  LifecycleAction,
  LifecycleTrigger,
  MetadataKind,
} from '../../driver/device-operations.ts';
import type { AffectOptions, TypedParameters, Waiting } from '../../driver/driver.ts';
import { REMOTE_PROCEDURES as P, toTypedParams } from '../../protocol/index.ts';
import { affectToFlags, cpusFromWire, numbersToText } from '../convert.ts';
import {
  DeviceFlag,
  flagsOf,
  IOTHREAD_PARAMETERS,
  LIFECYCLE_ACTIONS,
  LIFECYCLE_TRIGGERS,
  METADATA_KINDS,
  MemoryFlag,
  ResizeFlag,
  VcpuFlag,
} from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

type VcpuOptions = AffectOptions & {
  readonly maximum?: boolean;
  readonly guest?: boolean;
  readonly hotpluggable?: boolean;
};

export class RemoteDevices implements DeviceOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async attachDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainAttachDeviceFlags, { dom, xml, flags: affectToFlags(options) }, options);
  }

  async detachDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainDetachDeviceFlags, { dom, xml, flags: affectToFlags(options) }, options);
  }

  async detachDeviceAlias(uuid: string, alias: string, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainDetachDeviceAlias, { dom, alias, flags: affectToFlags(options) }, options);
  }

  async updateDevice(
    uuid: string,
    xml: string,
    options: AffectOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = affectToFlags(options) | flagsOf([DeviceFlag.FORCE, options.force]);
    await this.#calls.call(P.domainUpdateDeviceFlags, { dom, xml, flags }, options);
  }

  async vcpuCount(uuid: string, options: VcpuOptions = {}): Promise<number> {
    const dom = await this.#calls.domain(uuid, options);
    return (await this.#calls.call(P.domainGetVcpusFlags, { dom, flags: vcpuFlags(options) }, options)).num;
  }

  async setVcpus(uuid: string, count: number, options: VcpuOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainSetVcpusFlags, { dom, nvcpus: count, flags: vcpuFlags(options) }, options);
  }

  async setVcpu(uuid: string, vcpus: readonly number[], enabled: boolean, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, cpumap: numbersToText(vcpus), state: enabled ? 1 : 0, flags: affectToFlags(options) };
    await this.#calls.call(P.domainSetVcpu, args, options);
  }

  async setMemory(
    uuid: string,
    memoryKiB: number,
    options: AffectOptions & { readonly maximum?: boolean } = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = affectToFlags(options) | flagsOf([MemoryFlag.MAXIMUM, options.maximum]);
    await this.#calls.call(P.domainSetMemoryFlags, { dom, memory: BigInt(memoryKiB), flags }, options);
  }

  async setMemoryStatsPeriod(uuid: string, seconds: number, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(
      P.domainSetMemoryStatsPeriod,
      { dom, period: seconds, flags: affectToFlags(options) },
      options,
    );
  }

  async iothreads(uuid: string, options: AffectOptions = {}): Promise<readonly IothreadInfo[]> {
    const dom = await this.#calls.domain(uuid, options);
    const { info } = await this.#calls.call(P.domainGetIothreadInfo, { dom, flags: affectToFlags(options) }, options);
    return info.map(({ iothreadId, cpumap }) => ({ id: iothreadId, cpus: cpusFromWire(cpumap) }));
  }

  async addIothread(uuid: string, id: number, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainAddIothread, { dom, iothreadId: id, flags: affectToFlags(options) }, options);
  }

  async removeIothread(uuid: string, id: number, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainDelIothread, { dom, iothreadId: id, flags: affectToFlags(options) }, options);
  }

  async setIothread(uuid: string, id: number, settings: IothreadSettings, options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const params = toTypedParams(parametersOf(settings));
    await this.#calls.call(
      P.domainSetIothreadParams,
      { dom, iothreadId: id, params, flags: affectToFlags(options) },
      options,
    );
  }

  async setLifecycleAction(
    uuid: string,
    trigger: LifecycleTrigger,
    action: LifecycleAction,
    options: AffectOptions = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = {
      dom,
      type: LIFECYCLE_TRIGGERS.indexOf(trigger),
      action: LIFECYCLE_ACTIONS.indexOf(action),
      flags: affectToFlags(options),
    };
    await this.#calls.call(P.domainSetLifecycleAction, args, options);
  }

  async metadata(
    uuid: string,
    kind: MetadataKind,
    namespaceUri?: string,
    options: AffectOptions = {},
  ): Promise<string> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, type: METADATA_KINDS.indexOf(kind), uri: namespaceUri, flags: affectToFlags(options) };
    return (await this.#calls.call(P.domainGetMetadata, args, options)).metadata;
  }

  async setMetadata(
    uuid: string,
    { kind, value, key, namespaceUri }: Parameters<DeviceOperations['setMetadata']>[1],
    options: AffectOptions = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = {
      dom,
      type: METADATA_KINDS.indexOf(kind),
      metadata: value,
      key,
      uri: namespaceUri,
      flags: affectToFlags(options),
    };
    await this.#calls.call(P.domainSetMetadata, args, options);
  }

  async blockResize(uuid: string, disk: string, sizeBytes: bigint, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainBlockResize, { dom, disk, size: sizeBytes, flags: ResizeFlag.BYTES }, options);
  }
}

function vcpuFlags(options: VcpuOptions): number {
  return (
    affectToFlags(options) |
    flagsOf(
      [VcpuFlag.MAXIMUM, options.maximum],
      [VcpuFlag.GUEST, options.guest],
      [VcpuFlag.HOTPLUGGABLE, options.hotpluggable],
    )
  );
}

function parametersOf(settings: IothreadSettings): TypedParameters {
  const named = Object.entries(IOTHREAD_PARAMETERS).flatMap(([name, field]) => {
    const value = settings[field];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(named);
}

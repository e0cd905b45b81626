/** Limits and pins of a domain behind the protocol. */
import type { AffectOptions, IothreadPin, TypedParameters } from '../../driver/driver.ts';
import type { TuningOperations } from '../../driver/tuning-operations.ts';
import { fromTypedParams, Max, REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { affectToFlags, cpusFromWire, cpusToWire } from '../convert.ts';
import { type RemoteCalls, readParams, writeParams } from './remote-call.ts';

/** Bytes of a bit map of host CPUs: enough for all that libvirt can tell of. */
const MAP_BYTES = 128;

export class RemoteTuning implements TuningOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async memoryParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const max = Max.domainMemoryParameters;
    return await readParams(this.#calls, P.domainGetMemoryParameters, uuid, {}, { ...options, max });
  }

  async setMemoryParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await writeParams(this.#calls, P.domainSetMemoryParameters, uuid, {}, parameters, options);
  }

  async schedulerParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const max = Max.domainSchedulerParameters;
    return await readParams(this.#calls, P.domainGetSchedulerParametersFlags, uuid, {}, { ...options, max });
  }

  async setSchedulerParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await writeParams(this.#calls, P.domainSetSchedulerParametersFlags, uuid, {}, parameters, options);
  }

  async blkioParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const max = Max.domainBlkioParameters;
    return await readParams(this.#calls, P.domainGetBlkioParameters, uuid, {}, { ...options, max });
  }

  async setBlkioParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await writeParams(this.#calls, P.domainSetBlkioParameters, uuid, {}, parameters, options);
  }

  async numaParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const max = Max.domainNumaParameters;
    return await readParams(this.#calls, P.domainGetNumaParameters, uuid, {}, { ...options, max });
  }

  async setNumaParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await writeParams(this.#calls, P.domainSetNumaParameters, uuid, {}, parameters, options);
  }

  async perfEvents(uuid: string, options: AffectOptions = {}): Promise<Readonly<Record<string, boolean>>> {
    const dom = await this.#calls.domain(uuid, options);
    const { params } = await this.#calls.call(P.domainGetPerfEvents, { dom, flags: affectToFlags(options) }, options);
    return Object.fromEntries(
      Object.entries(fromTypedParams(params)).map(([name, value]) => [name, Boolean(Number(value))]),
    );
  }

  async setPerfEvents(
    uuid: string,
    events: Readonly<Record<string, boolean>>,
    options: AffectOptions = {},
  ): Promise<void> {
    await writeParams(this.#calls, P.domainSetPerfEvents, uuid, {}, events, options);
  }

  async blockIoTune(uuid: string, disk: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const max = Max.domainBlockIoTuneParameters;
    const of: { readonly disk: string | undefined } = { disk };
    return await readParams(this.#calls, P.domainGetBlockIoTune, uuid, of, { ...options, max });
  }

  async setBlockIoTune(
    uuid: string,
    disk: string,
    parameters: TypedParameters,
    options: AffectOptions = {},
  ): Promise<void> {
    await writeParams(this.#calls, P.domainSetBlockIoTune, uuid, { disk }, parameters, options);
  }

  async interfaceParameters(uuid: string, device: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const max = Max.domainInterfaceParameters;
    return await readParams(this.#calls, P.domainGetInterfaceParameters, uuid, { device }, { ...options, max });
  }

  async setInterfaceParameters(
    uuid: string,
    device: string,
    parameters: TypedParameters,
    options: AffectOptions = {},
  ): Promise<void> {
    await writeParams(this.#calls, P.domainSetInterfaceParameters, uuid, { device }, parameters, options);
  }

  async vcpuPins(uuid: string, options: AffectOptions = {}): Promise<readonly (readonly number[])[]> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = affectToFlags(options);
    const { num: count } = await this.#calls.call(
      P.domainGetVcpusFlags,
      { dom, flags: flags === 0 ? 0 : flags | 4 },
      options,
    );
    const args = { dom, ncpumaps: count, maplen: MAP_BYTES, flags };
    const { cpumaps, num } = await this.#calls.call(P.domainGetVcpuPinInfo, args, options);
    return Array.from({ length: num }, (_, vcpu) =>
      cpusFromWire(cpumaps.subarray(vcpu * MAP_BYTES, (vcpu + 1) * MAP_BYTES)),
    );
  }

  async pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, vcpu, cpumap: cpusToWire(cpus), flags: affectToFlags(options) };
    await this.#calls.call(P.domainPinVcpuFlags, args, options);
  }

  async emulatorPin(uuid: string, options: AffectOptions = {}): Promise<readonly number[]> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, maplen: MAP_BYTES, flags: affectToFlags(options) };
    return cpusFromWire((await this.#calls.call(P.domainGetEmulatorPinInfo, args, options)).cpumaps);
  }

  async pinEmulator(uuid: string, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, cpumap: cpusToWire(cpus), flags: affectToFlags(options) };
    await this.#calls.call(P.domainPinEmulator, args, options);
  }

  async iothreadPins(uuid: string, options: AffectOptions = {}): Promise<readonly IothreadPin[]> {
    const dom = await this.#calls.domain(uuid, options);
    const { info } = await this.#calls.call(P.domainGetIothreadInfo, { dom, flags: affectToFlags(options) }, options);
    return info.map(({ iothreadId, cpumap }) => ({ id: iothreadId, cpus: cpusFromWire(cpumap) }));
  }

  async pinIothread(
    uuid: string,
    iothread: number,
    cpus: readonly number[],
    options: AffectOptions = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, iothreadsId: iothread, cpumap: cpusToWire(cpus), flags: affectToFlags(options) };
    await this.#calls.call(P.domainPinIothread, args, options);
  }
}

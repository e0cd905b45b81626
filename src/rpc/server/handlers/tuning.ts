/** Procedures of domains: limits, pins, virtual CPUs, memory, I/O threads. */
import type { IothreadSettings } from '../../../driver/device-operations.ts';
import type { AffectOptions, TypedParameters } from '../../../driver/driver.ts';
import { fromTypedParams, type TypedParam, toTypedParams } from '../../../protocol/index.ts';
import type { DOMAIN_TUNING_PROCEDURES } from '../../../protocol/remote/domain-tuning.ts';
import { affectFromFlags, cpusFromWire, cpusToWire, numbersFromText, type WireDomain } from '../../convert.ts';
import { IOTHREAD_PARAMETERS, MemoryFlag, ResizeFlag, VcpuFlag } from '../../flags.ts';
import {
  checkFlags,
  countedParams,
  DONE,
  group,
  type HandlerSession,
  type Handlers,
  invalidArg,
  listParams,
  uuidOf,
} from '../handler.ts';
import { restoreParams, saveParams } from './lifecycle.ts';

/** VIR_DOMAIN_AFFECT_LIVE, …_CONFIG, and VIR_TYPED_PARAM_STRING_OKAY, which all of today's clients set. */
const AFFECT_FLAGS = 3;
const PARAM_FLAGS = 7;
const VCPU_FLAGS = AFFECT_FLAGS | VcpuFlag.MAXIMUM | VcpuFlag.GUEST | VcpuFlag.HOTPLUGGABLE;

export const tuningHandlers: Handlers<typeof DOMAIN_TUNING_PROCEDURES> = {
  domainGetSchedulerType: async (session, { dom }) => {
    const parameters = await group(session, 'tuning').schedulerParameters(uuidOf(dom));
    return { type: 'posix', nparams: Object.keys(parameters).length };
  },
  domainGetSchedulerParameters: async (session, { dom, nparams }) => {
    const read = group(session, 'tuning').schedulerParameters(uuidOf(dom));
    return { params: listParams(await read, nparams) };
  },
  domainGetSchedulerParametersFlags: async (session, { dom, nparams, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetSchedulerParametersFlags');
    const read = group(session, 'tuning').schedulerParameters(uuidOf(dom), affectFromFlags(flags));
    return { params: listParams(await read, nparams) };
  },
  domainSetSchedulerParameters: async (session, { dom, params }) => {
    await group(session, 'tuning').setSchedulerParameters(uuidOf(dom), fromTypedParams(params), { live: true });
    return DONE;
  },
  domainSetSchedulerParametersFlags: async (session, { dom, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetSchedulerParametersFlags');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setSchedulerParameters(uuid, parameters, options);
    return DONE;
  },
  domainGetMemoryParameters: async (session, { dom, nparams, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetMemoryParameters');
    return countedParams(await group(session, 'tuning').memoryParameters(uuidOf(dom), affectFromFlags(flags)), nparams);
  },
  domainSetMemoryParameters: async (session, { dom, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetMemoryParameters');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setMemoryParameters(uuid, parameters, options);
    return DONE;
  },
  domainGetBlkioParameters: async (session, { dom, nparams, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetBlkioParameters');
    return countedParams(await group(session, 'tuning').blkioParameters(uuidOf(dom), affectFromFlags(flags)), nparams);
  },
  domainSetBlkioParameters: async (session, { dom, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetBlkioParameters');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setBlkioParameters(uuid, parameters, options);
    return DONE;
  },
  domainGetNumaParameters: async (session, { dom, nparams, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetNumaParameters');
    return countedParams(await group(session, 'tuning').numaParameters(uuidOf(dom), affectFromFlags(flags)), nparams);
  },
  domainSetNumaParameters: async (session, { dom, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetNumaParameters');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setNumaParameters(uuid, parameters, options);
    return DONE;
  },
  domainGetPerfEvents: async (session, { dom, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetPerfEvents');
    return { params: toTypedParams(await group(session, 'tuning').perfEvents(uuidOf(dom), affectFromFlags(flags))) };
  },
  domainSetPerfEvents: async (session, { dom, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetPerfEvents');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setPerfEvents(uuid, switches(parameters), options);
    return DONE;
  },
  domainGetBlockIoTune: async (session, { dom, disk, nparams, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetBlockIoTune');
    // Only their number is asked for then, and it is the same for all disks.
    if (disk === undefined || disk === '') return { params: [], nparams: BLOCK_IO_TUNE_COUNT };
    return countedParams(
      await group(session, 'tuning').blockIoTune(uuidOf(dom), disk, affectFromFlags(flags)),
      nparams,
    );
  },
  domainSetBlockIoTune: async (session, { dom, disk, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetBlockIoTune');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setBlockIoTune(uuid, disk, parameters, options);
    return DONE;
  },
  domainGetInterfaceParameters: async (session, { dom, device, nparams, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainGetInterfaceParameters');
    const read = group(session, 'tuning').interfaceParameters(uuidOf(dom), device, affectFromFlags(flags));
    return countedParams(await read, nparams);
  },
  domainSetInterfaceParameters: async (session, { dom, device, params, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetInterfaceParameters');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'tuning').setInterfaceParameters(uuid, device, parameters, options);
    return DONE;
  },

  domainGetMaxMemory: async ({ driver }, { dom }) => ({
    memory: BigInt((await driver.info(uuidOf(dom))).maxMemoryKiB),
  }),
  domainSetMaxMemory: async (session, { dom, memory }) => {
    await group(session, 'devices').setMemory(uuidOf(dom), sizeOf(memory), { maximum: true });
    return DONE;
  },
  domainSetMemory: async (session, { dom, memory }) => {
    await group(session, 'devices').setMemory(uuidOf(dom), sizeOf(memory), { live: true });
    return DONE;
  },
  domainSetMemoryFlags: async (session, { dom, memory, flags }) => {
    checkFlags(flags, AFFECT_FLAGS | MemoryFlag.MAXIMUM, 'virDomainSetMemoryFlags');
    const maximum = (flags & MemoryFlag.MAXIMUM) !== 0;
    await group(session, 'devices').setMemory(uuidOf(dom), sizeOf(memory), { ...affectFromFlags(flags), maximum });
    return DONE;
  },
  domainSetMemoryStatsPeriod: async (session, { dom, period, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetMemoryStatsPeriod');
    if (period < 0) throw invalidArg(`a negative period (${period})`);
    await group(session, 'devices').setMemoryStatsPeriod(uuidOf(dom), period, affectFromFlags(flags));
    return DONE;
  },

  domainGetMaxVcpus: async (session, { dom }) => {
    const options = { maximum: true, ...((await isActive(session, dom)) ? { live: true } : { config: true }) };
    return { num: await group(session, 'devices').vcpuCount(uuidOf(dom), options) };
  },
  domainGetVcpusFlags: async (session, { dom, flags }) => {
    checkFlags(flags, VCPU_FLAGS, 'virDomainGetVcpusFlags');
    return { num: await group(session, 'devices').vcpuCount(uuidOf(dom), vcpuOptions(flags)) };
  },
  domainSetVcpus: async (session, { dom, nvcpus }) => {
    await group(session, 'devices').setVcpus(uuidOf(dom), nvcpus, { live: true });
    return DONE;
  },
  domainSetVcpusFlags: async (session, { dom, nvcpus, flags }) => {
    checkFlags(flags, VCPU_FLAGS, 'virDomainSetVcpusFlags');
    if (nvcpus === 0) throw invalidArg('the number of virtual CPUs must not be zero');
    await group(session, 'devices').setVcpus(uuidOf(dom), nvcpus, vcpuOptions(flags));
    return DONE;
  },
  domainSetVcpu: async (session, { dom, cpumap, state, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetVcpu');
    const options = affectFromFlags(flags);
    await group(session, 'devices').setVcpu(uuidOf(dom), numbersOf(cpumap), state !== 0, options);
    return DONE;
  },
  domainGetVcpus: async (session, { dom, maxinfo, maplen }) => {
    if (maxinfo < 0 || maplen < 0) throw invalidArg('negative sizes');
    const uuid = uuidOf(dom);
    const vcpus = (await group(session, 'inspection').vcpus(uuid)).slice(0, maxinfo);
    const pins = maplen === 0 ? [] : await group(session, 'tuning').vcpuPins(uuid, { live: true });
    return {
      info: vcpus.map(({ number, state, cpuTimeNs, cpu }) => ({ number, state, cpuTime: cpuTimeNs, cpu })),
      cpumaps: mapsOf(maplen === 0 ? [] : vcpus.map(({ number }) => pins[number] ?? []), maplen),
    };
  },
  domainGetVcpuPinInfo: async (session, { dom, ncpumaps, maplen, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainGetVcpuPinInfo');
    if (ncpumaps < 0 || maplen <= 0) throw invalidArg('sizes must be positive');
    const pins = (await group(session, 'tuning').vcpuPins(uuidOf(dom), affectFromFlags(flags))).slice(0, ncpumaps);
    return { cpumaps: mapsOf(pins, maplen), num: pins.length };
  },
  domainPinVcpu: async (session, { dom, vcpu, cpumap }) => {
    await group(session, 'tuning').pinVcpu(uuidOf(dom), vcpu, cpusFromWire(cpumap), { live: true });
    return DONE;
  },
  domainPinVcpuFlags: async (session, { dom, vcpu, cpumap, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainPinVcpuFlags');
    await group(session, 'tuning').pinVcpu(uuidOf(dom), vcpu, cpusFromWire(cpumap), affectFromFlags(flags));
    return DONE;
  },
  domainGetEmulatorPinInfo: async (session, { dom, maplen, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainGetEmulatorPinInfo');
    if (maplen <= 0) throw invalidArg('sizes must be positive');
    const cpus = await group(session, 'tuning').emulatorPin(uuidOf(dom), affectFromFlags(flags));
    return { cpumaps: cpusToWire(cpus, maplen), ret: 1 };
  },
  domainPinEmulator: async (session, { dom, cpumap, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainPinEmulator');
    await group(session, 'tuning').pinEmulator(uuidOf(dom), cpusFromWire(cpumap), affectFromFlags(flags));
    return DONE;
  },

  domainGetIothreadInfo: async (session, { dom, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainGetIOThreadInfo');
    const threads = await group(session, 'devices').iothreads(uuidOf(dom), affectFromFlags(flags));
    return {
      info: threads.map(({ id, cpus }) => ({ iothreadId: id, cpumap: cpusToWire(cpus) })),
      ret: threads.length,
    };
  },
  domainPinIothread: async (session, { dom, iothreadsId, cpumap, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainPinIOThread');
    const cpus = cpusFromWire(cpumap);
    await group(session, 'tuning').pinIothread(uuidOf(dom), iothreadsId, cpus, affectFromFlags(flags));
    return DONE;
  },
  domainAddIothread: async (session, { dom, iothreadId, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainAddIOThread');
    await group(session, 'devices').addIothread(uuidOf(dom), iothreadId, affectFromFlags(flags));
    return DONE;
  },
  domainDelIothread: async (session, { dom, iothreadId, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainDelIOThread');
    await group(session, 'devices').removeIothread(uuidOf(dom), iothreadId, affectFromFlags(flags));
    return DONE;
  },

  domainSetIothreadParams: async (session, { dom, iothreadId, params, flags }) => {
    checkFlags(flags, PARAM_FLAGS, 'virDomainSetIOThreadParams');
    const { uuid, parameters, options } = change(dom, params, flags);
    await group(session, 'devices').setIothread(uuid, iothreadId, iothreadSettings(parameters), options);
    return DONE;
  },

  domainBlockResize: async (session, { dom, disk, size, flags }) => {
    checkFlags(flags, ResizeFlag.BYTES, 'virDomainBlockResize');
    const bytes = (flags & ResizeFlag.BYTES) === 0 ? size * 1024n : size;
    await group(session, 'devices').blockResize(uuidOf(dom), disk, bytes);
    return DONE;
  },
  domainGetTime: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainGetTime');
    const { seconds, nanoseconds } = await group(session, 'interaction').time(uuidOf(dom));
    return { seconds, nseconds: nanoseconds };
  },
  domainSetTime: async (session, { dom, seconds, nseconds, flags }) => {
    checkFlags(flags, 1, 'virDomainSetTime');
    const time = (flags & 1) === 0 ? { seconds, nanoseconds: nseconds } : ('sync' as const);
    await group(session, 'interaction').setTime(uuidOf(dom), time);
    return DONE;
  },
  domainGetGuestVcpus: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainGetGuestVcpus');
    return { params: toTypedParams(await group(session, 'interaction').guestVcpus(uuidOf(dom))) };
  },
  domainSetGuestVcpus: async (session, { dom, cpumap, state, flags }) => {
    checkFlags(flags, 0, 'virDomainSetGuestVcpus');
    await group(session, 'interaction').setGuestVcpus(uuidOf(dom), numbersOf(cpumap), state !== 0);
    return DONE;
  },
  domainAgentSetResponseTimeout: async (session, { dom, timeout, flags }) => {
    checkFlags(flags, 0, 'virDomainAgentSetResponseTimeout');
    await group(session, 'interaction').setAgentTimeout(uuidOf(dom), timeout);
    return { result: 0 };
  },
  domainSaveParams: async (session, { dom, params, flags }) => await saveParams(session, dom, params, flags),
  domainRestoreParams: async (session, { params, flags }) => await restoreParams(session, params, flags),
};

/** Parameters that libvirt knows of a disk's throttling. */
const BLOCK_IO_TUNE_COUNT = 20;

function switches(parameters: TypedParameters): Readonly<Record<string, boolean>> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, value]) => {
      if (typeof value !== 'boolean') throw invalidArg(`parameter '${name}' is yes or no`);
      return [name, value] as const;
    }),
  );
}

function iothreadSettings(parameters: TypedParameters): IothreadSettings {
  const known: Readonly<Record<string, string>> = IOTHREAD_PARAMETERS;
  const settings = Object.entries(parameters).map(([name, value]) => {
    const field = known[name];
    if (field === undefined) throw invalidArg(`parameter '${name}' is unknown`);
    return [field, field === 'pollMaxNs' ? BigInt(value) : Number(value)] as const;
  });
  if (settings.length === 0) throw invalidArg('there is nothing to set');
  return Object.fromEntries(settings);
}

function change(
  dom: WireDomain,
  params: readonly TypedParam[],
  flags: number,
): { uuid: string; parameters: TypedParameters; options: AffectOptions } {
  if (params.length === 0) throw invalidArg('there is nothing to set: the list of parameters is empty');
  return { uuid: uuidOf(dom), parameters: fromTypedParams(params), options: affectFromFlags(flags) };
}

function mapsOf(pins: readonly (readonly number[])[], length: number): Uint8Array {
  return Buffer.concat(pins.map((cpus) => cpusToWire(cpus, length)));
}

function vcpuOptions(flags: number): AffectOptions & { maximum: boolean; guest: boolean; hotpluggable: boolean } {
  return {
    ...affectFromFlags(flags),
    maximum: (flags & VcpuFlag.MAXIMUM) !== 0,
    guest: (flags & VcpuFlag.GUEST) !== 0,
    hotpluggable: (flags & VcpuFlag.HOTPLUGGABLE) !== 0,
  };
}

async function isActive({ driver }: HandlerSession, dom: WireDomain): Promise<boolean> {
  return (await driver.lookupByUuid(uuidOf(dom))).id >= 0;
}

/** KiB that a number can hold exactly. */
function sizeOf(memory: bigint): number {
  if (memory > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArg(`${memory} KiB is more memory than there can be`);
  return Number(memory);
}

function numbersOf(text: string): number[] {
  try {
    return numbersFromText(text);
  } catch (error) {
    throw invalidArg(error instanceof Error ? error.message : String(error));
  }
}

/** The host behind the protocol. */
import type { DomainCapabilitiesQuery, TypedParameters, Waiting } from '../../driver/driver.ts';
import {
  type BaselineCpuOptions,
  type CompareCpuOptions,
  type FreePages,
  NODE_SUSPEND_TARGETS,
  type NodeInfo,
  type NodeOperations,
  type NodeSuspendTarget,
  type PageCount,
} from '../../driver/node-operations.ts';
import { fromTypedParams, Max, REMOTE_PROCEDURES as P, toTypedParams } from '../../protocol/index.ts';
import { cpusFromWire } from '../convert.ts';
import { AllocPagesFlag, BaselineCpuFlag, CompareCpuFlag, CPU_COMPARISONS, flagsOf } from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';
import { textOf } from './remote-inspection.ts';

export class RemoteNode implements NodeOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async hostname(options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.connectGetHostname, {}, options)).hostname;
  }

  async nodeInfo(options: Waiting = {}): Promise<NodeInfo> {
    const { memory, ...rest } = await this.#calls.call(P.nodeGetInfo, {}, options);
    return { ...rest, memoryKiB: Number(memory) };
  }

  async maxVcpus(type?: string, options: Waiting = {}): Promise<number> {
    return (await this.#calls.call(P.connectGetMaxVcpus, { type }, options)).maxVcpus;
  }

  async sysinfo(options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.connectGetSysinfo, { flags: 0 }, options)).sysinfo;
  }

  async freeMemory(options: Waiting = {}): Promise<bigint> {
    return (await this.#calls.call(P.nodeGetFreeMemory, {}, options)).freeMem;
  }

  async cellsFreeMemory(start: number, count: number, options: Waiting = {}): Promise<readonly bigint[]> {
    return (await this.#calls.call(P.nodeGetCellsFreeMemory, { startCell: start, maxcells: count }, options)).cells;
  }

  async cpuStats(cpu: number, options: Waiting = {}): Promise<TypedParameters> {
    const args = { cpuNum: cpu, nparams: Max.nodeCpuStats, flags: 0 };
    const { nparams } = await this.#calls.call(P.nodeGetCpuStats, { ...args, nparams: 0 }, options);
    const { params } = await this.#calls.call(P.nodeGetCpuStats, { ...args, nparams }, options);
    return Object.fromEntries(params.map(({ field, value }) => [field, value]));
  }

  async memoryStats(cell: number, options: Waiting = {}): Promise<TypedParameters> {
    const args = { cellNum: cell, flags: 0 };
    const { nparams } = await this.#calls.call(P.nodeGetMemoryStats, { ...args, nparams: 0 }, options);
    const { params } = await this.#calls.call(P.nodeGetMemoryStats, { ...args, nparams }, options);
    return Object.fromEntries(params.map(({ field, value }) => [field, value]));
  }

  async cpuMap(options: Waiting = {}): Promise<{ readonly present: number; readonly online: readonly number[] }> {
    const args = { needMap: 1, needOnline: 1, flags: 0 };
    const { cpumap, ret } = await this.#calls.call(P.nodeGetCpuMap, args, options);
    return { present: ret, online: cpusFromWire(cpumap) };
  }

  async memoryParameters(options: Waiting = {}): Promise<TypedParameters> {
    const { nparams } = await this.#calls.call(P.nodeGetMemoryParameters, { nparams: 0, flags: 0 }, options);
    const { params } = await this.#calls.call(P.nodeGetMemoryParameters, { nparams, flags: 0 }, options);
    return fromTypedParams(params);
  }

  async setMemoryParameters(parameters: TypedParameters, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.nodeSetMemoryParameters, { params: toTypedParams(parameters), flags: 0 }, options);
  }

  async freePages(
    sizesKiB: readonly number[],
    startCell: number,
    cellCount: number,
    options: Waiting = {},
  ): Promise<readonly FreePages[]> {
    const args = { pages: sizesKiB, startCell, cellCount, flags: 0 };
    const { counts } = await this.#calls.call(P.nodeGetFreePages, args, options);
    return counts.map((free, index) => ({
      cell: startCell + Math.floor(index / sizesKiB.length),
      sizeKiB: sizesKiB[index % sizesKiB.length] ?? 0,
      free,
    }));
  }

  async cpuModelNames(arch: string, options: Waiting = {}): Promise<readonly string[]> {
    return (await this.#calls.call(P.connectGetCpuModelNames, { arch, needResults: 1, flags: 0 }, options)).models;
  }

  async allocPages(
    pages: readonly PageCount[],
    startCell: number,
    cellCount: number,
    options: { readonly add?: boolean } & Waiting = {},
  ): Promise<number> {
    const args = {
      pageSizes: pages.map(({ sizeKiB }) => sizeKiB),
      pageCounts: pages.map(({ count }) => count),
      startCell,
      cellCount,
      flags: flagsOf([AllocPagesFlag.SET, options.add !== true]),
    };
    return (await this.#calls.call(P.nodeAllocPages, args, options)).ret;
  }

  async suspend(target: NodeSuspendTarget, durationS: bigint, options: Waiting = {}): Promise<void> {
    const args = { target: NODE_SUSPEND_TARGETS.indexOf(target), duration: durationS, flags: 0 };
    await this.#calls.call(P.nodeSuspendForDuration, args, options);
  }

  async compareCpu(xml: string, options: CompareCpuOptions & Waiting = {}): Promise<CpuComparison> {
    const { result } = await this.#calls.call(P.connectCompareCpu, { xml, flags: compareFlags(options) }, options);
    return CPU_COMPARISONS[result] ?? 'incompatible';
  }

  async compareHypervisorCpu(
    query: DomainCapabilitiesQuery,
    xml: string,
    options: CompareCpuOptions & Waiting = {},
  ): Promise<CpuComparison> {
    const args = { ...wireQuery(query), xmlCPU: xml, flags: compareFlags(options) };
    const { result } = await this.#calls.call(P.connectCompareHypervisorCpu, args, options);
    return CPU_COMPARISONS[result] ?? 'incompatible';
  }

  async baselineCpu(xmls: readonly string[], options: BaselineCpuOptions & Waiting = {}): Promise<string> {
    const args = { xmlCPUs: xmls, flags: baselineFlags(options) };
    return (await this.#calls.call(P.connectBaselineCpu, args, options)).cpu;
  }

  async baselineHypervisorCpu(
    query: DomainCapabilitiesQuery,
    xmls: readonly string[],
    options: BaselineCpuOptions & Waiting = {},
  ): Promise<string> {
    const args = { ...wireQuery(query), xmlCPUs: xmls, flags: baselineFlags(options) };
    return (await this.#calls.call(P.connectBaselineHypervisorCpu, args, options)).cpu;
  }

  async securityModel(options: Waiting = {}): Promise<{ readonly model: string; readonly doi: string }> {
    const { model, doi } = await this.#calls.call(P.nodeGetSecurityModel, {}, options);
    return { model: textOf(model), doi: textOf(doi) };
  }
}

type CpuComparison = (typeof CPU_COMPARISONS)[number];

function compareFlags({ failIncompatible }: CompareCpuOptions): number {
  return flagsOf([CompareCpuFlag.FAIL_INCOMPATIBLE, failIncompatible]);
}

function baselineFlags({ expandFeatures, migratable }: BaselineCpuOptions): number {
  return flagsOf([BaselineCpuFlag.EXPAND_FEATURES, expandFeatures], [BaselineCpuFlag.MIGRATABLE, migratable]);
}

function wireQuery({ emulator, arch, machine, virttype }: DomainCapabilitiesQuery): WireQuery {
  return { emulator, arch, machine, virttype };
}

type WireQuery = Readonly<Record<'emulator' | 'arch' | 'machine' | 'virttype', string | undefined>>;

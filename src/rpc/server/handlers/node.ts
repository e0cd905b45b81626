/** Procedures about the host. */
import type { TypedParameters } from '../../../driver/driver.ts';
import { NODE_SUSPEND_TARGETS } from '../../../driver/node-operations.ts';
import { fromTypedParams, toTypedParams } from '../../../protocol/index.ts';
import type { NODE_PROCEDURES } from '../../../protocol/remote/node.ts';
import { cpusToWire } from '../../convert.ts';
import { AllocPagesFlag } from '../../flags.ts';
import { atMost, checkFlags, DONE, group, type Handlers, invalidArg, oneOf } from '../handler.ts';

export const nodeHandlers: Handlers<typeof NODE_PROCEDURES> = {
  nodeGetInfo: async (session) => {
    const { memoryKiB, ...rest } = await group(session, 'node').nodeInfo();
    return { ...rest, memory: BigInt(memoryKiB) };
  },
  nodeGetFreeMemory: async (session) => ({ freeMem: await group(session, 'node').freeMemory() }),
  nodeGetCellsFreeMemory: async (session, { startCell, maxcells }) => {
    if (startCell < 0 || maxcells < 0) throw invalidArg('negative numbers of cells');
    return { cells: await group(session, 'node').cellsFreeMemory(startCell, maxcells) };
  },
  nodeGetSecurityModel: async (session) => {
    const { model, doi } = await group(session, 'node').securityModel();
    return { model: Buffer.from(`${model}\0`), doi: Buffer.from(`${doi}\0`) };
  },
  nodeGetCpuStats: async (session, { cpuNum, nparams, flags }) => {
    checkFlags(flags, 0, 'virNodeGetCPUStats');
    // How many there are is asked before which CPU is looked at.
    return fields(await group(session, 'node').cpuStats(nparams === 0 ? -1 : cpuNum), nparams);
  },
  nodeGetMemoryStats: async (session, { nparams, cellNum, flags }) => {
    checkFlags(flags, 0, 'virNodeGetMemoryStats');
    return fields(await group(session, 'node').memoryStats(cellNum), nparams);
  },
  nodeGetMemoryParameters: async (session, { nparams, flags }) => {
    // VIR_TYPED_PARAM_STRING_OKAY.
    checkFlags(flags, 4, 'virNodeGetMemoryParameters');
    const all = toTypedParams(await group(session, 'node').memoryParameters());
    return { params: nparams === 0 ? [] : atMost(all, nparams), nparams: nparams === 0 ? all.length : nparams };
  },
  nodeSetMemoryParameters: async (session, { params, flags }) => {
    checkFlags(flags, 0, 'virNodeSetMemoryParameters');
    await group(session, 'node').setMemoryParameters(fromTypedParams(params));
    return DONE;
  },
  nodeGetCpuMap: async (session, { needMap, needOnline, flags }) => {
    checkFlags(flags, 0, 'virNodeGetCPUMap');
    const { present, online } = await group(session, 'node').cpuMap();
    return {
      cpumap: needMap === 0 ? new Uint8Array() : cpusToWire(online, Math.ceil(present / 8)),
      online: needOnline === 0 ? 0 : online.length,
      ret: present,
    };
  },
  nodeGetFreePages: async (session, { pages, startCell, cellCount, flags }) => {
    checkFlags(flags, 0, 'virNodeGetFreePages');
    const found = await group(session, 'node').freePages(pages, startCell, cellCount);
    return { counts: found.map(({ free }) => free) };
  },
  nodeAllocPages: async (session, { pageSizes, pageCounts, startCell, cellCount, flags }) => {
    checkFlags(flags, AllocPagesFlag.SET, 'virNodeAllocPages');
    const pages = pageSizes.map((sizeKiB, index) => ({ sizeKiB, count: pageCounts[index] ?? 0n }));
    const add = (flags & AllocPagesFlag.SET) === 0;
    return { ret: await group(session, 'node').allocPages(pages, startCell, cellCount, { add }) };
  },
  nodeSuspendForDuration: async (session, { target, duration, flags }) => {
    checkFlags(flags, 0, 'virNodeSuspendForDuration');
    await group(session, 'node').suspend(oneOf(NODE_SUSPEND_TARGETS, target, 'suspend target'), duration);
    return DONE;
  },
};

/** Names and values of numbers, at most as many as the client has room for. */
function fields(
  numbers: TypedParameters,
  nparams: number,
): { params: readonly { field: string; value: bigint }[]; nparams: number } {
  const all = Object.entries(numbers).map(([field, value]) => ({ field, value: BigInt(value) }));
  return nparams === 0 ? { params: [], nparams: all.length } : { params: atMost(all, nparams), nparams };
}

/** The host: CPUs, memory, pages. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, int, opaque, uhyper, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, none } from '../procedure.ts';
import { chars, fixedChars, nodeGetCpuStats, nodeGetMemoryStats, typedParam } from '../structs.ts';

export const NODE_PROCEDURES = {
  nodeGetInfo: call(6, 'virNodeGetInfo', none, {
    model: fixedChars(32),
    memory: uhyper,
    cpus: int,
    mhz: int,
    nodes: int,
    sockets: int,
    cores: int,
    threads: int,
  }),
  nodeGetCellsFreeMemory: call(
    101,
    'virNodeGetCellsFreeMemory',
    { startCell: int, maxcells: int },
    { cells: array(uhyper, Max.nodeCells) },
  ),
  nodeGetFreeMemory: call(102, 'virNodeGetFreeMemory', none, { freeMem: uhyper }),
  nodeGetSecurityModel: call(122, 'virNodeGetSecurityModel', none, {
    model: chars(Max.securityModel),
    doi: chars(Max.securityDoi),
  }),
  nodeGetCpuStats: call(
    227,
    'virNodeGetCPUStats',
    { cpuNum: int, nparams: int, flags: uint },
    { params: array(nodeGetCpuStats, Max.nodeCpuStats), nparams: int },
  ),
  nodeGetMemoryStats: call(
    228,
    'virNodeGetMemoryStats',
    { nparams: int, cellNum: int, flags: uint },
    { params: array(nodeGetMemoryStats, Max.nodeMemoryStats), nparams: int },
  ),
  nodeSuspendForDuration: call(
    250,
    'virNodeSuspendForDuration',
    { target: uint, duration: uhyper, flags: uint },
    none,
    { writes: true },
  ),
  nodeSetMemoryParameters: call(
    288,
    'virNodeSetMemoryParameters',
    { params: array(typedParam, Max.nodeMemoryParameters), flags: uint },
    none,
    { writes: true },
  ),
  nodeGetMemoryParameters: call(
    289,
    'virNodeGetMemoryParameters',
    { nparams: int, flags: uint },
    { params: array(typedParam, Max.nodeMemoryParameters), nparams: int },
  ),
  nodeGetCpuMap: call(
    293,
    'virNodeGetCPUMap',
    { needMap: int, needOnline: int, flags: uint },
    { cpumap: opaque(Max.cpumap), online: uint, ret: int },
  ),
  nodeGetFreePages: call(
    340,
    'virNodeGetFreePages',
    { pages: array(uint, Max.nodeCells), startCell: int, cellCount: uint, flags: uint },
    { counts: array(uhyper, Max.nodeCells) },
  ),
  nodeAllocPages: call(
    347,
    'virNodeAllocPages',
    {
      pageSizes: array(uint, Max.nodeCells),
      pageCounts: array(uhyper, Max.nodeCells),
      startCell: int,
      cellCount: uint,
      flags: uint,
    },
    { ret: int },
    { writes: true },
  ),
  nodeGetSevInfo: call(
    395,
    'virNodeGetSEVInfo',
    { nparams: int, flags: uint },
    { params: array(typedParam, Max.nodeSevInfo), nparams: int },
    { writes: true },
  ),
} as const;

/** The host as any connection tells of it: facts of `src/host` under libvirt's names. What its CPUs can do for guests is a driver's to say. */
import { hostname } from 'node:os';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { TypedParameters } from '../driver/driver.ts';
import type { FreePages, NodeInfo, NodeOperations, NodeSuspendTarget, PageCount } from '../driver/node-operations.ts';
import { hostArch, readNumaNodes, readSleepStates, readTopology } from '../host/cpu.ts';
import {
  readCpuMap,
  readCpuMhz,
  readCpuTimes,
  readFreePages,
  readHostMemory,
  readKsm,
  readMemoryTimes,
  readPagePool,
  readSysinfo,
  writeKsm,
  writePagePool,
} from '../host/node-facts.ts';
import { element } from '../xml/element.ts';
import { formatXml } from '../xml/format.ts';

type OfDrivers =
  | 'maxVcpus'
  | 'cpuModelNames'
  | 'compareCpu'
  | 'baselineCpu'
  | 'compareHypervisorCpu'
  | 'baselineHypervisorCpu'
  | 'securityModel';

export class HostInformation implements Omit<NodeOperations, OfDrivers> {
  async hostname(): Promise<string> {
    return hostname();
  }

  async nodeInfo(): Promise<NodeInfo> {
    const { cpus, sockets, cores, threads } = readTopology();
    const nodes = Math.max(1, readNumaNodes().length);
    return {
      model: hostArch(),
      memoryKiB: Number(readHostMemory().totalKiB),
      cpus: cpus.length,
      mhz: readCpuMhz(),
      nodes,
      // libvirt counts the sockets of one node.
      sockets: Math.max(1, Math.floor(sockets / nodes)),
      cores,
      threads,
    };
  }

  async sysinfo(): Promise<string> {
    const tables = Object.entries(readSysinfo()).map(([table, entries]) =>
      element(table, {}, ...Object.entries(entries).map(([name, value]) => element('entry', { name }, value))),
    );
    if (tables.length === 0) throw fail(ErrorCode.CONFIG_UNSUPPORTED, 'Host SMBIOS information is not available');
    return formatXml(element('sysinfo', { type: 'smbios' }, ...tables));
  }

  async freeMemory(): Promise<bigint> {
    return readHostMemory().freeKiB * 1024n;
  }

  async cellsFreeMemory(start: number, count: number): Promise<readonly bigint[]> {
    // A kernel without NUMA has one cell, which is the host.
    const free = (cell: number): bigint =>
      (readMemoryTimes(cell)?.['free'] ?? readMemoryTimes(-1)?.['free'] ?? 0n) * 1024n;
    return cellsOf(start, count).map(free);
  }

  async cpuStats(cpu: number): Promise<TypedParameters> {
    const found = readCpuTimes(cpu);
    if (found === undefined) throw invalid(`cpuNum: there is no CPU ${cpu}`);
    return { ...found };
  }

  async memoryStats(cell: number): Promise<TypedParameters> {
    const found = readMemoryTimes(cell);
    if (found === undefined) throw invalid(`cellNum: there is no NUMA cell ${cell}`);
    return found;
  }

  async cpuMap(): Promise<{ readonly present: number; readonly online: readonly number[] }> {
    return readCpuMap();
  }

  async memoryParameters(): Promise<TypedParameters> {
    return readKsm();
  }

  async setMemoryParameters(parameters: TypedParameters): Promise<void> {
    try {
      writeKsm(parameters);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      const code = cause instanceof RangeError ? ErrorCode.INVALID_ARG : ErrorCode.SYSTEM_ERROR;
      throw new VirtError(message, { code, domain: ErrorDomain.QEMU, cause });
    }
  }

  async freePages(sizesKiB: readonly number[], startCell: number, cellCount: number): Promise<readonly FreePages[]> {
    return cellsOf(startCell, cellCount).flatMap((cell) =>
      sizesKiB.map((sizeKiB) => {
        const free = readFreePages(sizeKiB, cell);
        if (free !== undefined) return { cell, sizeKiB, free };
        throw fail(ErrorCode.OPERATION_FAILED, `page size ${sizeKiB} is not available on node ${cell}`);
      }),
    );
  }

  async allocPages(
    pages: readonly PageCount[],
    startCell: number,
    cellCount: number,
    { add = false }: { readonly add?: boolean } = {},
  ): Promise<number> {
    const cells = startCell < 0 ? [-1] : cellsOf(startCell, cellCount);
    let done = 0;
    for (const cell of cells) {
      for (const { sizeKiB, count } of pages) if (setPool(sizeKiB, cell, count, add)) done++;
    }
    return done;
  }

  async suspend(target: NodeSuspendTarget): Promise<void> {
    const states = readSleepStates();
    const { needs, name } = SUSPENSIONS[target];
    if (!needs.every((state) => states.includes(state))) throw fail(ErrorCode.ARGUMENT_UNSUPPORTED, name);
    throw fail(
      ErrorCode.NO_SUPPORT,
      'virNodeSuspendForDuration: Nestling does not suspend hosts (systemctl suspend does)',
    );
  }
}

const BASE_PAGE_KIB = 4;

/** @returns whether the pool has what was asked for */
function setPool(sizeKiB: number, cell: number, count: bigint, add: boolean): boolean {
  if (sizeKiB === BASE_PAGE_KIB) throw fail(ErrorCode.OPERATION_UNSUPPORTED, "system pages pool can't be modified");
  const before = readPagePool(sizeKiB, cell);
  if (before === undefined) {
    const where = cell < 0 ? '' : ` on node ${cell}`;
    throw fail(ErrorCode.OPERATION_FAILED, `page size ${sizeKiB} is not available${where}`);
  }
  const wanted = add ? before + count : count;
  try {
    writePagePool(sizeKiB, cell, wanted);
  } catch (cause) {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new VirtError(`cannot set the pool of ${sizeKiB} KiB pages to ${wanted}: ${errno} (only root may)`, {
      code: ErrorCode.SYSTEM_ERROR,
      domain: ErrorDomain.QEMU,
      cause,
    });
  }
  return (readPagePool(sizeKiB, cell) ?? 0n) >= wanted;
}

/** NUMA cells from one on, as many as there are. @throws VirtError INTERNAL_ERROR */
function cellsOf(start: number, count: number): number[] {
  const last = Math.max(0, ...readNumaNodes().map(({ id }) => id));
  if (start < 0 || start > last) throw fail(ErrorCode.INTERNAL_ERROR, `start cell ${start} out of range (0-${last})`);
  return Array.from({ length: Math.min(count, last - start + 1) }, (_, index) => start + index);
}

/** The kernel's states that each takes, and libvirt's name for it. */
const SUSPENSIONS = {
  mem: { needs: ['mem'], name: 'Suspend-to-RAM' },
  disk: { needs: ['disk'], name: 'Suspend-to-Disk' },
  hybrid: { needs: ['mem', 'disk'], name: 'Hybrid-Suspend' },
} as const;

function fail(code: ErrorCode, message: string): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.NONE });
}

function invalid(message: string): VirtError {
  return fail(ErrorCode.INVALID_ARG, message);
}

/** The host as a QEMU connection tells of it: facts of `src/host` under libvirt's names. */
import { hostname, release } from 'node:os';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { hostArch, readHostCpu, readMemoryKiB, readNumaNodes, readTopology } from '../../../host/cpu.ts';
import {
  readCpuMap,
  readCpuMhz,
  readCpuTimes,
  readFreePages,
  readKsm,
  readMemoryTimes,
  readSysinfo,
  writeKsm,
} from '../../../host/node-facts.ts';
import { primaryModel } from '../../../security/security-settings.ts';
import { formatXml } from '../../../xml/format.ts';
import { parseXml } from '../../../xml/parse.ts';
import type { TypedParameters } from '../../driver.ts';
import type { FreePages, NodeInfo, NodeOperations } from '../../node-operations.ts';
import { fromKernelFlags } from '../capabilities/capabilities-xml-cpu-models.ts';
import { element } from '../capabilities/capabilities-xml-tree.ts';
import { X86_FEATURES } from '../cpu/x86-features.ts';
import { x86Models } from '../cpu/x86-models.ts';
import { type DriverSecurity, driverSecurity } from '../security/driver-security.ts';
import type { DriverParts } from './driver-parts.ts';
import { emulatorOf } from './prepare-guest.ts';

/** QEMU's and KVM's most virtual CPUs, where nobody asks the machine type. */
const MAX_VCPUS = { kvm: 255, qemu: 255 };

export class NodeInformation implements NodeOperations {
  readonly #security: DriverSecurity;
  readonly #cache: DriverParts['cache'];

  constructor({ cache, config, root }: Pick<DriverParts, 'cache' | 'config' | 'root'>) {
    this.#security = driverSecurity(config, root.placement);
    this.#cache = cache;
  }

  async hostname(): Promise<string> {
    return hostname();
  }

  async nodeInfo(): Promise<NodeInfo> {
    const { cpus, sockets, cores, threads } = readTopology();
    const nodes = Math.max(1, readNumaNodes().length);
    return {
      model: hostArch(),
      memoryKiB: readMemoryKiB(),
      cpus: cpus.length,
      mhz: readCpuMhz(),
      nodes,
      // libvirt counts the sockets of one node.
      sockets: Math.max(1, Math.floor(sockets / nodes)),
      cores,
      threads,
    };
  }

  async maxVcpus(type?: string): Promise<number> {
    const found = MAX_VCPUS[(type ?? 'qemu').toLowerCase() === 'kvm' ? 'kvm' : 'qemu'];
    if (type !== undefined && !['kvm', 'qemu'].includes(type.toLowerCase())) {
      throw invalid(`unknown type '${type}': it is kvm or qemu`);
    }
    return found;
  }

  async sysinfo(): Promise<string> {
    const tables = Object.entries(readSysinfo()).map(([table, entries]) =>
      element(table, {}, ...Object.entries(entries).map(([name, value]) => element('entry', { name }, value))),
    );
    return formatXml(element('sysinfo', { type: 'smbios' }, ...tables));
  }

  async freeMemory(): Promise<bigint> {
    return (readMemoryTimes(-1)?.['free'] ?? 0n) * 1024n;
  }

  async cellsFreeMemory(start: number, count: number): Promise<readonly bigint[]> {
    const cells = readNumaNodes().map(({ id }) => id);
    if (start >= Math.max(1, cells.length))
      throw invalid(`there is no NUMA cell ${start}: the last is ${cells.length - 1}`);
    // A kernel without NUMA has one cell, which is the host.
    const free = (cell: number): bigint =>
      (readMemoryTimes(cell)?.['free'] ?? readMemoryTimes(-1)?.['free'] ?? 0n) * 1024n;
    return (cells.length === 0 ? [0] : cells).slice(start, start + count).map(free);
  }

  async cpuStats(cpu: number): Promise<TypedParameters> {
    const found = readCpuTimes(cpu);
    if (found === undefined) throw invalid(`invalid cpuNum: there is no CPU ${cpu}`);
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
    const found: FreePages[] = [];
    for (let cell = startCell; cell < startCell + cellCount; cell++) {
      for (const sizeKiB of sizesKiB) {
        const free = readFreePages(sizeKiB, cell);
        if (free === undefined) {
          throw new VirtError(`page size ${sizeKiB} KiB or NUMA cell ${cell} is not available`, {
            code: ErrorCode.OPERATION_FAILED,
            domain: ErrorDomain.QEMU,
          });
        }
        found.push({ cell, sizeKiB, free });
      }
    }
    return found;
  }

  async cpuModelNames(arch: string): Promise<readonly string[]> {
    if (arch === 'x86_64' || arch === 'i686')
      return x86Models()
        .map(({ name }) => name)
        .toSorted();
    const { capabilities } = await this.#cache.get(emulatorOf(arch), 'tcg');
    return (capabilities.accelerators.tcg?.cpus ?? []).map(({ name }) => name).toSorted();
  }

  async compareCpu(
    xml: string,
    { failIncompatible = false }: { readonly failIncompatible?: boolean } = {},
  ): Promise<'incompatible' | 'identical' | 'superset'> {
    const cpu = parseXml(xml).root;
    const model = (cpu.name === 'cpu' ? cpu : cpu.element('cpu'))?.element('model')?.text ?? '';
    const wanted = x86Models().find(({ name }) => name === model);
    if (wanted === undefined) throw invalid(`the CPU model '${model}' is unknown`);
    const flags = new Set(fromKernelFlags(readHostCpu().flags, new Set(X86_FEATURES)));
    const missing = [...wanted.features].filter((feature) => !flags.has(feature));
    if (missing.length === 0) return 'superset';
    if (!failIncompatible) return 'incompatible';
    throw new VirtError(`the host (Linux ${release()}) lacks ${missing.join(', ')} of ${model}`, {
      code: ErrorCode.CPU_INCOMPATIBLE,
      domain: ErrorDomain.CPU,
    });
  }

  async baselineCpu(): Promise<string> {
    throw new VirtError('virConnectBaselineCPU', { code: ErrorCode.NO_SUPPORT, domain: ErrorDomain.CPU });
  }

  /** The kernel's module that guests get labels of; users and groups are none. */
  async securityModel(): Promise<{ readonly model: string; readonly doi: string }> {
    const { readHostSecurity } = await import('../../../security/host-security.ts');
    return { model: primaryModel(this.#security, readHostSecurity()), doi: '0' };
  }
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

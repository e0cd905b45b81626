/** The host as a QEMU connection tells of it: to what all connections know, what its CPUs can do for virtual machines. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { HostInformation } from '../../../guest/host-information.ts';
import { hostArch } from '../../../host/cpu.ts';
import { primaryModel } from '../../../security/security-settings.ts';
import type { DomainCapabilitiesQuery, Waiting } from '../../driver.ts';
import type { BaselineCpuOptions, CompareCpuOptions, NodeOperations } from '../../node-operations.ts';
import { archOfTarget, GUEST_ARCHS, isArmArch, isX86Arch } from '../capabilities/capabilities-xml-arch.ts';
import { baselineCpu } from '../cpu/baseline-cpu.ts';
import { type CpuComparison, compareCpu, requireCompatible } from '../cpu/compare-cpu.ts';
import { parseCpuDescription } from '../cpu/cpu-description.ts';
import { readHostProcessor } from '../cpu/host-processor.ts';
import { libvirtModels } from '../cpu/libvirt-models.ts';
import { readOfferedCpu } from '../cpu/offered-cpu.ts';
import { type DriverSecurity, driverSecurity } from '../security/driver-security.ts';
import type { DriverParts } from './driver-parts.ts';

/** QEMU's and KVM's most virtual CPUs, where nobody asks the machine type. */
const MAX_VCPUS = { kvm: 255, qemu: 255 };

export class NodeInformation extends HostInformation implements NodeOperations {
  readonly #security: DriverSecurity;
  readonly #cache: DriverParts['cache'];

  constructor({ cache, config, root }: Pick<DriverParts, 'cache' | 'config' | 'root'>) {
    super();
    this.#security = driverSecurity(config, root.placement);
    this.#cache = cache;
  }

  async maxVcpus(type?: string): Promise<number> {
    const found = MAX_VCPUS[(type ?? 'qemu').toLowerCase() === 'kvm' ? 'kvm' : 'qemu'];
    if (type !== undefined && !['kvm', 'qemu'].includes(type.toLowerCase())) {
      throw invalid(`unknown type '${type}': it is kvm or qemu`);
    }
    return found;
  }

  async cpuModelNames(arch: string): Promise<readonly string[]> {
    if (!GUEST_ARCHS.some(({ name }) => name === arch)) throw invalid(`cannot find architecture ${arch}`);
    if (isX86Arch(arch)) return libvirtModels().map(({ name }) => name);
    if (arch.startsWith('ppc64')) return PPC64_MODELS;
    // Of these any name will do: QEMU says whether it knows it.
    if (arch === 's390x' || isArmArch(arch)) return [];
    throw fail(ErrorCode.NO_SUPPORT, `'${arch}' architecture is not supported by CPU driver`);
  }

  async compareCpu(xml: string, { failIncompatible = false }: CompareCpuOptions = {}): Promise<CpuComparison> {
    requireX86();
    const compared = compareCpu(parseCpuDescription(xml), readHostProcessor());
    return failIncompatible ? requireCompatible(compared) : compared.result;
  }

  async baselineCpu(xmls: readonly string[], options: BaselineCpuOptions = {}): Promise<string> {
    return baselineCpu(
      xmls.map((xml) => parseCpuDescription(xml, { hostOnly: true })),
      options,
    );
  }

  async compareHypervisorCpu(
    query: DomainCapabilitiesQuery,
    xml: string,
    { failIncompatible = false, signal }: CompareCpuOptions & Waiting = {},
  ): Promise<CpuComparison> {
    const offered = await readOfferedCpu(this.#cache, query, signal);
    const compared = compareCpu(parseCpuDescription(xml), offered);
    return failIncompatible ? requireCompatible(compared) : compared.result;
  }

  async baselineHypervisorCpu(
    query: DomainCapabilitiesQuery,
    xmls: readonly string[],
    { signal, ...options }: BaselineCpuOptions & Waiting = {},
  ): Promise<string> {
    const offered = await readOfferedCpu(this.#cache, query, signal);
    return baselineCpu(
      xmls.map((xml) => parseCpuDescription(xml)),
      { ...options, offered },
    );
  }

  /** The kernel's module that guests get labels of; users and groups are none. */
  async securityModel(): Promise<{ readonly model: string; readonly doi: string }> {
    const { readHostSecurity } = await import('../../../security/host-security.ts');
    return { model: primaryModel(this.#security, readHostSecurity()), doi: '0' };
  }
}

const PPC64_MODELS = ['POWER6', 'POWER7', 'POWER8', 'POWER9', 'POWER10', 'POWERPC_e5500', 'POWERPC_e6500'];

function requireX86(): void {
  if (isX86Arch(archOfTarget(hostArch())?.name ?? '')) return;
  throw fail(ErrorCode.NO_SUPPORT, `CPUs of ${hostArch()} hosts cannot be compared`);
}

function fail(code: ErrorCode, message: string): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.QEMU });
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

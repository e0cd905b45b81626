/** The processor that an emulator offers to guests on this host, as comparisons take it. */
import { ErrorCode } from '../../../core/errors.ts';
import type { DomainCapabilitiesQuery } from '../../driver.ts';
import type { CapabilitiesCache } from '../capabilities/cache.ts';
import { isX86Arch } from '../capabilities/capabilities-xml-arch.ts';
import { vendorName } from '../capabilities/capabilities-xml-cpu-models.ts';
import { resolveQuery } from '../capabilities/domain-capabilities-xml.ts';
import type { OfferedCpu } from './compare-cpu.ts';
import { failure } from './cpu-description.ts';
import { KNOWN_FEATURES } from './name-processor.ts';

export interface OfferedByEmulator extends OfferedCpu {
  /** Names that the emulator knows. */
  readonly models: ReadonlySet<string>;
}

/** @throws VirtError for a query that leads nowhere, OPERATION_UNSUPPORTED where the emulator does not tell */
export async function readOfferedCpu(
  cache: CapabilitiesCache,
  query: DomainCapabilitiesQuery,
  signal: AbortSignal | undefined,
): Promise<OfferedByEmulator> {
  const { capabilities, accelerator, arch } = await resolveQuery(cache, { ...query, signal });
  const { cpus = [], hostModel } = capabilities.accelerators[accelerator] ?? {};
  if (!isX86Arch(arch) || hostModel === undefined)
    throw failure(
      ErrorCode.OPERATION_UNSUPPORTED,
      `comparing with the hypervisor CPU is not supported for arch ${arch}`,
    );
  const { vendor } = hostModel.props;
  return {
    vendor: typeof vendor === 'string' ? vendorName(vendor) : undefined,
    features: new Set(KNOWN_FEATURES.filter((name) => hostModel.props[name] === true)),
    models: new Set(cpus.map(({ name }) => name)),
  };
}

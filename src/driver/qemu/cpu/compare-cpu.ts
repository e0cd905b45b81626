/** Whether a described x86 processor could be had from another one: the host's, or what a hypervisor offers. Pure. */
import { ErrorCode } from '../../../core/errors.ts';
import { isX86Arch } from '../capabilities/capabilities-xml-arch.ts';
import { libvirtFeature } from '../capabilities/capabilities-xml-cpu-models.ts';
import { type CpuDescription, failure, featuresOfModel, featuresWith } from './cpu-description.ts';
import { inOrder } from './name-processor.ts';

export type CpuComparison = 'incompatible' | 'identical' | 'superset';

/** What there is. */
export interface OfferedCpu {
  readonly vendor: string | undefined;
  readonly features: ReadonlySet<string>;
}

/** `reason`: why it is incompatible, in libvirt's words. */
export interface ComparedCpu {
  readonly result: CpuComparison;
  readonly reason?: string;
}

/** @throws VirtError INTERNAL_ERROR for models and features that have no meaning */
export function compareCpu(wanted: CpuDescription, offered: OfferedCpu): ComparedCpu {
  if (wanted.arch !== undefined && !isX86Arch(wanted.arch))
    return incompatible(`CPU arch ${wanted.arch} does not match host arch`);
  if (wanted.vendor !== undefined && wanted.vendor !== offered.vendor)
    return incompatible(`host CPU vendor does not match required CPU vendor ${wanted.vendor}`);
  // host-model, host-passthrough, maximum, and a guest that says nothing: whatever there is will do.
  if (wanted.model === undefined) return { result: 'superset' };
  const forbidden = featuresWith(wanted, 'forbid').filter((name) => offered.features.has(name));
  if (forbidden.length > 0) return incompatible(`Host CPU provides forbidden features: ${listed(forbidden)}`);
  const released = new Set(featuresWith(wanted, 'force', 'optional', 'disable', 'forbid'));
  const required = new Set([...featuresOfModel(wanted.model), ...featuresWith(wanted, 'require')]);
  const missing = [...required].filter((name) => !released.has(name) && !offered.features.has(name));
  if (missing.length > 0) return incompatible(`Host CPU does not provide required features: ${listed(missing)}`);
  const extra = [...offered.features].filter((name) => !required.has(name) && !released.has(name));
  if (extra.length === 0) return { result: 'identical' };
  if (wanted.match !== 'strict') return { result: 'superset' };
  return incompatible(`Host CPU does not strictly match guest CPU: Extra features: ${listed(extra)}`);
}

/** @throws VirtError CPU_INCOMPATIBLE */
export function requireCompatible({ result, reason }: ComparedCpu): CpuComparison {
  if (result === 'incompatible') throw failure(ErrorCode.CPU_INCOMPATIBLE, reason ?? '');
  return result;
}

function incompatible(reason: string): ComparedCpu {
  return { result: 'incompatible', reason };
}

function listed(names: readonly string[]): string {
  return inOrder(names).map(libvirtFeature).join(', ');
}

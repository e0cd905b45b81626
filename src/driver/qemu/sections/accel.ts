/** `-accel`: KVM or TCG with their options. Whether KVM works on this host is not decided here. */
import { versionAtLeast } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { isKvm } from '../machine.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';

const KIB_PER_MIB = 1024;

/** The accelerator that `<domain type='…'>` names. */
export function planAccel(context: PlanContext): Part[] {
  return [{ kind: 'keyval', option: 'accel', props: accelProps(context), implied: 'accel' }];
}

function accelProps({ domain }: PlanContext): Props {
  const { features } = domain;
  if (isKvm(domain)) {
    const ring = features?.kvm?.dirtyRing;
    return { accel: 'kvm', 'dirty-ring-size': ring?.state === true ? ring.size : undefined };
  }
  const cacheKiB = features?.tcg?.tbCache;
  const cacheMiB = cacheKiB === undefined ? undefined : Math.floor(cacheKiB / KIB_PER_MIB);
  return { accel: 'tcg', 'tb-size': cacheMiB === 0 ? undefined : cacheMiB };
}

/** The accelerator's own settings, and that this QEMU has it at all. */
export function validateAccel(context: DomainContext): void {
  const { domain, caps } = context;
  if (domain.type !== 'qemu' && domain.type !== 'kvm') {
    fault(context, domain, `${caps.binary} does not run type '${domain.type ?? ''}': use 'kvm' or 'qemu'`, '@type');
  } else if (domain.type === 'kvm' && caps.accelerators.kvm === undefined && !caps.kvm.present) {
    fault(context, domain, `${caps.binary} has no KVM: use type='qemu'`, '@type');
  }
  const tcg = domain.features?.tcg;
  if ((tcg?.tbCache ?? 0) % KIB_PER_MIB !== 0) {
    fault(context, domain, '<tb-cache> is a whole number of MiB', 'features/tcg/tb-cache');
  }
  if (tcg !== undefined && domain.type !== 'qemu') {
    fault(context, tcg, `<tcg> needs type='qemu', this domain has type='${domain.type ?? ''}'`);
  }
  validateDirtyRing(context);
}

function validateDirtyRing(context: DomainContext): void {
  const ring = context.domain.features?.kvm?.dirtyRing;
  if (ring?.state !== true) return;
  const size = ring.size ?? 0;
  if (size < 1024 || size > 65536 || (size & (size - 1)) !== 0) {
    fault(context, ring, 'the dirty ring needs a size that is a power of two from 1024 to 65536', '@size');
  }
  if (!versionAtLeast(context.caps, 6, 1)) {
    fault(context, ring, 'the dirty ring needs QEMU 6.1 or newer: remove <dirty-ring>');
  }
}

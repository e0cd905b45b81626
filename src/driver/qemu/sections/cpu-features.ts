/** The part of `-cpu` that `<features>`, timers and panic devices decide. The model and its features are the CPU section's. */
import type { Features, Hyperv, KvmFeatures } from '../../../model/domain/features.ts';
import type { DomainContext } from '../context.ts';
import type { Props } from '../plan/props.ts';

/** Properties to append to `-cpu`, in libvirt's order. */
export function cpuFeatureProps({ domain }: Pick<DomainContext, 'domain'>): Props {
  const { features = {}, devices } = domain;
  return {
    ...timerProps(domain.clock?.timers ?? []),
    'kvm-pv-eoi': features.apic?.eoi,
    'kvm-pv-unhalt': features.pvspinlock?.state,
    ...hypervProps(features.hyperv),
    'hv-crash': devices?.panics.some(({ model }) => model === 'hyperv') === true ? null : undefined,
    ...kvmProps(features.kvm),
    pmu: pmuOf(features),
  };
}

type Timers = NonNullable<DomainContext['domain']['clock']>['timers'];

function timerProps(timers: Timers): Props {
  const props: Record<string, boolean | number | undefined> = {};
  for (const timer of timers) {
    if (timer.name === 'kvmclock') props['kvmclock'] = timer.present;
    else if (timer.name === 'hypervclock' && timer.present === true) props['hv-time'] = true;
    else if (timer.name === 'tsc' && (timer.frequency ?? 0) > 0) props['tsc-frequency'] = timer.frequency;
    else if (timer.name === 'armvtimer' && timer.tickpolicy !== undefined) {
      props['kvm-no-adjvtime'] = timer.tickpolicy === 'discard';
    }
  }
  return props;
}

function hypervProps(hyperv: Hyperv | undefined): Props {
  if (hyperv === undefined) return {};
  if (hyperv.mode === 'passthrough') return { 'hv-passthrough': true };
  const { spinlocks, vendorId, stimer, tlbflush } = hyperv;
  return {
    'hv-relaxed': on(hyperv.relaxed),
    'hv-vapic': on(hyperv.vapic),
    'hv-spinlocks': spinlocks?.state === true ? `0x${(spinlocks.retries ?? 0).toString(16)}` : undefined,
    'hv-vpindex': on(hyperv.vpindex),
    'hv-runtime': on(hyperv.runtime),
    'hv-synic': on(hyperv.synic),
    'hv-stimer': on(stimer),
    'hv-stimer-direct': stimer?.state === true ? on(stimer.direct) : undefined,
    'hv-reset': on(hyperv.reset),
    'hv-vendor-id': vendorId?.state === true ? vendorId.value : undefined,
    'hv-frequencies': on(hyperv.frequencies),
    'hv-reenlightenment': on(hyperv.reenlightenment),
    'hv-tlbflush': on(tlbflush),
    'hv-tlbflush-direct': tlbflush?.state === true ? on(tlbflush.direct) : undefined,
    'hv-tlbflush-ext': tlbflush?.state === true ? on(tlbflush.extended) : undefined,
    'hv-ipi': on(hyperv.ipi),
    'hv-evmcs': on(hyperv.evmcs),
    'hv-avic': on(hyperv.avic),
    'hv-emsr-bitmap': on(hyperv.emsrBitmap),
    'hv-xmm-input': on(hyperv.xmmInput),
  };
}

function kvmProps(kvm: KvmFeatures | undefined): Props {
  return {
    kvm: kvm?.hidden?.state === true ? false : undefined,
    'kvm-hint-dedicated': on(kvm?.hintDedicated),
    'kvm-poll-control': on(kvm?.pollControl),
    // On is KVM's own default: only switching it off says something.
    'kvm-pv-ipi': kvm?.pvIpi?.state === false ? false : undefined,
  };
}

/** `<pmu/>` alone means on. */
function pmuOf({ pmu }: Features): boolean | undefined {
  return pmu === undefined ? undefined : (pmu.state ?? true);
}

function on(feature: { state: boolean } | undefined): true | undefined {
  return feature?.state === true ? true : undefined;
}

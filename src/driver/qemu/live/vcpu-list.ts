/**
 * Virtual CPUs of a definition, switched one by one or by number: `<vcpu>` and, where somebody has chosen single ones, `<vcpus>`. Changes
 * definitions only.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { Vcpus } from '../../../model/domain/vcpu.ts';

/** So many of them, from the first on. @throws VirtError INVALID_ARG above the maximum */
export function setVcpuCount(domain: Domain, count: number, { hotpluggable = false } = {}): void {
  const maximum = domain.vcpu?.value ?? 1;
  if (count > maximum) {
    throw invalid(`requested vcpus is greater than max allowable vcpus for the domain: ${count} > ${maximum}`);
  }
  if (hotpluggable) domain.vcpus ??= listOf(domain);
  setCurrent(domain, count);
  if (domain.vcpus === undefined) return;
  const all = domain.vcpus.vcpus.toSorted((a, b) => a.id - b.id);
  const missing = count - all.filter(({ enabled }) => enabled).length;
  const switched =
    missing > 0
      ? all.filter(({ enabled }) => !enabled).slice(0, missing)
      : all
          .filter(({ enabled, id }) => enabled && id > 0)
          .toReversed()
          .slice(0, -missing);
  for (const vcpu of switched) {
    vcpu.enabled = missing > 0;
    vcpu.hotpluggable = missing > 0 ? hotpluggable || vcpu.hotpluggable === true : true;
    if (!vcpu.enabled) delete vcpu.order;
  }
}

/** Single ones of the next start's definition. @throws VirtError INVALID_ARG */
export function switchVcpus(domain: Domain, ids: readonly number[], enabled: boolean): void {
  const vcpus = domain.vcpus ?? listOf(domain);
  for (const id of ids) {
    const vcpu = vcpus.vcpus.find((one) => one.id === id);
    if (vcpu === undefined) throw invalid(`vcpu ${id} is not present in persistent config`);
    if (id === 0) throw invalid(`vCPU '${id}' can't be modified`);
    Object.assign(vcpu, { enabled, hotpluggable: true });
    delete vcpu.order;
  }
  domain.vcpus = vcpus;
  setCurrent(domain, vcpus.vcpus.filter((vcpu) => vcpu.enabled).length);
}

/** Writes down which a running guest has. */
export function noteVcpus(domain: Domain, online: readonly number[]): void {
  if (domain.vcpu === undefined || online.length === 0) return;
  setCurrent(domain, online.length);
  for (const vcpu of domain.vcpus?.vcpus ?? []) vcpu.enabled = online.includes(vcpu.id);
}

function setCurrent(domain: Domain, count: number): void {
  domain.vcpu = { placement: 'static', ...domain.vcpu, current: count };
  if (count === (domain.vcpu.value ?? 1)) delete domain.vcpu.current;
}

/** All that there can be, as `<vcpu>` says it. */
function listOf({ vcpu }: Domain): Vcpus {
  const { value: maximum = 1, current = maximum } = vcpu ?? {};
  return {
    vcpus: Array.from({ length: maximum }, (_, id) => ({ id, enabled: id < current, hotpluggable: id >= current })),
  };
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

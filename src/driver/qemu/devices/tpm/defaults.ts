/** What is filled in for TPMs. */
import type { Tpm } from '../../../../model/domain/devices/tpm.ts';
import type { DomainContext } from '../../context.ts';
import { archOf, isArm } from '../../machine.ts';

const DEFAULT_HOST_DEVICE = '/dev/tpm0';

/** Version 1.2 and 2.0 do not understand each other's state, so the version is fixed from the beginning. */
export function fillTpmDefaults(tpm: Tpm, { domain }: DomainContext): void {
  const { backend } = tpm;
  if (archOf(domain).startsWith('ppc64')) {
    tpm.model ??= backend.type === 'passthrough' ? 'spapr-tpm-proxy' : 'tpm-spapr';
  } else {
    tpm.model ??= 'tpm-tis';
  }
  if (backend.type === 'emulator') {
    backend.version ??= tpm.model === 'tpm-tis' && !isArm(domain) ? '1.2' : '2.0';
  } else if (backend.type === 'passthrough') {
    backend.device ??= {};
    backend.device.path ??= DEFAULT_HOST_DEVICE;
  }
}

/** What is refused of TPMs. */
import type { Tpm } from '../../../../model/domain/devices/tpm.ts';
import type { DomainContext } from '../../context.ts';
import { fault } from '../../context.ts';

export function validateTpm(tpm: Tpm, context: DomainContext): void {
  const { model, backend } = tpm;
  const { caps, domain } = context;
  const others = (domain.devices?.tpms ?? []).filter((other) => isProxy(other) === isProxy(tpm));
  if (others[0] !== tpm) fault(context, tpm, `a guest has one ${isProxy(tpm) ? 'TPM proxy' : 'TPM'} only`);
  // An external TPM speaks the emulator's protocol.
  const type = backend.type === 'external' ? 'emulator' : backend.type;
  if (!caps.tpmTypes.includes(type)) fault(context, backend, `${caps.binary} has no TPM backend '${type}'`, '@type');
  if (model !== undefined && !caps.tpmModels.includes(model)) {
    fault(context, tpm, `${caps.binary} has no TPM model '${model}'`, '@model');
  }
  if (isProxy(tpm) && backend.type !== 'passthrough') {
    fault(context, tpm, "model 'spapr-tpm-proxy' is for the host's own TPM: use type='passthrough'", '@model');
  }
  if (backend.type === 'emulator') validateEmulator(tpm, context);
  if (backend.type === 'external') validateExternal(tpm, context);
}

function isProxy({ model }: Tpm): boolean {
  return model === 'spapr-tpm-proxy';
}

function validateEmulator({ model, backend }: Tpm, context: DomainContext): void {
  const { version, activePcrBanks, profile, source } = backend;
  if (version === '1.2') {
    if (model !== 'tpm-tis') fault(context, backend, `version 1.2 does not fit model '${model}'`, '@version');
    if (activePcrBanks !== undefined) fault(context, backend, '<active_pcr_banks> needs version 2.0');
    if (profile !== undefined) fault(context, backend, '<profile> needs version 2.0');
  }
  if (profile !== undefined && profile.source === undefined)
    fault(context, profile, '<profile> needs a source', '@source');
  if (source === undefined) return;
  if (source.type === 'unix') fault(context, source, "an emulator's state is in a 'file' or 'dir'", '@type');
  if (source.path === undefined) fault(context, source, 'the state needs a path', '@path');
  // swtpm splits its options at commas and has no way to say otherwise.
  if (source.path?.includes(',') === true) fault(context, source, 'swtpm takes no path with a comma', '@path');
}

function validateExternal({ backend }: Tpm, context: DomainContext): void {
  const { source } = backend;
  if (source?.type !== 'unix' || source.path === undefined) {
    fault(context, backend, "an external TPM needs <source type='unix' mode='connect' path='…'/>");
  } else if (source.mode !== 'connect') {
    fault(context, source, "an external TPM listens itself: use mode='connect'", '@mode');
  }
}

/** `<tpm>`: a trusted platform module, the host's own or an emulated one. */
import { attr, child, children, flag, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, text, uint, uuid, yesNo } from '../../schema/values.ts';
import { deviceSeclabel } from '../seclabel.ts';
import { deviceInfoFields } from './address.ts';

const activePcrBanks = struct(() => ({ sha1: flag(), sha256: flag(), sha384: flag(), sha512: flag() }));

const backend = struct(() => ({
  type: required(attr(oneOf('passthrough', 'emulator', 'external'))),
  version: attr(oneOf('1.2', '2.0')),
  persistentState: attr(yesNo, 'persistent_state'),
  debug: attr(uint),
  /** Passthrough: the host's device. */
  device: child(struct({ path: attr(text) })),
  /** Emulator: the secret that its state is encrypted with. */
  encryption: child(struct({ secret: required(attr(uuid)) })),
  activePcrBanks: child(activePcrBanks, 'active_pcr_banks'),
  /** Emulator: where its state lies. External: its socket. */
  source: child(
    struct({
      type: required(attr(oneOf('file', 'dir', 'unix'))),
      mode: attr(oneOf('bind', 'connect')),
      path: attr(text),
      seclabels: children(deviceSeclabel, 'seclabel'),
    }),
  ),
  profile: child(struct({ source: attr(text), removeDisabled: attr(oneOf('check', 'fips-host')), name: attr(text) })),
}));

export const tpm = struct(() => ({
  model: attr(oneOf('tpm-tis', 'tpm-crb', 'tpm-spapr', 'spapr-tpm-proxy')),
  backend: required(child(backend)),
  ...deviceInfoFields,
}));
export interface Tpm extends Infer<typeof tpm> {}
export type TpmBackend = Infer<typeof backend>;

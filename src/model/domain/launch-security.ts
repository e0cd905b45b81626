/** `<launchSecurity>`: confidential computing. What each type needs is checked by the QEMU driver. */
import { attr, child, type Infer, required, struct } from '../schema/schema.ts';
import { bareHex, oneOf, text, uint, type ValueCodec, yesNo } from '../schema/values.ts';

/** Hexadecimal digits, also without 0x. Four of them as SEV writes it, eight where it is longer (SNP, TDX). */
const policy: ValueCodec<bigint> = {
  describe: 'integer 0x0000..2^64-1',
  parse: (value) => bareHex.parse(value),
  format: (value) => `0x${value.toString(16).padStart(value > 0xffffn ? 8 : 4, '0')}`,
};

export const launchSecurity = struct(() => ({
  type: required(attr(oneOf('sev', 'sev-snp', 's390-pv', 'tdx'))),
  kernelHashes: attr(yesNo),
  authorKey: attr(yesNo),
  vcek: attr(yesNo),
  cbitpos: child(uint),
  reducedPhysBits: child(uint),
  policy: child(policy),
  dhCert: child(text),
  session: child(text),
  guestVisibleWorkarounds: child(text),
  idBlock: child(text),
  idAuth: child(text),
  hostData: child(text),
  mrConfigId: child(text),
  mrOwner: child(text),
  mrOwnerConfig: child(text),
  quoteGenerationService: child(struct({ path: attr(text) })),
}));
export interface LaunchSecurity extends Infer<typeof launchSecurity> {}

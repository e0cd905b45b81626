/** `<watchdog>`: a timer that acts when the guest no longer resets it. */
import { attr, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

export const watchdog = struct(() => ({
  model: required(attr(oneOf('i6300esb', 'ib700', 'diag288', 'itco'))),
  action: attr(oneOf('reset', 'shutdown', 'poweroff', 'pause', 'dump', 'none', 'inject-nmi')),
  ...deviceInfoFields,
}));
export interface Watchdog extends Infer<typeof watchdog> {}

/** `<lease>`: a lock on shared storage that a lock manager holds while the guest runs. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { integer, text } from '../../schema/values.ts';

const leaseTarget = struct(() => ({ path: required(attr(text)), offset: attr(integer()) }));

export const lease = struct(() => ({
  lockspace: child(text),
  key: required(child(text)),
  target: required(child(leaseTarget)),
}));
export interface Lease extends Infer<typeof lease> {}

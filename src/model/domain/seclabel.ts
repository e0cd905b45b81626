/** `<seclabel>` of domains and devices. */
import { type Infer, struct } from '../schema/schema.ts';

export const seclabel = struct({});
export interface Seclabel extends Infer<typeof seclabel> {}

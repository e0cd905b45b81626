/** `<redirdev>` and `<redirfilter>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const redirdev = struct({});
export interface Redirdev extends Infer<typeof redirdev> {}

export const redirfilter = struct({});
export interface Redirfilter extends Infer<typeof redirfilter> {}

/** `<sysinfo>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const sysinfo = struct({});
export interface Sysinfo extends Infer<typeof sysinfo> {}

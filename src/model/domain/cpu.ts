/** `<cpu>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const cpu = struct({});
export interface Cpu extends Infer<typeof cpu> {}

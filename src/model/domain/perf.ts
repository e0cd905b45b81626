/** `<perf>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const perf = struct({});
export interface Perf extends Infer<typeof perf> {}

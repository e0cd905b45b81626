/** `<memballoon>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const memballoon = struct({});
export interface Memballoon extends Infer<typeof memballoon> {}

/** `<rng>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const rng = struct({});
export interface Rng extends Infer<typeof rng> {}

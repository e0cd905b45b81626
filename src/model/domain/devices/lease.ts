/** `<lease>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const lease = struct({});
export interface Lease extends Infer<typeof lease> {}

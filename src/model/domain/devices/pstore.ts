/** `<pstore>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const pstore = struct({});
export interface Pstore extends Infer<typeof pstore> {}

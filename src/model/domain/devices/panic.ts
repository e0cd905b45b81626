/** `<panic>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const panic = struct({});
export interface Panic extends Infer<typeof panic> {}

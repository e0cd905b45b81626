/** `<input>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const input = struct({});
export interface Input extends Infer<typeof input> {}

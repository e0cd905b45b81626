/** `<resource>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const resource = struct({});
export interface Resource extends Infer<typeof resource> {}

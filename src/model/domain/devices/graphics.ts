/** `<graphics>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const graphics = struct({});
export interface Graphics extends Infer<typeof graphics> {}

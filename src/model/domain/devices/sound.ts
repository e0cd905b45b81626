/** `<sound>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const sound = struct({});
export interface Sound extends Infer<typeof sound> {}

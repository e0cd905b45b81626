/** `<os>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const os = struct({});
export interface Os extends Infer<typeof os> {}

/** `<nvram>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const nvram = struct({});
export interface Nvram extends Infer<typeof nvram> {}

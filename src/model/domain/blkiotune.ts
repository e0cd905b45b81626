/** `<blkiotune>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const blkiotune = struct({});
export interface Blkiotune extends Infer<typeof blkiotune> {}

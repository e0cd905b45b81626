/** `<numatune>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const numatune = struct({});
export interface Numatune extends Infer<typeof numatune> {}

/** `<crypto>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const crypto = struct({});
export interface Crypto extends Infer<typeof crypto> {}

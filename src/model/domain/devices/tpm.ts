/** `<tpm>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const tpm = struct({});
export interface Tpm extends Infer<typeof tpm> {}

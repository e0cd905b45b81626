/** `<smartcard>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const smartcard = struct({});
export interface Smartcard extends Infer<typeof smartcard> {}

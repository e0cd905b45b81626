/** `<audio>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const audio = struct({});
export interface Audio extends Infer<typeof audio> {}

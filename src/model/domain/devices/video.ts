/** `<video>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const video = struct({});
export interface Video extends Infer<typeof video> {}

/** `<filesystem>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const filesystem = struct({});
export interface Filesystem extends Infer<typeof filesystem> {}

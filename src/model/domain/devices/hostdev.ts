/** `<hostdev>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const hostdev = struct({});
export interface Hostdev extends Infer<typeof hostdev> {}

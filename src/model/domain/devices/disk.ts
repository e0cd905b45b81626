/** `<disk>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const disk = struct({});
export interface Disk extends Infer<typeof disk> {}

/** `<shmem>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const shmem = struct({});
export interface Shmem extends Infer<typeof shmem> {}

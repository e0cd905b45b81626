/** `<vsock>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const vsock = struct({});
export interface Vsock extends Infer<typeof vsock> {}

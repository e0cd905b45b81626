/** `<hub>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const hub = struct({});
export interface Hub extends Infer<typeof hub> {}

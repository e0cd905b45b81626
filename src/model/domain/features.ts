/** `<features>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const features = struct({});
export interface Features extends Infer<typeof features> {}

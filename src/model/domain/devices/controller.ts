/** `<controller>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const controller = struct({});
export interface Controller extends Infer<typeof controller> {}

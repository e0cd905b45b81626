/** `<watchdog>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const watchdog = struct({});
export interface Watchdog extends Infer<typeof watchdog> {}

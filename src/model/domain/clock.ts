/** `<clock>` and its timers. */
import { type Infer, struct } from '../schema/schema.ts';

export const clock = struct({});
export interface Clock extends Infer<typeof clock> {}

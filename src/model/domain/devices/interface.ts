/** `<interface>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const networkInterface = struct({});
export interface NetworkInterface extends Infer<typeof networkInterface> {}

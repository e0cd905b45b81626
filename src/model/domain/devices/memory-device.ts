/** `<memory>` devices. */
import { type Infer, struct } from '../../schema/schema.ts';

export const memoryDevice = struct({});
export interface MemoryDevice extends Infer<typeof memoryDevice> {}

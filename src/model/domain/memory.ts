/** `<memory>` and its kin. */
import { type Infer, struct } from '../schema/schema.ts';

export const memory = struct({});
export interface Memory extends Infer<typeof memory> {}

export const maxMemory = struct({});
export interface MaxMemory extends Infer<typeof maxMemory> {}

export const memoryBacking = struct({});
export interface MemoryBacking extends Infer<typeof memoryBacking> {}

export const memtune = struct({});
export interface Memtune extends Infer<typeof memtune> {}

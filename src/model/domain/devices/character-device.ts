/** `<serial>`, `<parallel>`, `<console>`, `<channel>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const serial = struct({});
export interface Serial extends Infer<typeof serial> {}

export const parallel = struct({});
export interface Parallel extends Infer<typeof parallel> {}

export const console = struct({});
export interface Console extends Infer<typeof console> {}

export const channel = struct({});
export interface Channel extends Infer<typeof channel> {}

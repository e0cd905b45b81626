/** Elements of the qemu: namespace. */
import { type Infer, struct } from '../schema/schema.ts';

export const qemuCommandline = struct({});
export interface QemuCommandline extends Infer<typeof qemuCommandline> {}

export const qemuCapabilities = struct({});
export interface QemuCapabilities extends Infer<typeof qemuCapabilities> {}

export const qemuOverride = struct({});
export interface QemuOverride extends Infer<typeof qemuOverride> {}

export const qemuDeprecation = struct({});
export interface QemuDeprecation extends Infer<typeof qemuDeprecation> {}

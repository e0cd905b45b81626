/** `<vcpu>`, `<iothreads>`, `<cputune>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const vcpu = struct({});
export interface Vcpu extends Infer<typeof vcpu> {}

export const vcpus = struct({});
export interface Vcpus extends Infer<typeof vcpus> {}

export const iothreadids = struct({});
export interface Iothreadids extends Infer<typeof iothreadids> {}

export const defaultIothread = struct({});
export interface DefaultIothread extends Infer<typeof defaultIothread> {}

export const cputune = struct({});
export interface Cputune extends Infer<typeof cputune> {}

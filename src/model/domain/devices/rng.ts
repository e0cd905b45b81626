/** `<rng>`: a source of random numbers for the guest. */
import { attr, child, content, type Infer, required, struct, unsetByZero } from '../../schema/schema.ts';
import { oneOf, text, uint } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriver } from './address.ts';
import { chardevFields, chardevTypeField } from './chardev-source.ts';

const backend = struct(() => ({
  model: required(attr(oneOf('random', 'egd', 'builtin'))),
  /** Of an `egd` backend: the daemon's end. */
  ...chardevTypeField,
  ...chardevFields,
  /** File of a `random` backend. */
  value: content(text),
}));

export const rng = struct(() => ({
  model: required(attr(oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional'))),
  /** Bytes in so many milliseconds. */
  rate: child(struct({ bytes: unsetByZero(attr(uint)), period: unsetByZero(attr(uint)) })),
  backend: required(child(backend)),
  driver: child(virtioDriver),
  ...deviceInfoFields,
}));
export interface Rng extends Infer<typeof rng> {}

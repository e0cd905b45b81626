/** `<resource>`: the cgroup partition the guest belongs to, and its Fibre Channel application id. */
import { attr, child, type Infer, struct } from '../schema/schema.ts';
import { text, type ValueCodec, ValueError } from '../schema/values.ts';

const appid: ValueCodec<string> = {
  describe: '1 to 128 printable ASCII characters',
  parse: (value) => {
    if (!/^[\x20-\x7e]{1,128}$/.test(value)) throw new ValueError('is not 1 to 128 printable ASCII characters');
    return value;
  },
  format: String,
};

export const resource = struct(() => ({
  partition: child(text),
  fibrechannel: child(struct({ appid: attr(appid) })),
}));
export interface Resource extends Infer<typeof resource> {}

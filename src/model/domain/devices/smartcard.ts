/** `<smartcard>`: a card of the host, one made of three certificates, or one passed through a character device. */
import { attr, child, children, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, text } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';
import { chardevFields, chardevTypeField } from './chardev-source.ts';

export const smartcard = struct(() => ({
  mode: required(attr(oneOf('host', 'host-certificates', 'passthrough'))),
  ...chardevTypeField,
  certificates: children(text, 'certificate'),
  database: child(text),
  ...chardevFields,
  ...deviceInfoFields,
}));
export interface Smartcard extends Infer<typeof smartcard> {}

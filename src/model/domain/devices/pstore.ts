/** `<pstore>`: storage where a guest's kernel leaves its last words. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { sizeKiB } from '../../schema/sizes.ts';
import { oneOf, text } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

export const pstore = struct(() => ({
  backend: required(attr(oneOf('acpi-erst'))),
  path: child(text),
  size: required(child(sizeKiB())),
  ...deviceInfoFields,
}));
export interface Pstore extends Infer<typeof pstore> {}

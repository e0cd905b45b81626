/** `<hub>`: a USB hub. */
import { attr, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

export const hub = struct(() => ({ type: required(attr(oneOf('usb'))), ...deviceInfoFields }));
export interface Hub extends Infer<typeof hub> {}

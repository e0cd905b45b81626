/** `<redirdev>`: a USB device redirected from a remote viewer, and `<redirfilter>`: which ones are let in. */
import { attr, children, type Infer, required, struct, withDefault } from '../../schema/schema.ts';
import { oneOf, type ValueCodec, ValueError, yesNo } from '../../schema/values.ts';
import { bootField, deviceInfoFields } from './address.ts';
import { chardevFields, chardevTypeField } from './chardev-source.ts';

export const redirdev = struct(() => ({
  bus: withDefault(attr(oneOf('usb')), 'usb'),
  ...chardevTypeField,
  ...chardevFields,
  ...bootField,
  ...deviceInfoFields,
}));
export interface Redirdev extends Infer<typeof redirdev> {}

/** Matches every value of a filter's field. */
export const ANY = -1;

const usbdev = struct(() => ({
  class: attr(filterNumber(2)),
  vendor: attr(filterNumber(4)),
  product: attr(filterNumber(4)),
  /** Binary-coded decimal, as the device has it: 1.10 is 0x0110. */
  version: attr(usbVersion()),
  allow: required(attr(yesNo)),
}));
export interface UsbFilterRule extends Infer<typeof usbdev> {}

export const redirfilter = struct(() => ({ rules: children(usbdev, 'usbdev') }));
export interface Redirfilter extends Infer<typeof redirfilter> {}

/** A number of so many hexadecimal digits, or -1 for any. */
function filterNumber(digits: number): ValueCodec<number> {
  const max = 16 ** digits - 1;
  return {
    describe: `integer 0x0..0x${max.toString(16)}, or -1`,
    parse: (value) => {
      if (value === '-1') return ANY;
      if (!/^(?:0[xX][0-9a-fA-F]+|\d+)$/.test(value)) throw new ValueError('is not a number');
      const number = Number(value);
      if (number > max) throw new ValueError(`is above 0x${max.toString(16)}`);
      return number;
    },
    format: (value) => (value === ANY ? '-1' : `0x${value.toString(16).toUpperCase().padStart(digits, '0')}`),
  };
}

function usbVersion(): ValueCodec<number> {
  return {
    describe: 'USB version as 1.10, or -1',
    parse: (value) => {
      if (value === '-1') return ANY;
      const match = /^(\d{1,2})\.(\d{1,2})$/.exec(value);
      if (match === null) throw new ValueError("is not a device version (as '1.10')");
      // 1.1 is read as 1.10.
      return Number.parseInt(`${match[1]}${(match[2] ?? '').padEnd(2, '0')}`, 16);
    },
    format: (value) =>
      value === ANY ? '-1' : `${(value >> 8).toString(16)}.${(value & 0xff).toString(16).padStart(2, '0')}`,
  };
}

/** `<ip>` and `<route>`: addresses of an interface inside the guest, or of its host end. */
import { attr, type Infer, required, struct } from '../../schema/schema.ts';
import { integer, oneOf, text, uint } from '../../schema/values.ts';

const PREFIX_MAX = 128;

export const ip = struct(() => ({
  address: required(attr(text)),
  family: attr(oneOf('ipv4', 'ipv6')),
  prefix: attr(integer({ max: PREFIX_MAX })),
  peer: attr(text),
}));
export interface InterfaceIp extends Infer<typeof ip> {}

export const route = struct(() => ({
  family: attr(oneOf('ipv4', 'ipv6')),
  address: attr(text),
  netmask: attr(text),
  prefix: attr(integer({ max: PREFIX_MAX })),
  gateway: attr(text),
  metric: attr(uint),
}));
export interface InterfaceRoute extends Infer<typeof route> {}

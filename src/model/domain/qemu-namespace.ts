/** Elements of the qemu: namespace: the user's own arguments, environment, capabilities and device properties. */
import { attr, child, children, type Infer, required, struct } from '../schema/schema.ts';
import { oneOf, text } from '../schema/values.ts';

export const qemuCommandline = struct(() => ({
  args: children(struct({ value: required(attr(text)) }), 'qemu:arg'),
  envs: children(struct({ name: required(attr(text)), value: attr(text) }), 'qemu:env'),
}));
export interface QemuCommandline extends Infer<typeof qemuCommandline> {}

const capability = struct(() => ({ capability: required(attr(text)) }));

export const qemuCapabilities = struct(() => ({
  adds: children(capability, 'qemu:add'),
  dels: children(capability, 'qemu:del'),
}));
export interface QemuCapabilities extends Infer<typeof qemuCapabilities> {}

const property = struct(() => ({
  name: required(attr(text)),
  type: required(attr(oneOf('string', 'signed', 'unsigned', 'bool', 'remove'))),
  value: attr(text),
}));
/** One changed property of a device's front end. */
export interface QemuOverrideProperty extends Infer<typeof property> {}

const device = struct(() => ({
  alias: required(attr(text)),
  frontend: child(struct({ properties: children(property, 'qemu:property') }), 'qemu:frontend'),
}));

export const qemuOverride = struct(() => ({ devices: children(device, 'qemu:device') }));
export interface QemuOverride extends Infer<typeof qemuOverride> {}

export const qemuDeprecation = struct(() => ({
  behavior: required(attr(oneOf('none', 'omit', 'reject', 'crash'))),
}));
export interface QemuDeprecation extends Infer<typeof qemuDeprecation> {}

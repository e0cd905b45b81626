/** `<encryption>` of a volume and `<auth>` of a network source: which secrets open them, never the secrets themselves. */
import { attr, child, children, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, text, uint, uuid } from '../../schema/values.ts';

export const ENCRYPTION_FORMATS = ['default', 'qcow', 'luks', 'luks2', 'luks-any'] as const;

const encryptionSecret = struct(() => ({
  type: required(attr(oneOf('passphrase'))),
  usage: attr(text),
  uuid: attr(uuid),
}));

const cipher = struct(() => ({
  name: required(attr(text)),
  size: required(attr(uint)),
  mode: attr(text),
  hash: attr(text),
}));

const ivgen = struct(() => ({ name: required(attr(text)), hash: attr(text) }));

export const encryption = struct(() => ({
  format: required(attr(oneOf(...ENCRYPTION_FORMATS))),
  engine: attr(oneOf('qemu', 'librbd')),
  secrets: children(encryptionSecret, 'secret'),
  cipher: child(cipher),
  ivgen: child(ivgen),
}));
export interface Encryption extends Infer<typeof encryption> {}

const authSecret = struct(() => ({
  type: required(attr(oneOf('volume', 'ceph', 'iscsi', 'tls', 'vtpm'))),
  usage: attr(text),
  uuid: attr(uuid),
}));

export const storageAuth = struct(() => ({
  username: required(attr(text)),
  secret: required(child(authSecret)),
}));
export interface StorageAuth extends Infer<typeof storageAuth> {}

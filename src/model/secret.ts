/** `<secret>`: its definition, never its value. */

import { formatXml } from '../xml/format.ts';
import { XmlElement } from '../xml/node.ts';
import { parseXml } from '../xml/parse.ts';
import { FaultList } from './schema/faults.ts';
import { attr, child, emptyAsAbsent, type Infer, ReadContext, required, struct } from './schema/schema.ts';
import { oneOf, text, uuid, yesNo } from './schema/values.ts';

/** Usage types, and the element that holds the usage id of each. */
const USAGE_ELEMENT = { volume: 'volume', ceph: 'name', iscsi: 'target', tls: 'name', vtpm: 'name' } as const;
export type SecretUsageType = keyof typeof USAGE_ELEMENT;

const usage = struct(() => ({
  type: required(attr(oneOf(...(Object.keys(USAGE_ELEMENT) as SecretUsageType[])))),
  volume: child(text),
  name: child(text),
  target: child(text),
}));

const secretSchema = struct(() => ({
  ephemeral: attr(yesNo),
  private: attr(yesNo),
  uuid: child(emptyAsAbsent(uuid)),
  description: child(text),
  usage: child(usage),
}));

/** A secret's definition. */
export interface Secret extends Infer<typeof secretSchema> {}

/** Reads a secret definition. @throws XmlSyntaxError, DefinitionError */
export function parseSecret(source: string | XmlElement, options: { fileName?: string } = {}): Secret {
  const root = source instanceof XmlElement ? source : parseXml(source, options).root;
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const secret = context.inside(root.name, () => {
    if (root.name !== 'secret') context.fault(root, `the root element is <${root.name}>, not <secret>`);
    return secretSchema.readElement(root, context);
  });
  if (secret.usage !== undefined && usageId(secret) === undefined) {
    faults.add(secret.usage, `usage type '${secret.usage.type}' needs <${USAGE_ELEMENT[secret.usage.type]}>`);
  }
  faults.throwIfAny('secret XML', options.fileName);
  return secret;
}

/** Writes it as libvirt does, `ephemeral` and `private` always said. */
export function formatSecret(secret: Secret): string {
  const full: Secret = { ...secret, ephemeral: secret.ephemeral ?? false, private: secret.private ?? false };
  return formatXml(secretSchema.writeElement('secret', full));
}

/** What `<secret usage='…'/>` in other definitions refers to. */
export function usageId(secret: Secret): string | undefined {
  return secret.usage === undefined ? undefined : secret.usage[USAGE_ELEMENT[secret.usage.type]];
}

/**
 * Name and UUID of a definition that we have written, without reading the rest. A text that does not begin as our writer begins one is
 * left to the reader of definitions.
 */
const HEAD =
  /^<domain(?: [\w:-]+='[^'<>&]*')*>\n {2}<name>([^<>&\n/]+)<\/name>\n {2}<uuid>([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})<\/uuid>\n/;

export function peekIdentity(text: string): { readonly name: string; readonly uuid: string } | undefined {
  const [, name, uuid] = HEAD.exec(text) ?? [];
  if (name === undefined || uuid === undefined || name.trim() !== name || !text.endsWith('</domain>\n'))
    return undefined;
  return { name, uuid };
}

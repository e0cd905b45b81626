/** `<sysinfo>`: SMBIOS strings (type smbios) or firmware configuration blobs (type fwcfg). */
import { attr, child, children, content, type Infer, required, struct } from '../schema/schema.ts';
import { oneOf, text } from '../schema/values.ts';

const entry = struct(() => ({ name: attr(text), file: attr(text), value: content(text) }));
export interface SysinfoEntry extends Infer<typeof entry> {}

const table = struct(() => ({ entries: children(entry, 'entry') }));
/** One SMBIOS structure as name and value pairs. */
export interface SysinfoTable extends Infer<typeof table> {}

export const sysinfo = struct(() => ({
  type: required(attr(oneOf('smbios', 'fwcfg'))),
  bios: child(table),
  system: child(table),
  baseBoards: children(table, 'baseBoard'),
  chassis: child(table),
  oemStrings: child(table),
  entries: children(entry, 'entry'),
}));
export interface Sysinfo extends Infer<typeof sysinfo> {}

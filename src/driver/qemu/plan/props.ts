/** Properties as QEMU's JSON and key=value options carry them, and their text. */

/** A property value. Undefined entries are left out when written. */
export type PropValue = string | number | boolean | bigint | null | readonly PropValue[] | Props;
/** An ordered set of properties. */
export interface Props {
  readonly [name: string]: PropValue | undefined;
}

/** JSON text of properties; 64-bit integers keep every digit. */
export function formatJson(value: PropValue): string {
  if (typeof value === 'bigint') return value.toString();
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map((item: PropValue) => formatJson(item)).join(',')}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  const members: string[] = [];
  for (const [name, item] of Object.entries(value as Props)) {
    if (item !== undefined) members.push(`${JSON.stringify(name)}:${formatJson(item)}`);
  }
  return `{${members.join(',')}}`;
}

/**
 * `a=1,b=x` text: booleans as on/off, null as the name alone, lists as repeated keys, nested objects as dotted keys. A comma in a value is
 * doubled, which is QEMU's only escape, so no value can start another option. The implied key is written after all where
 * the value would read as `key=value` itself.
 */
export function formatKeyval(props: Props, implied?: string): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(props)) {
    if (value !== undefined) flatten(parts, name, value, name === implied && parts.length === 0);
  }
  return parts.join(',');
}

function flatten(parts: string[], name: string, value: PropValue, bare: boolean): void {
  if (Array.isArray(value)) {
    value.forEach((item: PropValue, index) =>
      flatten(parts, typeof item === 'object' ? `${name}.${index}` : name, item, false),
    );
  } else if (value === null) {
    parts.push(name);
  } else if (typeof value === 'object') {
    for (const [key, item] of Object.entries(value as Props)) {
      if (item !== undefined) flatten(parts, `${name}.${key}`, item, false);
    }
  } else {
    const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
    const isBare = bare && !/^[^,]*=/.test(text);
    parts.push(`${isBare ? '' : `${name}=`}${text.replaceAll(',', ',,')}`);
  }
}

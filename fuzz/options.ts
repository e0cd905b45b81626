/**
 * QEMU's own view of an argument list: which words are options, and what their values say by its comma rule and by JSON. Written
 * from QEMU's documentation and not from our renderer, so that a mistake in one does not hide in the other.
 */

/** One property of an option's value: dotted path and text. */
export interface OptionProperty {
  readonly key: string;
  readonly value: string;
}

/** One option as QEMU would read it. */
export interface ParsedOption {
  readonly option: string;
  readonly properties: readonly OptionProperty[];
}

/** Options of ours that take no value. */
const BARE = new Set([
  'S',
  'nodefaults',
  'no-user-config',
  'no-shutdown',
  'no-reboot',
  'no-hpet',
  'no-acpi',
  'enable-kvm',
  'mem-prealloc',
  'daemonize',
  'usb',
  'nographic',
]);
/** Options whose value is one text, commas included. */
const WHOLE = new Set([
  'kernel',
  'initrd',
  'append',
  'dtb',
  'bios',
  'uuid',
  'display-name',
  'pidfile',
  'mem-path',
  'L',
  'k',
  'runas',
  'chroot',
]);

/**
 * Reads an argument list. @throws Error for a word where an option is expected
 */
export function parseArguments(args: readonly string[]): ParsedOption[] {
  const options: ParsedOption[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? '';
    if (!/^-[a-zA-Z][a-zA-Z0-9_-]*$/.test(word)) throw new Error(`stray word ${JSON.stringify(word)}`);
    const option = word.slice(1);
    if (BARE.has(option)) options.push({ option, properties: [] });
    else {
      const value = args[++index];
      if (value === undefined) throw new Error(`-${option} lacks its value`);
      options.push({ option, properties: parseValue(option, value) });
    }
  }
  return options;
}

function parseValue(option: string, value: string): OptionProperty[] {
  if (WHOLE.has(option)) return [{ key: '', value }];
  if (value.startsWith('{')) return flattenJson('', JSON.parse(value));
  // CPU models and their properties are split at every comma.
  if (option === 'cpu') return value.split(',').map((part, index) => readPart(part, part, index));
  return rawParts(value).map((part, index) => readPart(part, part.replaceAll(',,', ','), index));
}

/** Keys that the first word of some option stands for. */
const IMPLIED = new Set(['vnc', 'backend', 'type', 'driver', 'qom-type', 'name']);

/** A key counts as one only when its `=` comes before the first comma, doubled ones included. */
function readPart(raw: string, text: string, index: number): OptionProperty {
  const at = raw.search(/[=,]/);
  if (at >= 0 && raw[at] === '=') {
    const key = text.slice(0, at);
    return { key: index === 0 && IMPLIED.has(key) ? '' : key, value: text.slice(at + 1) };
  }
  // The first word is the value of the option's implied key; later ones are flags.
  return index === 0 ? { key: '', value: text } : { key: text, value: 'on' };
}

/** Splits at single commas; a doubled one stays doubled. */
function rawParts(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let index = 0; index < text.length; index++) {
    if (text[index] !== ',') part += text[index];
    else if (text[index + 1] === ',') {
      part += ',,';
      index++;
    } else {
      parts.push(part);
      part = '';
    }
  }
  parts.push(part);
  return parts;
}

function flattenJson(key: string, value: unknown): OptionProperty[] {
  if (typeof value !== 'object' || value === null) return [{ key, value: String(value) }];
  return Object.entries(value).flatMap(([name, item]) => flattenJson(key === '' ? name : `${key}.${name}`, item));
}

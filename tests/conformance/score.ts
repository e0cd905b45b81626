/**
 * Scores our command lines against expected ones, by the rules that the referee documents: the same options
 * whatever their order, with what is an implementation's own choice (monitor, master key, -S, sandbox, message
 * stamps, environment) left out.
 */

/** Outcome of one case. `missing` and `surplus` are options. */
export interface Comparison {
  readonly equal: boolean;
  readonly missing: readonly string[];
  readonly surplus: readonly string[];
}

const OWN_CHOICE = new Set(['-S', '-no-shutdown', '-sandbox', '-msg', '-mon']);

export function compareCommands(expected: string, actual: string): Comparison {
  const wanted = optionsOf(expected);
  const surplus = optionsOf(actual);
  const missing: string[] = [];
  for (const option of wanted) {
    const index = surplus.indexOf(option);
    if (index < 0) missing.push(option);
    else surplus.splice(index, 1);
  }
  return { equal: missing.length === 0 && surplus.length === 0, missing, surplus };
}

/** The normalised options of a shell-quoted command line, the emulator first. */
function optionsOf(command: string): string[] {
  const words = splitShellWords(command);
  while (/^[A-Z_]+=/.test(words[0] ?? '')) words.shift();
  const options = [words.shift() ?? ''];
  while (words.length > 0) {
    const option = words.shift() ?? '';
    const next = words[0];
    const value = next === undefined || (next.startsWith('-') && next.length > 1) ? undefined : words.shift();
    if (OWN_CHOICE.has(option) || (value !== undefined && /charmonitor|masterKey0/.test(value))) continue;
    options.push(value === undefined ? option : `${option} ${normaliseValue(value)}`);
  }
  return options;
}

function normaliseValue(value: string): string {
  const text = value
    .replace(/domain-(?:-1|\d+)-/g, 'domain-N-')
    .replace(/\bfd=\d+/g, 'fd=N')
    .replace(/"fd":"?\d+"?/g, '"fd":N');
  if (!text.startsWith('{')) return text;
  try {
    return JSON.stringify(sortKeys(JSON.parse(text)));
  } catch {
    // Not JSON after all (a user's own text): it is compared as it stands.
    return text;
  }
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sortKeys(item)]),
  );
}

/** Splits as a POSIX shell would; backslash-newline joins lines. */
export function splitShellWords(command: string): string[] {
  const words: string[] = [];
  const token = /\\\n|\s+|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/gs;
  let word: string | undefined;
  for (const match of command.matchAll(token)) {
    const [whole, single, double, escaped, plain] = match;
    const piece = single ?? double?.replace(/\\(.)/g, '$1') ?? escaped ?? plain;
    if (piece !== undefined) word = (word ?? '') + piece;
    else if (whole !== '\\\n' && word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

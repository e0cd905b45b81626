/** The moments of a run as a table for people. Pure. */

/** One moment, in milliseconds since the process began. */
export interface Moment {
  readonly name: string;
  readonly ms: number;
}

/** What a mark means, in words. */
const WORDS: Readonly<Record<string, string>> = {
  started: 'nestling started',
  'xml-parsed': 'XML parsed',
  capabilities: 'capabilities known',
  validated: 'definition validated',
  'qemu-spawned': 'QEMU spawned',
  'monitor-ready': 'monitor ready',
  running: 'guest running',
  'first-guest-byte': 'first guest byte',
  'guest-exit': 'guest exit',
  'cleaned-up': 'clean-up done',
};

/** A line a moment in order of time: since the beginning, since the moment before. */
export function formatTimeline(moments: readonly Moment[]): string {
  const ordered = [...moments].sort((a, b) => a.ms - b.ms);
  const rows = ordered.map(({ name, ms }, index): [string, string, string] => [
    WORDS[name] ?? name,
    ms.toFixed(1),
    `+${(ms - (ordered[index - 1]?.ms ?? 0)).toFixed(1)}`,
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length), 0));
  const lines = rows.map(
    ([what, at, since]) =>
      `  ${what.padEnd(widths[0] ?? 0)}  ${at.padStart(widths[1] ?? 0)}  ${since.padStart(widths[2] ?? 0)}`,
  );
  return ['timeline (milliseconds since the process began, and since the line above):', ...lines].join('\n');
}

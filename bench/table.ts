/** The result as a table for people. Machines get the rows themselves, as JSON. */
import { isMet, type Result, type Summary, type Unit } from './figures.ts';

const HEADINGS = ['what', 'ours', 'compared with', 'figure', 'goal', 'met?'];

/** Columns are as wide as their widest cell; notes follow the table. */
export function formatTable(results: readonly Result[]): string {
  const notes: string[] = [];
  const lines = results.map((result) => {
    if ('skipped' in result) {
      notes.push(`SKIPPED: ${result.what}: ${result.skipped}`);
      return [result.what, '-', '-', '-', '-', 'SKIPPED'];
    }
    const { what, unit, ours, others, figure, goal } = result;
    const mark = result.note === undefined ? '' : ` [${notes.push(`[${notes.length + 1}] ${result.note}`)}]`;
    return [
      what + mark,
      formatSummary(ours, unit),
      others.map((other) => `${other.name} ${formatSummary(other, unit)}`).join('; '),
      `${figure.name} ${formatValue(figure.value, figure.unit)}`,
      Number.isFinite(goal) ? `<= ${formatValue(goal, figure.unit)}` : 'none',
      isMet(result) === true ? 'yes' : 'NO',
    ];
  });
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...lines.map((line) => line[column]?.length ?? 0)),
  );
  const rule = widths.map((width) => '-'.repeat(width));
  const rows = [HEADINGS, rule, ...lines].map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(' | ')
      .trimEnd(),
  );
  return `${[...rows, ...(notes.length === 0 ? [] : ['', ...notes])].join('\n')}\n`;
}

/** `median (p90, count)`. */
function formatSummary({ median, p90, samples }: Summary, unit: Unit): string {
  const value = formatValue(median, unit);
  return unit === '' ? value : `${value} (p90 ${formatValue(p90, '')}, n ${samples})`;
}

function formatValue(value: number, unit: Unit): string {
  const text = unit === '' && Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 20 ? 1 : 0);
  return unit === '' ? text : `${text} ${unit}`;
}

/** The doctor's findings as text for people, or as JSON. Pure. */
import type { Finding, Verdict } from './finding.ts';

export interface ReportStyle {
  /** With colours. */
  readonly colour: boolean;
}

const COLOURS: Readonly<Record<Verdict, number>> = { pass: 32, warn: 33, fail: 31 };
/** Of the titles' column. */
const TITLE_WIDTH = 22;

/** One line for each finding; below warnings and failures, why it matters and what to do. */
export function formatFindings(findings: readonly Finding[], { colour }: ReportStyle): string {
  const paint = (verdict: Verdict, text: string): string =>
    colour ? `\u001b[${COLOURS[verdict]}m${text}\u001b[0m` : text;
  return findings
    .map(({ verdict, title, fact, why, fix }) => {
      const first = `[${paint(verdict, verdict)}] ${title.padEnd(TITLE_WIDTH)} ${fact}\n`;
      const indent = ' '.repeat(7);
      return `${first}${why === undefined ? '' : `${indent}why: ${why}\n`}${fix === undefined ? '' : `${indent}fix: ${fix.command}\n`}`;
    })
    .join('');
}

/** `21 passed, 3 warnings, 1 failure`. */
export function formatSummary(findings: readonly Finding[]): string {
  const count = (verdict: Verdict): number => findings.filter((finding) => finding.verdict === verdict).length;
  const [passed, warnings, failures] = [count('pass'), count('warn'), count('fail')];
  return `${passed} passed, ${warnings} warning${warnings === 1 ? '' : 's'}, ${failures} failure${failures === 1 ? '' : 's'}\n`;
}

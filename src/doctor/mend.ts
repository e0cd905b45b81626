/**
 * Carries out the fixes that are safe, and looks again: what was wrong, what is run, what is so now. Which fixes are safe, the checks say;
 * how a command is run and where lines go is the program's.
 */
import type { Finding } from './finding.ts';

export interface MendOptions {
  /** Runs a line for a shell. @returns what it complained of; undefined: it succeeded */
  readonly run: (command: string) => Promise<string | undefined>;
  /** All checks once more. */
  readonly recheck: () => Promise<Finding[]>;
  /** Told line by line, before and after. */
  readonly say: (line: string) => void;
}

export interface Mended {
  /** As they are afterwards. */
  readonly findings: readonly Finding[];
  /** Checks that found something wrong, and no longer do. */
  readonly mended: readonly string[];
}

/** A module that was loaded may still want its device node: what the first round shows is mended in a second. */
const ROUNDS = 2;

export async function mendFindings(found: readonly Finding[], { run, recheck, say }: MendOptions): Promise<Mended> {
  const tried = new Map<string, Finding>();
  let findings = found;
  for (let round = 0; round < ROUNDS; round++) {
    const wrong = findings.filter(({ verdict, fix }) => verdict !== 'pass' && fix?.safe === true);
    const fresh = wrong.filter(({ fix }) => !tried.has(fix?.command ?? ''));
    if (fresh.length === 0) break;
    for (const finding of fresh) {
      const command = finding.fix?.command ?? '';
      tried.set(command, finding);
      say(`${finding.title}: ${finding.fact}`);
      say(`  runs: ${command}`);
      const complaint = await run(command);
      if (complaint !== undefined) say(`  failed: ${complaint}`);
    }
    findings = await recheck();
    for (const { id, title } of fresh) {
      const now = findings.find((finding) => finding.id === id && finding.verdict !== 'pass');
      const fact = now ?? findings.find((finding) => finding.id === id);
      say(`${title}: now ${now === undefined ? 'well' : 'still wrong'}${fact === undefined ? '' : `: ${fact.fact}`}`);
    }
  }
  const ids = new Set(Array.from(tried.values(), ({ id }) => id));
  const isWell = (id: string): boolean => findings.every((finding) => finding.id !== id || finding.verdict === 'pass');
  return { findings, mended: [...ids].filter(isWell) };
}

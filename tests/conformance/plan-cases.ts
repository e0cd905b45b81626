/** Plans every case of the referee with our planner and compares the outcomes. */
import { readFileSync } from 'node:fs';
import { capabilitiesFromDialogue } from '../../src/driver/qemu/capabilities/dialogue.ts';
import { DEFAULT_CONFIG } from '../../src/driver/qemu/config.ts';
import type { DriverContext } from '../../src/driver/qemu/context.ts';
import { Layout, SYSTEM_ROOTS } from '../../src/driver/qemu/layout.ts';
import { planFromXml } from '../../src/driver/qemu/plan/launch-plan.ts';
import { formatCommand } from '../../src/driver/qemu/plan/render.ts';
import type { ArgvCase, Referee } from './cases.ts';
import { MOCK_CONFIG, MOCK_LOOKUP, mockHost } from './mock-host.ts';
import { type Comparison, compareCommands } from './score.ts';

/** What became of one case. */
export interface CaseResult {
  readonly name: string;
  readonly kind: 'argv' | 'refusal';
  readonly agreed: boolean;
  /** Our command line, or our refusal. */
  readonly ours: string;
  readonly comparison?: Comparison;
  /** An error that is not a refusal: a bug of ours. */
  readonly crash?: unknown;
}

/** Plans all cases whose names match. */
export function runCases(referee: Referee, pattern = /(?:)/): CaseResult[] {
  const context = refereeContext(referee);
  return referee.cases.filter(({ name }) => pattern.test(name)).map((argvCase) => runCase(argvCase, context));
}

/** The mocked host with the recorded QEMU. */
export function refereeContext(referee: Referee): DriverContext {
  return {
    caps: capabilitiesFromDialogue('/usr/bin/qemu-system-x86_64', referee.replies),
    host: mockHost(),
    config: { ...DEFAULT_CONFIG, ...MOCK_CONFIG },
    layout: new Layout(SYSTEM_ROOTS),
    lookup: MOCK_LOOKUP,
  };
}

function runCase(argvCase: ArgvCase, context: DriverContext): CaseResult {
  const { name, args } = argvCase;
  const kind = args === undefined ? 'refusal' : 'argv';
  let ours: string;
  try {
    ours = formatCommand(planFromXml(readFileSync(argvCase.xmlPath, 'utf8'), context), context.caps);
  } catch (error) {
    const isRefusal = error instanceof Error && REFUSALS.has(error.name);
    const base = { name, kind, agreed: kind === 'refusal' && isRefusal, ours: String(error) } as const;
    return isRefusal ? base : { ...base, crash: error };
  }
  if (args === undefined) return { name, kind, agreed: false, ours };
  const comparison = compareCommands(args, ours);
  return { name, kind, agreed: comparison.equal, ours, comparison };
}

/** The errors by which a definition is refused on purpose. */
const REFUSALS = new Set(['VirtError', 'DefinitionError', 'XmlSyntaxError', 'FirmwareSelectionError']);

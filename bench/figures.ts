/**
 * Samples, their summary, and a row of the result: what was measured, on which sides, against which goal. Pure; how a side is
 * measured is in `sides/`, what is compared in `cases/`.
 */

/** What is told of one side's samples. */
export interface Summary {
  readonly name: string;
  readonly samples: number;
  readonly median: number;
  readonly p90: number;
}

export type Unit = 'ms' | 'ns' | '%' | '';

/** One line of the table. */
export interface Row {
  readonly what: string;
  /** Unit of the sides. */
  readonly unit: Unit;
  readonly ours: Summary;
  /** What ours is compared with. */
  readonly others: readonly Summary[];
  /** The figure that the goal is about. */
  readonly figure: { readonly name: string; readonly value: number; readonly unit: Unit };
  /** At most this, in the figure's unit. */
  readonly goal: number;
  readonly note?: string;
}

/** A row that could not be measured here, and why. */
export interface Skipped {
  readonly what: string;
  readonly skipped: string;
}

export type Result = Row | Skipped;

/** Whether a row keeps its promise; undefined for what was skipped. */
export function isMet(result: Result): boolean | undefined {
  return 'skipped' in result ? undefined : result.figure.value <= result.goal;
}

export function summarize(name: string, samples: readonly number[]): Summary {
  return { name, samples: samples.length, median: quantile(samples, 0.5), p90: quantile(samples, 0.9) };
}

/** Linear interpolation between the two nearest samples. NaN of none. */
/** Our times beside another program's: what our median is of its, in per cent. */
export function shareRow(
  what: string,
  { other = 'libvirtd', ours, theirs, goal }: Readonly<{ other?: string } & Shares>,
): Row {
  const [own, its] = [summarize('nestling', ours), summarize(other, theirs)];
  const value = (own.median / its.median) * 100;
  return { what, unit: 'ms', ours: own, others: [its], figure: { name: `share of ${other}`, value, unit: '%' }, goal };
}

interface Shares {
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  /** Per cent. */
  readonly goal: number;
}

export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const low = sorted[Math.floor(position)] ?? Number.NaN;
  const high = sorted[Math.ceil(position)] ?? Number.NaN;
  return low + (high - low) * (position - Math.floor(position));
}

/**
 * Measures all sides once a round, each round beginning with another side, so that whatever else the machine does hits
 * all of them alike.
 */
export async function interleave<const N extends string>(
  sides: Readonly<Record<N, () => Promise<number>>>,
  { rounds, warmUps = 2, atMost }: InterleaveOptions<N>,
): Promise<Record<N, number[]>> {
  const names = Object.keys(sides) as N[];
  const samples = Object.fromEntries(names.map((name): [string, number[]] => [name, []])) as Record<N, number[]>;
  for (let round = -warmUps; round < rounds; round++) {
    const first = (round + warmUps) % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      const bound = atMost?.[name];
      // What is bounded is slow: no warm-up either.
      if (bound !== undefined && (round < 0 || samples[name].length >= bound)) continue;
      const value = await sides[name]();
      if (round >= 0) samples[name].push(value);
    }
  }
  return samples;
}

export interface InterleaveOptions<N extends string> {
  readonly rounds: number;
  /** Rounds thrown away at first; default 2. */
  readonly warmUps?: number;
  /** Bounds the samples of sides that take very long. */
  readonly atMost?: Readonly<Partial<Record<N, number>>>;
}

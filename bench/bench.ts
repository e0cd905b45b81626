/** What a bench is: a name to call it by, and a measurement that yields rows of the table. */
import type { Result } from './figures.ts';
import type { Workplace } from './workplace.ts';

export interface BenchOptions {
  /** Measured rounds; each side is measured once in each. */
  readonly rounds: number;
}

export interface Bench {
  readonly name: string;
  readonly summary: string;
  measure(place: Workplace, options: BenchOptions): Promise<readonly Result[]>;
}

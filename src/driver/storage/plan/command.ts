/** A command line as data: made by the planners of this folder, carried out by `run-command.ts` beside it. */

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** Exit statuses that are no failure, besides 0. */
  readonly accepts?: readonly number[];
}

export function command(program: string, ...args: readonly string[]): Command {
  return { program, args };
}

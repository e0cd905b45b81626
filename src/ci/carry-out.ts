/**
 * Carries a plan out, step by step, and remembers before each one how it is undone, so that `--undo` gives everything back, also after a crash
 * in the middle. The first failure stops; what its step had done by then is given back at once.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { applyActions } from '../cgroup/apply.ts';
import { prepare } from '../cgroup/prepare.ts';
import { writeFileAtomic } from '../core/fs.ts';
import { LogSource } from '../core/log-source.ts';
import { runCommand } from '../process/run-command.ts';
import { type StartedService, startService, stopService } from './run-service.ts';
import { type CiAction, type CiStep, formatAction } from './step.ts';

/** A step that failed: what, why, and what to do. */
export class CiStepError extends Error {
  override readonly name = 'CiStepError';
  /** The step's. */
  readonly id: string;

  constructor(id: string, message: string, cause: unknown) {
    super(message, { cause });
    this.id = id;
  }
}

const log = new LogSource('util.command');

/** What is remembered of one step. */
interface Undo {
  readonly id: string;
  readonly commands: readonly CiAction[];
  readonly services: readonly StartedService[];
}

export interface CarryOutOptions {
  /** Where what was done is remembered. */
  readonly stateFile: string;
  /** For daemons' output. */
  readonly logFolder: string;
  readonly onStep?: ((step: CiStep, outcome: 'done' | 'already' | 'refused') => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @returns the steps that cannot be done here @throws CiStepError */
export async function carryOut(steps: readonly CiStep[], options: CarryOutOptions): Promise<CiStep[]> {
  const refused: CiStep[] = [];
  for (const step of steps) {
    if (step.done || step.refusal !== undefined) {
      if (!step.done) refused.push(step);
      options.onStep?.(step, step.done ? 'already' : 'refused');
      continue;
    }
    await remember(options.stateFile, { id: step.id, commands: step.undo, services: [] });
    for (const action of step.actions) await perform(action, step, options);
    options.onStep?.(step, 'done');
  }
  return refused;
}

export interface GivenBack {
  /** Steps that are as if they had never been. */
  readonly undone: readonly string[];
  /** A line for each thing that could not be given back; its step stays remembered. */
  readonly problems: readonly string[];
}

/** Gives back what was done, last first. */
export async function undoAll({ stateFile }: Pick<CarryOutOptions, 'stateFile'>): Promise<GivenBack> {
  const undone: string[] = [];
  const problems: string[] = [];
  const kept: Undo[] = [];
  for (const entry of readState(stateFile).toReversed()) {
    const faults = await undoOne(entry);
    if (faults.length > 0) kept.unshift(entry);
    else undone.push(entry.id);
    problems.push(...faults);
  }
  await writeState(stateFile, kept);
  return { undone, problems };
}

async function undoOne({ id, commands, services }: Undo): Promise<string[]> {
  const faults: string[] = [];
  for (const attempt of [
    ...services.map((service) => async () => await stopService(service)),
    ...commands.map((action) => async () => await performPlain(action)),
  ]) {
    try {
      await attempt();
    } catch (error) {
      faults.push(`${id}: ${messageOf(error)}`);
    }
  }
  return faults;
}

async function perform(action: CiAction, step: CiStep, options: CarryOutOptions): Promise<void> {
  const { stateFile } = options;
  try {
    if (action.kind !== 'service') return await performPlain(action);
    // The step's own entry is the last one: it gets the daemon as soon as there is one.
    await startService(action, {
      ...options,
      onStarted: async (service) => {
        const state = readState(stateFile);
        await writeState(stateFile, [...state.slice(0, -1), { id: step.id, commands: step.undo, services: [service] }]);
      },
    });
  } catch (cause) {
    const state = readState(stateFile);
    const last = state.at(-1);
    // What cannot be given back now, can perhaps later.
    if (last?.id === step.id && (await undoOne(last)).length === 0) await writeState(stateFile, state.slice(0, -1));
    options.signal?.throwIfAborted();
    const fix = step.fix === undefined ? '' : `; ${step.fix}`;
    const what = action.kind === 'open' ? `${action.path} cannot be opened` : `'${formatAction(action)}' failed`;
    const message = action.kind === 'prepare-cgroups' ? messageOf(cause) : `${what}: ${messageOf(cause)}${fix}`;
    throw new CiStepError(step.id, `${step.title}: ${message}`, cause);
  }
}

async function performPlain(action: CiAction): Promise<void> {
  log.debug('perform', () => formatAction(action));
  switch (action.kind) {
    case 'run': {
      const { status, stderr, error } = await runCommand(action.command, action.args);
      if (status !== 0) throw new Error(stderr.trim() || error?.message || `status ${status}`);
      return;
    }
    case 'write':
      return writeFileSync(action.path, action.content);
    case 'remove':
      return rmSync(action.path, { force: true });
    case 'mkdir':
      mkdirSync(action.path, { recursive: true });
      return;
    case 'open':
      return closeSync(openSync(action.path, 'r+'));
    case 'prepare-cgroups':
      prepare(action.plan);
      return;
    case 'change-cgroups':
      applyActions(action.actions);
      return;
    case 'service':
      // Started with state and log at hand; nothing that is given back is one.
      return;
    default:
      return action satisfies never;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Before a step is carried out: what a crash leaves can be undone too. */
async function remember(stateFile: string, undo: Undo): Promise<void> {
  await writeState(stateFile, [...readState(stateFile), undo]);
}

async function writeState(stateFile: string, state: readonly Undo[]): Promise<void> {
  if (state.length === 0) rmSync(stateFile, { force: true });
  else await writeFileAtomic(stateFile, `${JSON.stringify(state, undefined, 2)}\n`);
}

function readState(stateFile: string): Undo[] {
  if (!existsSync(stateFile)) return [];
  const state: unknown = JSON.parse(readFileSync(stateFile, 'utf8'));
  // Written by this file alone, in a private folder.
  return Array.isArray(state) ? (state as Undo[]) : [];
}

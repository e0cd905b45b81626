/**
 * Carries a plan out, step by step, and remembers before each one how it is undone, so that `--undo` gives everything back, also after a crash
 * in the middle. The first failure stops.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { CgroupAction } from '../cgroup/action.ts';
import { applyActions } from '../cgroup/apply.ts';
import { prepare } from '../cgroup/prepare.ts';
import { writeFileAtomic } from '../core/fs.ts';
import { LogSource } from '../core/log-source.ts';
import { runCommand } from '../process/run-command.ts';
import type { CiPlan } from './plan.ts';
import { type CiAction, type CiStep, formatAction } from './step.ts';

/** A step that failed: what, why, and what to do. */
export class CiStepError extends Error {
  override readonly name = 'CiStepError';
}

const log = new LogSource('util.command');
/** A daemon that has not made its socket by then never will. */
const SERVICE_TIMEOUT_MS = 20_000;
const POLL_MS = 20;

interface Undo {
  readonly commands: readonly CiAction[];
  readonly cgroups: readonly CgroupAction[];
  /** Pids of daemons, with their names: a pid may be somebody else's by now. */
  readonly services: readonly { readonly pid: number; readonly name: string }[];
}

export interface CarryOutOptions {
  /** Where what was done is remembered. */
  readonly stateFile: string;
  /** For daemons' output. */
  readonly logFolder: string;
  readonly onStep?: ((step: CiStep, outcome: 'done' | 'already' | 'refused') => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @returns how many steps were refused @throws CiStepError, CgroupError */
export async function carryOut(plan: CiPlan, options: CarryOutOptions): Promise<number> {
  let refused = 0;
  for (const step of plan.steps) {
    if (step.done || step.refusal !== undefined) {
      if (!step.done) refused++;
      options.onStep?.(step, step.done ? 'already' : 'refused');
      continue;
    }
    await remember(options.stateFile, { commands: step.undo });
    for (const action of step.actions) await perform(action, step, options);
    options.onStep?.(step, 'done');
  }
  if (plan.cgroups !== undefined && (plan.cgroups.actions.length > 0 || plan.cgroups.refusals.length > 0)) {
    await remember(options.stateFile, { cgroups: plan.cgroups.undo });
    prepare(plan.cgroups);
  }
  return refused;
}

/** Gives back what was done, last first. @returns a line for each thing that could not be given back */
export async function undoAll({ stateFile }: Pick<CarryOutOptions, 'stateFile'>): Promise<string[]> {
  const problems: string[] = [];
  for (const { commands, cgroups, services } of readState(stateFile).toReversed()) {
    for (const { pid, name } of services) if (isNamed(pid, name)) process.kill(pid, 'SIGTERM');
    for (const action of commands) {
      try {
        await performPlain(action);
      } catch (error) {
        problems.push(error instanceof Error ? error.message : String(error));
      }
    }
    try {
      applyActions(cgroups);
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  rmSync(stateFile, { force: true });
  return problems;
}

async function perform(action: CiAction, step: CiStep, options: CarryOutOptions): Promise<void> {
  try {
    if (action.kind === 'service') await startService(action, options);
    else await performPlain(action);
  } catch (cause) {
    options.signal?.throwIfAborted();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CiStepError(`${step.title}: '${formatAction(action)}' failed: ${why}`, { cause });
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
      writeFileSync(action.path, action.content);
      return;
    case 'remove':
      rmSync(action.path, { force: true });
      return;
    case 'mkdir':
      mkdirSync(action.path, { recursive: true });
      return;
    default:
      // Services are started with their state and log at hand.
      return;
  }
}

/** Its own session: it outlives this command, and the job ends it with the container. */
async function startService(
  { command, args, socket, client }: Extract<CiAction, { kind: 'service' }>,
  { stateFile, logFolder, signal }: CarryOutOptions,
): Promise<void> {
  mkdirSync(logFolder, { recursive: true });
  const logPath = join(logFolder, `${command}.log`);
  const output = openSync(logPath, 'a', 0o600);
  const child = spawn(command, args, { detached: true, stdio: ['ignore', output, output] });
  closeSync(output);
  let ended: string | undefined;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (status, killer) => (ended = `it ended with ${killer ?? `status ${status}`}`));
  child.unref();
  if (child.pid !== undefined)
    await remember(stateFile, { services: [{ pid: child.pid, name: command.slice(0, 15) }] });
  for (let waitedMs = 0; !(await answers(socket)); waitedMs += POLL_MS) {
    if (ended !== undefined) throw new Error(`${ended}; ${lastWords(logPath)}`);
    if (waitedMs >= SERVICE_TIMEOUT_MS)
      throw new Error(`nobody answers at ${socket} after ${SERVICE_TIMEOUT_MS / 1000} s; see ${logPath}`);
    await pause(POLL_MS, undefined, { signal });
  }
  const [program, ...words] = client ?? [];
  if (program === undefined) return;
  const { status, stderr } = await runCommand(program, words, { timeout: SERVICE_TIMEOUT_MS, signal });
  if (status !== 0) throw new Error(`it answers no client: ${ended ?? stderr.trim()}; ${lastWords(logPath)}`);
}

/** A socket that is there may be a dead daemon's. */
async function answers(path: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function lastWords(path: string): string {
  return readFileSync(path, 'utf8').trim().split('\n').at(-1) ?? '';
}

function isNamed(pid: number, name: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name;
  } catch {
    return false;
  }
}

/** Before a step is carried out: what a crash leaves can be undone too. */
async function remember(stateFile: string, undo: Partial<Undo>): Promise<void> {
  const state = [...readState(stateFile), { commands: [], cgroups: [], services: [], ...undo }];
  await writeFileAtomic(stateFile, `${JSON.stringify(state, undefined, 2)}\n`);
}

function readState(stateFile: string): Undo[] {
  if (!existsSync(stateFile)) return [];
  const state: unknown = JSON.parse(readFileSync(stateFile, 'utf8'));
  // Written by this file alone, in a private folder.
  return Array.isArray(state) ? (state as Undo[]) : [];
}

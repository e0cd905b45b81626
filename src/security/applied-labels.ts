/**
 * Carries out a plan of labels: every change is in the ledger before it is made, the first that fails undoes all, and disposing gives
 * everything back. Which labels those are was decided in `plan-labels.ts`.
 */
import { DisposalError } from '../core/dispose.ts';
import type { Ledger, LedgerEntry } from '../core/ledger.ts';
import { LogSource } from '../core/log-source.ts';
import { randomHex } from '../core/random.ts';
import { holdFile } from './held-file.ts';
import {
  filesOf,
  type HeldLabel,
  type LabelTools,
  loadLabelTools,
  planHold,
  releaseHeldLabel,
  setHeldLabel,
} from './held-label.ts';
import type { LabelAction } from './label-plan.ts';
import { LABEL_KIND } from './ledger-remover.ts';

export interface ApplyLabelsOptions {
  readonly ledger: Ledger;
  /** File by which the programs of this host take turns, in a folder that only their user may write to. */
  readonly lock: string;
  /** Default: this host's. */
  readonly tools?: LabelTools | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Labels that files have for one guest. */
export interface AppliedLabels extends AsyncDisposable {
  /** Labels more files: a device is plugged in. Those that have their label already are left. @throws SecurityError; nothing of these is set then */
  add(actions: readonly LabelAction[], signal?: AbortSignal): Promise<void>;
  /** Gives back what is not among these any more: a device is gone. @throws SecurityError */
  keepOnly(actions: readonly LabelAction[], signal?: AbortSignal): Promise<void>;
  /** One line for each file that keeps what it has, as its file system has no such labels. */
  readonly notes: readonly string[];
}

/** @throws SecurityError with everything given back */
export async function applyLabels(
  actions: readonly LabelAction[],
  options: ApplyLabelsOptions,
): Promise<AppliedLabels> {
  const applied = new Applied(options, options.tools ?? (await loadLabelTools()));
  await applied.add(actions, options.signal);
  return applied;
}

interface Hold {
  readonly key: string;
  readonly held: HeldLabel;
  readonly entry: LedgerEntry;
}

class Applied implements AppliedLabels {
  readonly notes: string[] = [];
  readonly #options: ApplyLabelsOptions;
  readonly #tools: LabelTools;
  #holds: Hold[] = [];

  constructor(options: ApplyLabelsOptions, tools: LabelTools) {
    this.#options = options;
    this.#tools = tools;
  }

  async add(actions: readonly LabelAction[], signal?: AbortSignal): Promise<void> {
    const before = this.#holds.length;
    try {
      for (const action of actions.flatMap(expand)) await this.#set(action, signal);
    } catch (error) {
      await this.#release(this.#holds.splice(before)).catch((second: unknown) => {
        // The first error is the reason; what could not be given back is in the ledger.
        log.warn('applyLabels', () => String(second));
      });
      throw error;
    }
  }

  async keepOnly(actions: readonly LabelAction[], signal?: AbortSignal): Promise<void> {
    const kept = new Set(actions.flatMap(expand).map(keyOf));
    const gone = this.#holds.filter(({ key }) => !kept.has(key));
    this.#holds = this.#holds.filter(({ key }) => kept.has(key));
    await this.#release(gone, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release(this.#holds.splice(0));
  }

  async #set(action: LabelAction, signal: AbortSignal | undefined): Promise<void> {
    if (action.restore === 'never') return this.#setForGood(action);
    const key = keyOf(action);
    if (this.#holds.some((hold) => hold.key === key)) return;
    const { ledger, lock } = this.#options;
    const held = planHold(action, { holder: randomHex(8), lock, labels: this.#tools.labels });
    if (held === undefined) return;
    this.#holds.push({ key, held, entry: ledger.record(LABEL_KIND, held) });
    this.#note(held.path, await setHeldLabel(held, this.#tools, signal));
  }

  /** The guest's own file, which goes with it, or one that others read: nothing is to be given back. */
  #setForGood({ path, model, label }: LabelAction): void {
    using file = holdFile(path);
    const labels = this.#tools.labels[model];
    if (file === undefined || labels.read(file) === label) return;
    this.#note(path, labels.write(file, label));
  }

  #note(path: string, errno: string | undefined): void {
    if (errno !== undefined) this.notes.push(`'${path}' keeps its labels: its file system allows no change (${errno})`);
  }

  async #release(holds: readonly Hold[], signal?: AbortSignal): Promise<void> {
    const errors: unknown[] = [];
    for (const { held, entry } of holds.toReversed()) {
      try {
        await releaseHeldLabel(held, this.#tools, signal);
        entry.done();
      } catch (error) {
        // Stays in the ledger, for the next collection.
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new DisposalError(errors);
  }
}

const log = new LogSource('security.security_manager');

function keyOf({ model, path }: LabelAction): string {
  return `${model} ${path}`;
}

function expand(action: LabelAction): LabelAction[] {
  return action.tree
    ? filesOf(action.path).map((path) => ({ ...action, path, tree: false, optional: true }))
    : [action];
}

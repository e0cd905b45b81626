/** One step of preparing a container, as data: what it does, how it is undone, and why. Carrying out is `carry-out.ts`'s. */
import type { CgroupAction } from '../cgroup/action.ts';
import { formatActions as formatCgroupActions } from '../cgroup/apply.ts';
import type { PreparePlan } from '../cgroup/prepare.ts';

/** What a step does to the host. */
export type CiAction =
  | { readonly kind: 'run'; readonly command: string; readonly args: readonly string[] }
  /** A daemon that goes on; ready once its socket answers. */
  | {
      readonly kind: 'service';
      readonly command: string;
      readonly args: readonly string[];
      readonly socket: string;
      /** A client that must succeed as well: a socket may answer before its daemon gives up. */
      readonly client?: readonly string[] | undefined;
    }
  | { readonly kind: 'write'; readonly path: string; readonly content: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'mkdir'; readonly path: string }
  /** A device that can be made may still be denied by the container's device rules: only opening it tells. */
  | { readonly kind: 'open'; readonly path: string }
  /** Controllers for child groups. */
  | { readonly kind: 'prepare-cgroups'; readonly plan: PreparePlan }
  | { readonly kind: 'change-cgroups'; readonly actions: readonly CgroupAction[] };

export interface CiStep {
  readonly id: string;
  /** What it is for, for people. */
  readonly title: string;
  readonly why: string;
  /** Nothing is left to do. */
  readonly done: boolean;
  readonly actions: readonly CiAction[];
  /** Gives back what the actions changed, in this order. */
  readonly undo: readonly CiAction[];
  /** Why it cannot be done. */
  readonly refusal?: string | undefined;
  /** What the user should know though the step is done, or will be. */
  readonly note?: string | undefined;
  /** What to do when one of its actions fails. */
  readonly fix?: string | undefined;
}

/** An action as lines for a shell, without the last end of line. */
export function formatAction(action: CiAction): string {
  switch (action.kind) {
    case 'run':
    case 'service':
      return [action.command, ...action.args].map(quote).join(' ');
    case 'write':
      return `printf %s ${quote(action.content)} > ${quote(action.path)}`;
    case 'remove':
      return `rm -f ${quote(action.path)}`;
    case 'mkdir':
      return `mkdir -p ${quote(action.path)}`;
    case 'open':
      return `: <> ${quote(action.path)}`;
    case 'prepare-cgroups':
      return [...action.plan.notes.map((note) => `# ${note}`), formatCgroupActions(action.plan.actions).trim()].join(
        '\n',
      );
    case 'change-cgroups':
      return formatCgroupActions(action.actions).trim();
    default:
      return action satisfies never;
  }
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

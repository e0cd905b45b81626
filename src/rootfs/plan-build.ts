/**
 * How an image is built: name and options become the commands of the distribution's own tools. Pure; what a host lacks for a plan is told
 * by `check-build.ts`, and `build-image.ts` carries it out.
 */
import { findArchitecture } from './architecture.ts';
import {
  type BuildOptions,
  type BuildPlan,
  type BuildRequest,
  invalid,
  KEYRING,
  OUTPUT,
  ROOT,
  WORK,
} from './build-plan.ts';
import { parseBuildableName } from './image-name.ts';
import { planDebian } from './plan-debian.ts';
import { planPacman, planRpm } from './plan-other-families.ts';

/** @throws VirtError INVALID_ARG for names, architectures and packages that cannot be */
export function planBuild(imageName: string, options: BuildOptions = {}): BuildPlan {
  const buildable = parseBuildableName(imageName, { hasMirror: options.mirror !== undefined });
  for (const word of [...(options.packages ?? []), ...(options.components ?? [])]) requireWord(word);
  if (options.variant !== undefined) requireWord(options.variant);
  if (options.mirror !== undefined && !/^(https?|file|copy):\/\/[^\s,"'\\]+$/.test(options.mirror)) {
    throw invalid(`a mirror is a URL (http, https or file) without spaces and quotes, not '${options.mirror}'`);
  }
  if (options.keyring !== undefined && !/^\/[^\s,\]"'\\]+$/.test(options.keyring)) {
    throw invalid(`a keyring is an absolute path without spaces and quotes, not '${options.keyring}'`);
  }
  const request: BuildRequest = {
    ...buildable,
    architecture: findArchitecture(options.arch),
    // In whatever order they are asked for, it is the same image.
    options: { ...options, packages: [...new Set(options.packages ?? [])].toSorted() },
    isArchived: options.archive ?? buildable.release.isArchived ?? false,
  };
  return PLANNERS[buildable.distribution.family](request);
}

const PLANNERS = { debian: planDebian, rpm: planRpm, pacman: planPacman } as const;

/** It becomes a part of other programs' arguments and lists: nothing there may be read as an option or as two. */
function requireWord(word: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9+._:~/@*-]*$/.test(word)) return;
  throw invalid(`'${word}' is no name of a package, component or variant`);
}

/** Where a plan is carried out. */
export interface BuildPaths {
  readonly root: string;
  readonly output: string;
  readonly work: string;
  readonly keyring: string | undefined;
}

/** A plan's text with the real paths. Pure. */
export function fillIn(text: string, { root, output, work, keyring }: BuildPaths): string {
  const filled = text.replaceAll(ROOT, root).replaceAll(OUTPUT, output).replaceAll(WORK, work);
  return keyring === undefined ? filled : filled.replaceAll(KEYRING, keyring);
}

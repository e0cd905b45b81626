/** What a plan of a build is, and what all planners share. Data only. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { Architecture } from './architecture.ts';
import type { BuildableName } from './image-name.ts';
import type { Keyring } from './releases.ts';

export interface BuildOptions {
  /** Any world's name; default: this host's. */
  readonly arch?: string | undefined;
  readonly packages?: readonly string[] | undefined;
  /** Instead of the distribution's own; `file:///…` and `http://…`. */
  readonly mirror?: string | undefined;
  /** Take the archive of old releases, whatever the table says. */
  readonly archive?: boolean | undefined;
  /** How much is installed: mmdebstrap's and debootstrap's word (`minbase`, `essential`, …). */
  readonly variant?: string | undefined;
  readonly components?: readonly string[] | undefined;
  /** A file of keys instead of the distribution's. */
  readonly keyring?: string | undefined;
  /** Do not check signatures at all. */
  readonly insecure?: boolean | undefined;
  /** How mmdebstrap becomes root in the new root; default: it is root already. Others can do without. */
  readonly mode?: 'root' | 'unshare' | 'fakechroot' | undefined;
  /** The older tool even where the newer would do. */
  readonly builder?: 'mmdebstrap' | 'debootstrap' | undefined;
}

/** One command. In its arguments ROOT stands for the folder of the new root, OUTPUT for the tarball, WORK for a folder of its own. */
export interface BuildStep {
  readonly command: string;
  readonly args: readonly string[];
  /** Beside what all builders get. */
  readonly env?: Readonly<Record<string, string>>;
  /** What a person is told meanwhile. */
  readonly title: string;
}

export interface BuildPlan {
  /** `debian:bookworm`. */
  readonly name: string;
  readonly architecture: Architecture;
  readonly builder: string;
  /** The Debian package of each program that it needs. */
  readonly needs: readonly { readonly program: string; readonly debianPackage: string }[];
  readonly keyring: Keyring | undefined;
  /** Written to WORK first. */
  readonly files: Readonly<Record<string, string>>;
  readonly steps: readonly BuildStep[];
  /** Where to see that the mirror has changed since. */
  readonly freshness: readonly string[];
  /** What a person should know of this build. */
  readonly notes: readonly string[];
}

/** What a family's planner gets. */
export interface BuildRequest extends BuildableName {
  readonly architecture: Architecture;
  readonly options: BuildOptions;
  readonly isArchived: boolean;
}

/** Stand for paths that are chosen when the plan is carried out, so that the same request has the same plan. */
export const ROOT = '@ROOT@';
export const OUTPUT = '@OUTPUT@';
export const WORK = '@WORK@';

/** Packs what a builder has put into ROOT. `without`: what it left there for itself. */
export function packStep(without: readonly string[] = []): BuildStep {
  // The first: the name of the host that built it, by some builders.
  const excluded = ['./etc/hostname', ...without].map((path) => `--exclude=${path}`);
  const how = ['--create', '--auto-compress', '--sparse', '--numeric-owner', '--xattrs', '--xattrs-include=*'];
  return {
    command: 'tar',
    args: [...how, '--one-file-system', ...excluded, '--file', OUTPUT, '--directory', ROOT, '.'],
    title: 'packing',
  };
}

/** Stands for the keyring that this host has. */
export const KEYRING = '@KEYRING@';

export function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.LXC });
}

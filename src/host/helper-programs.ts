/**
 * Which programs beside QEMU this host has for guests (TPM, shared folders, user-mode network), and their versions.
 * It runs each with `--version` and nothing else.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lookUpProgram } from '../process/find-program.ts';
import { runCommand } from '../process/run-command.ts';

export const HELPER_NAMES = [
  'swtpm',
  'swtpm_setup',
  'virtiofsd',
  'passt',
  'dbus-daemon',
  'qemu-bridge-helper',
  'vhost-user-gpu',
  'qemu-rdp',
] as const;
export type HelperName = (typeof HELPER_NAMES)[number];

/** A program that is there; `version` is undefined when it does not say. */
export interface HelperProgram {
  readonly path: string;
  readonly version?: string;
}

export type HelperPrograms = Readonly<Partial<Record<HelperName, HelperProgram>>>;

export interface HelperRoots {
  /** Search path, as in PATH. */
  readonly path?: string;
  /** Folders searched after it: distributions keep QEMU's helpers out of PATH. */
  readonly folders?: readonly string[];
  /** Where vhost-user back ends describe themselves (QEMU's docs/interop/vhost-user.json). */
  readonly vhostUserDir?: string;
  readonly signal?: AbortSignal | undefined;
}

const HELPER_FOLDERS = ['/usr/lib/qemu', '/usr/libexec', '/usr/libexec/qemu', '/usr/lib'];
const VERSION_TIMEOUT_MS = 5000;

/** Looks for each helper and asks its version, all at the same time. @throws the signal's reason */
export async function readHelperPrograms(roots: HelperRoots = {}): Promise<HelperPrograms> {
  const described = describedVirtiofsd(roots.vhostUserDir ?? '/usr/share/qemu/vhost-user');
  const found = await Promise.all(
    HELPER_NAMES.map(async (name) => {
      const path = (name === 'virtiofsd' ? described : undefined) ?? locate(name, roots);
      if (path === undefined) return undefined;
      // The bridge helper takes no --version, and is setuid: it is not run for curiosity.
      const version = name === 'qemu-bridge-helper' ? undefined : await askVersion(path, roots.signal);
      return [name, { path, ...(version !== undefined && { version }) }] as const;
    }),
  );
  roots.signal?.throwIfAborted();
  return Object.fromEntries(found.filter((entry) => entry !== undefined));
}

function locate(name: string, { path, folders = HELPER_FOLDERS }: HelperRoots): string | undefined {
  const inPath = lookUpProgram(name, { path });
  if (inPath !== undefined) return inPath;
  return folders.map((folder) => lookUpProgram(join(folder, name))).find((found) => found !== undefined);
}

/** The `fs` back end that the distribution recommends: first by file name. */
function describedVirtiofsd(dir: string): string | undefined {
  try {
    for (const name of readdirSync(dir).sort()) {
      if (!name.endsWith('.json')) continue;
      const description: unknown = JSON.parse(readFileSync(join(dir, name), 'utf8'));
      if (typeof description !== 'object' || description === null) continue;
      if (!('type' in description) || description.type !== 'fs' || !('binary' in description)) continue;
      const path = typeof description.binary === 'string' ? lookUpProgram(description.binary) : undefined;
      if (path !== undefined) return path;
    }
  } catch {
    // No folder, or a damaged description: the program may still be where it usually is.
  }
  return undefined;
}

async function askVersion(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  const options = { timeout: VERSION_TIMEOUT_MS, killSignal: 'SIGKILL', signal } as const;
  // A failure is no version.
  const { stdout, stderr } = await runCommand(path, ['--version'], options);
  return findVersion(`${stdout}\n${stderr}`);
}

/** The first thing that looks like a version: `0.7.1`, `1.10.0`, passt's `0.0~git20230309.…` or `2024_06_07.…`. */
export function findVersion(text: string): string | undefined {
  return /(?<![\w.])\d+(?:[._]\w+)+(?:[~-][\w.]+)?/.exec(text)?.[0];
}

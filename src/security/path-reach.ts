/**
 * Whether QEMU's user can really open what it is to open, asked before QEMU is started, as QEMU only says "Permission denied". Modes are looked
 * at first; where they say no, the kernel is asked, as it knows of ACLs.
 */
import { chmodSync, lstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { runCommand } from '../process/run-command.ts';
import { SecurityError } from './label-plan.ts';
import { type Denial, findDenial, type Person } from './path-access.ts';

export interface WantedFile {
  readonly path: string;
  readonly write: boolean;
  /** For the message: `disk`. */
  readonly what: string;
}

/** Whether the kernel lets a person open a file. */
export type AskKernel = (file: WantedFile, person: Person, signal?: AbortSignal) => Promise<boolean>;

/** @throws SecurityError naming the first folder or file that denies, and the command that helps */
export async function requireReachable(
  files: readonly WantedFile[],
  person: Person,
  signal?: AbortSignal,
  askKernel: AskKernel = tryAs,
): Promise<void> {
  for (const file of files) {
    const denial = findDenial(file.path, person, { write: file.write });
    if (denial === undefined || (denial.reason !== 'missing' && (await askKernel(file, person, signal)))) continue;
    throw denied(file, person, denial);
  }
}

function denied({ path, what }: WantedFile, person: Person, denial: Denial): SecurityError {
  const why = denial.reason === 'missing' ? `${denial.path} does not exist` : `${denial.path} denies (${denial.mode})`;
  return new SecurityError(`QEMU's user ${person.name} cannot open the ${what} ${path}: ${why}; ${denial.fix}`, {
    model: 'dac',
    path: denial.path,
    errno: denial.reason === 'missing' ? 'ENOENT' : 'EACCES',
  });
}

/** As that user, with nothing of ours. */
async function tryAs({ path, write }: WantedFile, { uid, gids }: Person, signal?: AbortSignal): Promise<boolean> {
  const identity = ['--reuid', String(uid), '--regid', String(gids[0] ?? uid), '--groups', gids.join(',')];
  const script = `[ -r "$1" ]${write ? ' && [ -w "$1" ]' : ''}`;
  const args = [...identity, '--inh-caps=-all', '--', 'sh', '-c', script, 'sh', path];
  const { status } = await runCommand('setpriv', args, { cwd: '/', signal });
  return status === 0;
}

/**
 * Lets others pass (not look into, not write to) the folders on the way to files, as far as they lie at or below one of `tops` and are ours.
 * What lies above is its owner's business.
 */
export function openFolders(paths: readonly string[], tops: readonly string[]): void {
  const folders = new Set(paths.flatMap((path) => foldersTo(path, tops)));
  for (const folder of folders) {
    const stats = lstatSync(folder, { throwIfNoEntry: false });
    if (stats?.isDirectory() !== true || stats.uid !== process.geteuid?.() || (stats.mode & PASS) === PASS) continue;
    chmodSync(folder, (stats.mode & 0o7777) | PASS);
  }
}

/** Search for group and others. */
const PASS = 0o011;

function foldersTo(path: string, tops: readonly string[]): string[] {
  const folders: string[] = [];
  for (let folder = dirname(path); tops.some((top) => isWithin(folder, top)); folder = dirname(folder))
    folders.push(folder);
  return folders;
}

function isWithin(folder: string, top: string): boolean {
  return top !== '/' && (folder === top || folder.startsWith(`${top}/`));
}

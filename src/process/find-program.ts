/**
 * Looks a program up as `execvp` would, before anything is forked, so that a missing one is a clear error that names the
 * program and its package instead of an exit code of some wrapper.
 */

import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { debianPackageOf } from './debian-package.ts';
import { errnoOf, ProcessError } from './process-error.ts';

/** Searched after PATH: CI jobs and cron often run without the `sbin` folders. */
const FALLBACK_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

export interface FindProgramOptions {
  /** PATH to search; default: this process's. */
  path?: string | undefined;
  /** What a relative path with a slash is relative to; default: the current directory. */
  cwd?: string | undefined;
}

/**
 * The absolute path of an executable file.
 * @throws ProcessError (`find`, ENOENT or EACCES) naming the program and its Debian package
 */
export function findProgram(program: string, options: FindProgramOptions = {}): string {
  const found = searchProgram(program, options);
  if (found.path !== undefined) return found.path;
  const debianPackage = debianPackageOf(program);
  const why = found.errno === 'EACCES' ? 'it is not an executable file for this user' : 'no such program';
  const where = program.includes('/') ? '' : ' in PATH';
  const fix = debianPackage === undefined ? '' : ` (Debian package ${debianPackage})`;
  throw new ProcessError(`cannot run ${program}: ${why}${where}${fix}`, {
    operation: 'find',
    command: program,
    errno: found.errno,
    debianPackage,
  });
}

/** Like `findProgram`, but undefined when there is no such executable. */
export function lookUpProgram(program: string, options: FindProgramOptions = {}): string | undefined {
  return searchProgram(program, options).path;
}

const known = new Map<string, string>();

/** The same for a program that is asked for with every guest: where it was found it is, as long as it can be executed there and PATH is the same. */
export function lookUpAgain(program: string): string | undefined {
  const key = `${program}\0${process.env['PATH']}`;
  const before = known.get(key);
  if (before !== undefined && whyNotExecutable(before, false) === undefined) return before;
  const found = lookUpProgram(program);
  if (found === undefined) known.delete(key);
  else known.set(key, found);
  return found;
}

function searchProgram(program: string, options: FindProgramOptions): { path?: string; errno?: 'ENOENT' | 'EACCES' } {
  const candidates = program.includes('/')
    ? [resolve(options.cwd ?? '.', program)]
    : searchFolders(options.path ?? process.env['PATH']).map((folder) => resolve(folder, program));
  let errno: 'ENOENT' | 'EACCES' = 'ENOENT';
  if (program === '') return { errno };
  for (const candidate of candidates) {
    const problem = whyNotExecutable(candidate, program.includes('/'));
    if (problem === undefined) return { path: candidate };
    if (problem === 'EACCES') errno = 'EACCES';
  }
  return { errno };
}

function searchFolders(path: string | undefined): string[] {
  return [...(path ?? '').split(':').filter((folder) => folder !== ''), ...FALLBACK_FOLDERS];
}

function whyNotExecutable(path: string, explicit: boolean): 'ENOENT' | 'EACCES' | undefined {
  try {
    // Without an exception for what is simply not there: most folders of PATH do not have it.
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'ENOENT';
    if (!stats.isFile()) return 'EACCES';
  } catch (error) {
    // A folder of PATH that we may not search (another user's) says nothing about the program. Every other errno
    // (ENOTDIR, ELOOP, ENAMETOOLONG) means that there is no such program here.
    return explicit && errnoOf(error) === 'EACCES' ? 'EACCES' : 'ENOENT';
  }
  try {
    accessSync(path, constants.X_OK);
    return undefined;
  } catch {
    // It exists, so whatever the errno: not for us to execute.
    return 'EACCES';
  }
}

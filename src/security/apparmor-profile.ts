/**
 * Loads a guest's AppArmor profile into the kernel and takes it out again, with apparmor_parser(8). The text goes through a file in a private
 * folder, of which the ledger knows as it does of the profile.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ledger } from '../core/ledger.ts';
import { LogSource } from '../core/log-source.ts';
import { runCommand } from '../process/run-command.ts';
import { SecurityError } from './label-plan.ts';
import { PROFILE_KIND } from './ledger-remover.ts';

export interface LoadProfileOptions {
  readonly ledger: Ledger;
  /** Private folder for the text. */
  readonly dir: string;
  readonly signal?: AbortSignal | undefined;
}

const log = new LogSource('security.security_apparmor');

/** @throws SecurityError with what the parser says */
export async function loadProfile(
  { name, text }: { readonly name: string; readonly text: string },
  { ledger, dir, signal }: LoadProfileOptions,
): Promise<AsyncDisposable> {
  const path = join(dir, `${name}.apparmor`);
  const entry = ledger.record(PROFILE_KIND, { name, path });
  log.info('loadProfile', () => `Loading profile '${name}'`);
  writeFileSync(path, text, { mode: 0o600 });
  const { status, stderr, error } = await runCommand('apparmor_parser', ['--replace', path], { signal });
  if (status !== 0) {
    rmSync(path, { force: true });
    entry.done();
    const why = error !== undefined && 'code' in error && error.code === 'ENOENT' ? 'install apparmor' : stderr.trim();
    throw new SecurityError(`cannot load the AppArmor profile ${name}: ${why}`, { model: 'apparmor', cause: error });
  }
  return {
    [Symbol.asyncDispose]: async () => {
      await unloadProfile(name, path);
      entry.done();
    },
  };
}

/** Idempotent. @throws SecurityError */
export async function unloadProfile(name: string, path: string): Promise<void> {
  if (isLoaded(name)) {
    log.info('unloadProfile', () => `Removing profile '${name}'`);
    const { status, stderr } = await runCommand('apparmor_parser', ['--remove', path]);
    if (status !== 0 && isLoaded(name)) {
      throw new SecurityError(`cannot remove the AppArmor profile ${name}: ${stderr.trim()}`, { model: 'apparmor' });
    }
  }
  rmSync(path, { force: true });
}

function isLoaded(name: string): boolean {
  try {
    const profiles = readFileSync('/sys/kernel/security/apparmor/profiles', 'utf8');
    return profiles.split('\n').some((line) => line.startsWith(`${name} (`));
  } catch {
    // No securityfs is mounted: the parser knows better.
    return true;
  }
}

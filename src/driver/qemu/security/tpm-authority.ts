/**
 * Why a user cannot make emulated TPMs on this host. swtpm_setup signs a new one's certificates with keys that its tool swtpm_localca keeps;
 * whoever ran it first owns them. Reads only.
 */
import { readFileSync } from 'node:fs';
import { findDenial, type Person } from '../../../security/path-access.ts';

export interface AuthorityFiles {
  /** swtpm_localca's configuration. */
  readonly config?: string;
}

/** Where it keeps them when its configuration does not say. */
const STATE_DIR = '/var/lib/swtpm-localca';

/** In one line with what helps; undefined when nothing there is in the way. */
export function explainTpmAuthority(
  person: Person,
  { config = '/etc/swtpm-localca.conf' }: AuthorityFiles = {},
): string | undefined {
  const settings = readSettings(config);
  const folder = settings.get('statedir') ?? STATE_DIR;
  const files = ['signingkey', 'issuercert', 'certserial'].flatMap((key) => settings.get(key) ?? []);
  for (const path of [folder, `${folder}/.lock.swtpm-localca`, ...files]) {
    const denial = findDenial(path, person, { write: true });
    // What is not there yet is made.
    if (denial === undefined || (denial.reason === 'missing' && path !== folder)) continue;
    const found = denial.reason === 'missing' ? 'is not there' : `is not for ${person.name} (${denial.mode ?? ''})`;
    return `${denial.path} ${found}, where swtpm_setup keeps the keys that sign new TPMs: mkdir -p ${folder}; chown -R ${person.name} ${folder}`;
  }
  return undefined;
}

/** Lines are `name = value`; a hash begins a comment. */
function readSettings(path: string): Map<string, string> {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // The defaults then.
  }
  return new Map(
    text.split('\n').flatMap((line): [string, string][] => {
      const [, name, value] = /^\s*(\w+)\s*=\s*(\S+)\s*$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value]];
    }),
  );
}

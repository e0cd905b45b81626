/** What builders say when they fail, and what helps: a table for people. Nothing is decided by it. */

interface Known {
  readonly pattern: RegExp;
  readonly fix: string;
}

const KNOWN: readonly Known[] = [
  {
    pattern:
      /NO_PUBKEY|not signed|couldn't be verified|KEYEXPIRED|EXPKEYSIG|No keyring|unknown key|PGP signature|Invalid Release signature/i,
    fix: 'the keys of this host do not match what signed it: name others with --keyring FILE, or build without checking (--insecure)',
  },
  {
    pattern: /Release file for .* is expired|Valid-Until/i,
    fix: 'nobody keeps this mirror up to date any more; --archive takes it as it was when it was',
  },
  {
    pattern: /does not have a Release file|404 +Not Found|Failed getting release file|Invalid Release file/i,
    fix: 'the mirror does not have this release: --archive looks among the old ones, --mirror URL elsewhere',
  },
  {
    pattern:
      /Temporary failure resolving|Could not resolve|Could not connect|Connection (timed out|refused|failed)|Cannot initiate/i,
    fix: 'the mirror cannot be reached from here: --mirror URL names another',
  },
  {
    pattern: /Unable to locate package|Couldn't find these debs|No match for argument|target not found/i,
    fix: 'there is no such package in this release; look at --packages',
  },
  {
    pattern: /No space left on device|Wrote only \d+ of/i,
    fix: "free some space, or name another disk: NESTLING_CACHE_DIR; 'nestling image rm' removes images",
  },
  { pattern: /Exec format error/i, fix: 'its programs do not run on this kernel: install qemu-user-static' },
  { pattern: /no script for|No such script/i, fix: 'this debootstrap does not know the release; a newer one may' },
];

/** What a builder said last, in one line, and what helps, if that is known. */
export function explainBuilder(words: string): { readonly cause: string; readonly fix: string | undefined } {
  const lines = words.split('\n').filter((line) => line.trim() !== '');
  const errors = lines.filter((line) => /^(E:|Err|error|fatal|mount:|tar:)|\bE: |failed/i.test(line));
  const cause = (errors.length === 0 ? lines : errors)
    .slice(-3)
    .map((line) => line.trim())
    .join('; ');
  return { cause, fix: KNOWN.find(({ pattern }) => pattern.test(words))?.fix };
}

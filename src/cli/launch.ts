/**
 * What the `nestling` executable runs first: compiles a bundle of the command with V8's code cache from an earlier run, which
 * halves the time to `main`. Knows nothing of the command. Without a usable cache everything works, only later.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { type BundleName, chooseBundle } from './choose-bundle.ts';
import { readCodeCache, writeCodeCache } from './code-cache.ts';

/** Hashes of the bundles, set by the build: a cache made of another bundle is never tried. */
declare const NESTLING_BUNDLE_HASHES: Readonly<Record<BundleName, string>>;

// Guests are to start soon: `run` has a bundle with no more than it needs.
const bundle = chooseBundle(process.argv.slice(2));
const file = join(__dirname, `${bundle}.cjs`);
// Each subcommand compiles other functions, so each has a cache of its own; so has a run that only plans.
const subcommand = (process.argv[2] ?? '').replace(/[^a-z-]/g, '').slice(0, 20);
const key = `${NESTLING_BUNDLE_HASHES[bundle]}-${subcommand}${process.argv.includes('--dry-run') ? '-dry' : ''}`;
const cachedData = readCodeCache(key);
// The bundle is ASCII. As UTF-8 it is read without a buffer between: a quarter of a millisecond less.
const script = new Script(readFileSync(file, 'utf8'), {
  filename: file,
  ...(cachedData === undefined ? {} : { cachedData }),
});
if (cachedData === undefined || script.cachedDataRejected === true) {
  // At the end, when the functions that this subcommand needs have been compiled: what only says how it is used, or failed, needs few of them.
  const isWork = !['-h', '--help', '-V', '--version'].some((word) => process.argv.includes(word));
  process.once('exit', (status) => {
    if (isWork && status !== 1 && status !== 2) writeCodeCache(key, script.createCachedData());
  });
}
const main = script.runInThisContext() as (...args: unknown[]) => void;
const module_ = { exports: {} };
main(module_.exports, require, module_, file, __dirname);

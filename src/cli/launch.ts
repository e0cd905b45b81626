/**
 * What the `nestling` executable runs first: compiles the command's bundle with V8's code cache from an earlier run, which
 * halves the time to `main`. Knows nothing of the command. Without a usable cache everything works, only later.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { readCodeCache, writeCodeCache } from './code-cache.ts';

/** Hash of the bundle, set by the build: a cache made of another bundle is never tried. */
declare const NESTLING_BUNDLE_HASH: string;

const file = join(__dirname, 'cli-main.cjs');
// Each subcommand compiles other functions, so each has a cache of its own.
const key = `${NESTLING_BUNDLE_HASH}-${(process.argv[2] ?? '').replace(/[^a-z-]/g, '').slice(0, 20)}`;
const cachedData = readCodeCache(key);
const script = new Script(
  `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`,
  {
    filename: file,
    ...(cachedData === undefined ? {} : { cachedData }),
  },
);
if (cachedData === undefined || script.cachedDataRejected === true) {
  // At the end, when the functions that this subcommand needs have been compiled.
  process.once('exit', () => writeCodeCache(key, script.createCachedData()));
}
const main = script.runInThisContext() as (...args: unknown[]) => void;
const module_ = { exports: {} };
main(module_.exports, require, module_, file, __dirname);

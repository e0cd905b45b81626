// Runs the benches: builds dist/, bundles the benches' TypeScript into .cache/bench and starts them there. Arguments and
// what they mean are in main.ts.
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const repository = fileURLToPath(new URL('..', import.meta.url));
const folder = `${repository}.cache/bench`;
const { bin } = JSON.parse(readFileSync(`${repository}package.json`, 'utf8'));
// The bundle does not know where the sources were.
process.env.NESTLING_TEST_CACHE ??= `${repository}.cache/guests`;

execFileSync(process.execPath, [`${repository}build.mjs`, '--no-types'], { stdio: ['ignore', 2, 2] });
await build({
  absWorkingDir: repository,
  entryPoints: { main: 'bench/main.ts' },
  outdir: folder,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  packages: 'external',
  sourcemap: 'inline',
  plugins: [{ name: 'sources-beside', setup: keepSourcesBeside }],
  define: { NESTLING_VERSION: '"bench"', NESTLING_COMMAND: JSON.stringify(bin.nestling) },
  logLevel: 'warning',
});
// A copy, so that a build in the meantime does not change what is measured.
rmSync(`${folder}/dist`, { recursive: true, force: true });
cpSync(`${repository}dist`, `${folder}/dist`, { recursive: true });
await import(`${folder}/main.mjs`);

/** What reads files beside its source (guests' scripts, programs for guests) is told where that is, not where the bundle is. */
function keepSourcesBeside(esbuild) {
  esbuild.onLoad({ filter: /\/(tests\/support|bench\/cases)\/.*\.ts$/ }, ({ path }) => {
    const url = JSON.stringify(pathToFileURL(path).href);
    return { loader: 'ts', contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url) };
  });
}

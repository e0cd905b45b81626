// Builds dist/: the library's entry points and the command, each one file, and the type declarations.
// The command is a bundle of its own, so that it starts by reading one file.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
process.chdir(new URL('.', import.meta.url).pathname);
rmSync('dist', { recursive: true, force: true });

const shared = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  external: ['koffi'],
  define: { NESTLING_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
  legalComments: 'linked',
};

await Promise.all([
  build({
    ...shared,
    entryPoints: { index: 'src/index.ts', qmp: 'src/qmp/index.ts', cgroup: 'src/cgroup/index.ts' },
    outdir: 'dist',
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    sourcemap: true,
  }),
  buildCommand(),
  build({
    ...shared,
    entryPoints: { 'capabilities-from-replies': 'tools/capabilities-from-replies.ts' },
    outdir: 'dist/tools',
    outExtension: { '.js': '.mjs' },
  }),
]);
if (!process.argv.includes('--no-types')) {
  execFileSync('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
}

/** The command: a launcher that reads V8's code cache, and the bundle that it runs. CommonJS starts 9 ms sooner than ESM. */
async function buildCommand() {
  const common = {
    ...shared,
    format: 'cjs',
    // In code run by node:vm an import() would need an experimental loader; require() is at hand.
    supported: { 'dynamic-import': false },
    outdir: 'dist',
    outExtension: { '.js': '.cjs' },
    minify: true,
  };
  await build({ ...common, entryPoints: { 'cli-main': 'src/cli/main.ts' } });
  const hash = createHash('sha256').update(readFileSync('dist/cli-main.cjs')).digest('hex').slice(0, 16);
  await build({
    ...common,
    entryPoints: { cli: 'src/cli/launch.ts' },
    define: { ...shared.define, NESTLING_BUNDLE_HASH: JSON.stringify(hash) },
    // The extra certificates of the environment cost 45 ms of every start and are of no use here.
    banner: { js: '#!/usr/bin/env -S -u NODE_EXTRA_CA_CERTS node' },
  });
  chmodSync('dist/cli.cjs', 0o755);
}

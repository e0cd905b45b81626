// Builds dist/: the library's entry points and the command, each one file, and the type declarations.
// The command is a bundle of its own so that it starts by reading one small file.
import { execFileSync } from 'node:child_process';
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
    entryPoints: { index: 'src/index.ts', qmp: 'src/qmp/index.ts' },
    outdir: 'dist',
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
    sourcemap: true,
  }),
  build({
    ...shared,
    entryPoints: { cli: 'src/cli/main.ts' },
    outdir: 'dist',
    outExtension: { '.js': '.mjs' },
    minify: true,
    keepNames: true,
    // The extra certificates of the environment cost 45 ms of every start and are of no use here.
    banner: { js: '#!/usr/bin/env -S -u NODE_EXTRA_CA_CERTS node' },
  }),
  build({
    ...shared,
    entryPoints: { 'capabilities-from-replies': 'tools/capabilities-from-replies.ts' },
    outdir: 'dist/tools',
    outExtension: { '.js': '.mjs' },
  }),
]);
chmodSync('dist/cli.mjs', 0o755);
if (!process.argv.includes('--no-types')) {
  execFileSync('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
}

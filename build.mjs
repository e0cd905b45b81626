// Builds dist/: the library's entry points and the command, each one file, and the type declarations.
// The command is a bundle of its own, so that it starts by reading one file.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
process.chdir(new URL('.', import.meta.url).pathname);

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

/** What `nestling run` never loads is not in its bundle: reading it and its code cache is most of the time to the first line. */
const onlyRun = (others) => ({
  name: 'only-run',
  setup(build) {
    const elsewhere =
      /\/(cli\/(exec|daemon|doctor|ci|image|partition|gc|capabilities|domcapabilities|domxml-(to|from)-native|network)|rpc\/(client\/remote-driver|server\/index)|driver\/(agent-exec|test\/test-driver)|runtime\/(run-in-container|domain-(devices|saving|interaction|inspection|tuning)|node-information)|nodedev\/node-devices|interface\/host-interfaces)\.ts$/;
    build.onResolve({ filter: /\.ts$/ }, ({ path, kind, resolveDir }) => {
      if (kind !== 'dynamic-import') return undefined;
      const full = new URL(path, `file://${resolveDir}/`).pathname;
      // Texts for a run that failed, which has time to read another file.
      if (full.endsWith('/doctor/knowledge.ts')) return { path: './cli-knowledge.cjs', external: true };
      // The launcher takes the other bundle for containers, and for guests that need networks or pools.
      if (full.endsWith('/driver/open-siblings.ts')) return { path: full, namespace: 'no-siblings' };
      return elsewhere.test(full) || others.test(full) ? { path: full, namespace: 'elsewhere' } : undefined;
    });
    build.onLoad({ filter: /.*/, namespace: 'no-siblings' }, () => ({
      contents: 'export const openSiblings = undefined;',
    }));
    build.onLoad({ filter: /.*/, namespace: 'elsewhere' }, () => ({
      contents: "throw new Error('this is not in the bundle of nestling run');",
    }));
  },
});
/** Of the other kind of guests, and what only its clients ask a container for. */
const NO_CONTAINERS = /\/lxc\/runtime\/(lxc-driver|describe-plan)\.ts$/;
const ONLY_CONTAINERS =
  /\/(cli\/run-plan|qemu\/runtime\/qemu-driver|runtime\/(container-(devices|inspection|tuning|exec)|native-formats|lxc-capabilities|lxc-node|describe-plan|reattach-containers))\.ts$/;

const command = {
  ...shared,
  format: 'cjs',
  // In code run by node:vm an import() would need an experimental loader; require() is at hand.
  supported: { 'dynamic-import': false },
  // Where it is used, __filename stands in for it.
  logOverride: { 'empty-import-meta': 'silent' },
  outdir: 'dist',
  outExtension: { '.js': '.cjs' },
  minify: true,
};
/** What the launcher compiles is the function that Node would make of a CommonJS file, so that it need not copy the text. */
const compiled = {
  ...command,
  banner: { js: '(function (exports, require, module, __filename, __dirname) {' },
  footer: { js: '})' },
  metafile: true,
};
const run = { ...compiled, entryPoints: { 'cli-run': 'src/cli/main.ts' }, plugins: [onlyRun(NO_CONTAINERS)] };
const container = {
  ...compiled,
  entryPoints: { 'cli-container': 'src/cli/main.ts' },
  plugins: [onlyRun(ONLY_CONTAINERS)],
};

/**
 * Shell and JavaScript in one. The extra certificates of the environment cost 45 ms of every start and are of no use here. Node looks for
 * prime numbers by chance at its start, by which its hash tables are safe from whoever makes names to slow them: with this seed it finds
 * them at once (decision 029). A run has its own user's definition; all others, the daemon among them, keep to chance.
 */
const LAUNCHER_HEAD = `#!/bin/sh
':' //; unset NODE_EXTRA_CA_CERTS; case $1 in run) exec node --random-seed=154 "$0" "$@";; *) exec node "$0" "$@";; esac`;

// For the test of what is in them.
const asked = { '--metafile-of-run': run, '--metafile-of-container': container }[process.argv[2] ?? ''];
if (asked !== undefined) {
  const { metafile } = await build({ ...asked, write: false });
  await new Promise((resolve) => process.stdout.write(JSON.stringify(metafile), resolve));
  process.exit();
}

rmSync('dist', { recursive: true, force: true });
await Promise.all([
  build({
    ...shared,
    entryPoints: {
      index: 'src/index.ts',
      qmp: 'src/qmp/index.ts',
      cgroup: 'src/cgroup/index.ts',
      rootfs: 'src/rootfs/index.ts',
    },
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

/** The command: a launcher that reads V8's code cache, and the bundles that it runs. CommonJS starts 9 ms sooner than ESM. */
async function buildCommand() {
  await Promise.all([
    build({ ...compiled, entryPoints: { 'cli-main': 'src/cli/main.ts' } }),
    build(run),
    build(container),
    build({ ...command, entryPoints: { 'cli-knowledge': 'src/doctor/knowledge.ts' } }),
  ]);
  const hashOf = (name) =>
    createHash('sha256')
      .update(readFileSync(`dist/${name}.cjs`))
      .digest('hex')
      .slice(0, 16);
  await build({
    ...command,
    entryPoints: { cli: 'src/cli/launch.ts' },
    define: {
      ...shared.define,
      NESTLING_BUNDLE_HASHES: JSON.stringify(
        Object.fromEntries(['cli-main', 'cli-run', 'cli-container'].map((name) => [name, hashOf(name)])),
      ),
    },
    banner: { js: LAUNCHER_HEAD },
  });
  chmodSync('dist/cli.cjs', 0o755);
}

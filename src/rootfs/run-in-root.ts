/**
 * Runs a command in an image or a folder as if that were the whole system: its own /proc, a read-only /sys, a few devices, the host's
 * network and resolvers. Not booted, not a sandbox against root. Nothing is left mounted or running, however it ends.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { architectureOfElf, type BinfmtFacts, type ForeignPlan, planForeign, readBinfmtFacts } from '../host/binfmt.ts';
import type { ChildStdio } from '../process/child-stdio.ts';
import { ARCHITECTURES, findArchitecture } from './architecture.ts';
import { foreignArchitecture, usableForeign } from './foreign.ts';
import { requireImageName } from './image-name.ts';
import { failed, type Image, ImageStore, keyOfContent, type WorkFolder } from './image-store.ts';
import { runIsolated, spawnIsolated } from './isolated.ts';
import { resolveInRoot } from './path-in-root.ts';
import { ENTER, overlayOptions, planPrivateRoot } from './private-root.ts';
import { ensureTree } from './shared-tree.ts';
import { packFolder } from './tarballs.ts';

export interface RunInRootOptions {
  readonly store?: ImageStore | undefined;
  /** Keep what changes in a folder; an image never changes. Default: changes are thrown away. */
  readonly write?: boolean | undefined;
  /** Make an image of what there is afterwards, when the command ended with status 0. */
  readonly save?: string | undefined;
  /** Added to a small environment of its own. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Folder inside; default `/`. */
  readonly cwd?: string | undefined;
  /** Any world's name; default: the image's, or what the folder's programs are made for. */
  readonly arch?: string | undefined;
  readonly registerBinfmt?: boolean | undefined;
  /** fds 0, 1, 2; default: nothing, nothing, the end of it in the result. */
  readonly stdio?: readonly [ChildStdio, ChildStdio, ChildStdio] | undefined;
  /** Lines of its output, instead of `stdio`. */
  readonly onLine?: ((line: string) => void) | undefined;
  readonly facts?: BinfmtFacts | undefined;
  /** Ends the command (SIGKILL for all of it); the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface RunResult {
  /** As a shell says it: 128 + n for a signal. */
  readonly status: number;
  /** The last lines that it wrote, when they came to us. */
  readonly words: string;
  /** With `save`. */
  readonly saved?: Image | undefined;
}

/**
 * Runs `command` in an image (by name or key) or a folder (an absolute path, or one that begins with a dot).
 * @throws VirtError when there is no such root, its programs do not run here, or this process is not root; the signal's reason
 */
export async function runInRoot(
  target: string,
  command: readonly string[],
  options: RunInRootOptions = {},
): Promise<RunResult> {
  if (process.getuid?.() !== 0)
    throw failed(`running in ${target} needs root; run it with sudo`, ErrorCode.OPERATION_DENIED);
  if (options.save !== undefined) requireImageName(options.save);
  const store = options.store ?? new ImageStore();
  const root = await openRoot(store, target, options);
  using _held = root.image === undefined ? undefined : store.hold(root.image);
  await using work = store.openWorkFolder();
  const foreign = await foreignOf(root, options);
  const isMapped = foreign.kind === 'private';
  const source = layersOf(work, root.path, options);
  const spec = {
    command: 'sh',
    args: ['-c', ENTER, 'nestling', join(work.path, 'root'), options.cwd ?? '/', isMapped ? 'binfmt' : '-', ...command],
    env: environmentOf(root.image, options),
    prepare: planPrivateRoot({ mountPoint: join(work.path, 'root'), source, resolvConf: copyResolvers(work) }),
    ...(isMapped && { ids: 'same' as const, binfmt: [foreign.line] }),
  };
  const { result, words } = await follow(spec, options);
  const status = result.exitCode ?? 128 + (result.signal === undefined ? 0 : constants.signals[result.signal]);
  if (status !== 0 || options.save === undefined) return { status, words };
  return { status, words, saved: await save(store, work, { root, source, name: options.save, arch: root.arch }) };
}

interface OpenRoot {
  readonly path: string;
  readonly image: Image | undefined;
  /** Debian's name; undefined when nobody can tell. */
  readonly arch: string | undefined;
}

async function openRoot(
  store: ImageStore,
  target: string,
  { arch, write, signal }: RunInRootOptions,
): Promise<OpenRoot> {
  if (!isFolderName(target)) {
    if (write === true)
      throw failed(
        `image ${target} cannot be written to; --save NAME makes another image of what changes`,
        ErrorCode.INVALID_ARG,
      );
    const image = store.find(target, arch);
    return { path: await ensureTree(store, image, signal), image, arch: image.arch };
  }
  const path = resolve(target);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw failed(`there is no folder ${path}`, ErrorCode.INVALID_ARG);
  if (path === '/') throw failed('this is the root of the host itself', ErrorCode.INVALID_ARG);
  return { path, image: undefined, arch: arch === undefined ? archOfFolder(path) : findArchitecture(arch).name };
}

/** Names of images never begin so. */
export function isFolderName(target: string): boolean {
  return /^[./]/.test(target);
}

const PROGRAMS = ['/bin/sh', '/bin/busybox', '/usr/bin/env', '/sbin/init', '/bin/ls', '/bin/true'];

/** What the folder's usual programs are made for. */
export function archOfFolder(root: string): string | undefined {
  for (const program of PROGRAMS) {
    const path = resolveInRoot(root, program);
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) continue;
    const header = Buffer.alloc(64);
    const file = openSync(path, 'r');
    try {
      readSync(file, header, 0, header.length, 0);
    } finally {
      closeSync(file);
    }
    const qemu = architectureOfElf(header);
    if (qemu !== undefined) return ARCHITECTURES.find((architecture) => architecture.qemu === qemu)?.name;
  }
  return undefined;
}

async function foreignOf({ arch }: OpenRoot, { facts, registerBinfmt }: RunInRootOptions): Promise<ForeignPlan> {
  if (arch === undefined) return { kind: 'native' };
  const plan =
    facts === undefined
      ? foreignArchitecture(arch, { registerOnHost: registerBinfmt === true })
      : planForeign(findArchitecture(arch).qemu, facts ?? readBinfmtFacts(), {
          registerOnHost: registerBinfmt === true,
        });
  return await usableForeign(plan, arch);
}

function layersOf(
  work: WorkFolder,
  path: string,
  { write }: RunInRootOptions,
): Parameters<typeof planPrivateRoot>[0]['source'] {
  mkdirSync(join(work.path, 'root'));
  if (write === true) return { kind: 'folder', path };
  for (const name of ['upper', 'work']) mkdirSync(join(work.path, name), { mode: 0o755 });
  return { kind: 'overlay', lower: [path], upper: join(work.path, 'upper'), work: join(work.path, 'work') };
}

/** The host's file may be a link to what is not there inside. */
function copyResolvers(work: WorkFolder): string {
  const path = join(work.path, 'resolv.conf');
  writeFileSync(path, existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf') : '');
  return path;
}

function environmentOf(image: Image | undefined, { env = {} }: RunInRootOptions): NodeJS.ProcessEnv {
  const ofImage = Object.fromEntries(
    (image?.config?.env ?? []).map((entry) => [
      entry.slice(0, entry.indexOf('=')),
      entry.slice(entry.indexOf('=') + 1),
    ]),
  );
  const passed = Object.entries(process.env).filter(([name]) =>
    /^(TERM|COLORTERM|NESTLING_TEST_RUN|(https?|ftp|no|all)_proxy)$/i.test(name),
  );
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    LANG: 'C.UTF-8',
    container: 'nestling',
    ...Object.fromEntries(passed),
    ...ofImage,
    ...env,
  };
}

async function follow(
  spec: Parameters<typeof runIsolated>[0],
  { stdio, onLine, signal }: RunInRootOptions,
): Promise<{ result: { exitCode?: number; signal?: NodeJS.Signals }; words: string }> {
  if (stdio === undefined) {
    const result = await runIsolated(spec, { signal, ...(onLine !== undefined && { onLine }) });
    return { result, words: result.words };
  }
  await using child = await spawnIsolated({ ...spec, stdio }, { signal, lifetime: signal });
  const result = await child.exited;
  signal?.throwIfAborted();
  return { result, words: result.stderrTail };
}

async function save(
  store: ImageStore,
  work: WorkFolder,
  {
    root,
    source,
    name,
    arch,
  }: { root: OpenRoot; source: ReturnType<typeof layersOf>; name: string; arch: string | undefined },
): Promise<Image> {
  const lower = source.kind === 'overlay' ? [source.upper, ...source.lower] : undefined;
  const packed = await packFolder(
    work.path,
    lower === undefined ? { folder: root.path } : { overlay: overlayOptions({ lower }) },
  );
  const ofArch = arch ?? findArchitecture().name;
  return await store.publish(work.path, {
    key: keyOfContent(name, ofArch, packed.hash),
    name,
    arch: ofArch,
    tarball: packed.tarball,
    origin: `saved from ${root.image?.name ?? root.path}`,
    ...(root.image?.config !== undefined && { config: root.image.config }),
  });
}

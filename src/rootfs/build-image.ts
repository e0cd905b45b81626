/**
 * Builds images: takes a plan, looks what of it is in the store, and carries the rest out in namespaces of its own, so that a build that is
 * killed leaves neither mounts nor processes, and its half result is collected.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { LogSource } from '../core/log-source.ts';
import { sha256Hex } from '../core/sha256.ts';
import { type BinfmtFacts, type ForeignPlan, planForeign, readBinfmtFacts } from '../host/binfmt.ts';
import { lookUpProgram } from '../process/find-program.ts';
import type { BuildOptions, BuildPlan } from './build-plan.ts';
import { explainBuilder } from './builder-words.ts';
import { usableForeign } from './foreign.ts';
import { readFreshness } from './freshness.ts';
import { failed, type Image, ImageStore, tarballName } from './image-store.ts';
import { runIsolated } from './isolated.ts';
import { fillIn, planBuild } from './plan-build.ts';

const log = new LogSource('lxc.lxc_container');

/** What a person who waits is told. */
export interface BuildProgress {
  /** What is done now: `debian:bookworm by mmdebstrap`. */
  readonly title: string;
  /** The builder's own line. */
  readonly line: string;
}

export interface BuildImageOptions extends BuildOptions {
  readonly store?: ImageStore | undefined;
  /**
   * `use` (default): an image of the same plan and the same state of the mirror is taken, and one of the same plan when the mirror does not
   * answer; `refresh`: not in the latter case; `none`: built anew in any case.
   */
  readonly cache?: 'use' | 'refresh' | 'none' | undefined;
  /** Registers an emulator for the whole host where the kernel cannot do it for one build. */
  readonly registerBinfmt?: boolean | undefined;
  readonly onProgress?: ((progress: BuildProgress) => void) | undefined;
  readonly onNote?: ((note: string) => void) | undefined;
  readonly facts?: BinfmtFacts | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BuiltImage {
  readonly image: Image;
  /** It was in the store. */
  readonly isCached: boolean;
}

/**
 * Builds `debian:bookworm` and its like, or finds it in the store.
 * @throws VirtError INVALID_ARG for what cannot be meant, OPERATION_FAILED with the builder's own words, RESOURCE_BUSY when another process
 * builds the same; the signal's reason
 */
export async function buildImage(name: string, options: BuildImageOptions = {}): Promise<BuiltImage> {
  const { signal, onNote = () => undefined } = options;
  const plan = choosePlan(name, options);
  const store = options.store ?? new ImageStore();
  const freshness = await readFreshness(plan.freshness, signal);
  const planKey = keyOf(plan);
  const key = freshness.hash === undefined ? planKey : sha256Hex(`${planKey} ${freshness.hash}`).slice(0, 32);
  log.debug('buildImage', () => `${plan.name} for ${plan.architecture.name} is ${key}`);
  const cached =
    options.cache === 'none'
      ? undefined
      : findCached(store, { key, planKey, isKnown: freshness.hash !== undefined }, options);
  if (cached !== undefined) {
    if (freshness.hash === undefined)
      onNote(`the mirror does not answer: taking the image of ${cached.made.slice(0, 10)}`);
    return { image: cached, isCached: true };
  }
  if (freshness.isMissing && options.archive !== true)
    onNote(`the mirror has no ${plan.name}; old releases are found with --archive`);
  for (const note of plan.notes) onNote(note);
  const tools = requireTools(plan);
  const foreign = await usableForeign(
    planForeign(plan.architecture.qemu, options.facts ?? readBinfmtFacts(), {
      registerOnHost: options.registerBinfmt === true,
    }),
    plan.architecture.name,
  );
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && foreign.kind === 'private') {
    throw failed(
      `building ${plan.name} for ${plan.architecture.name} needs root: its programs are registered in a namespace of root's; run it with sudo`,
      ErrorCode.OPERATION_DENIED,
    );
  }
  using _lock = store.lock(key);
  return {
    image: await carryOut(store, plan, { key, planKey, keyring: tools.keyring, foreign }, options),
    isCached: false,
  };
}

/** With the tools that this host has: the older one where the usual one is missing, unless one was asked for. @throws what `planBuild` throws */
export function choosePlan(name: string, options: BuildOptions): BuildPlan {
  const isRoot = process.getuid?.() === 0;
  const plan = planBuild(name, isRoot ? options : { ...options, mode: options.mode ?? modeWithoutRoot() });
  const lacks = (program: string): boolean => lookUpProgram(program) === undefined;
  if (plan.builder !== 'mmdebstrap' || options.builder !== undefined || !lacks('mmdebstrap') || lacks('debootstrap'))
    return plan;
  const other = planBuild(name, { ...options, builder: 'debootstrap' });
  const note = 'mmdebstrap is not installed: debootstrap is slower, and leaves updates to the new root';
  return { ...other, notes: [...other.notes, note] };
}

/** The plan's own part of the key: what is built how, wherever. */
function keyOf({ name, architecture, steps, files, keyring }: BuildPlan): string {
  return sha256Hex(JSON.stringify([name, architecture.name, steps, files, keyring?.paths])).slice(0, 32);
}

function findCached(
  store: ImageStore,
  { key, planKey, isKnown }: { key: string; planKey: string; isKnown: boolean },
  { cache }: BuildImageOptions,
): Image | undefined {
  const exact = store.get(key);
  if (isKnown && exact !== undefined) return exact;
  if (isKnown || cache === 'refresh') return undefined;
  return exact ?? store.list().find((image) => image.planKey === planKey);
}

/** @throws VirtError that names the packages which bring what is missing */
export function requireTools({ needs, keyring, name, builder }: BuildPlan): { keyring: string | undefined } {
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && (builder !== 'mmdebstrap' || modeWithoutRoot() === undefined)) throw needsRoot(name, builder);
  const missing = needs.filter(({ program }) => lookUpProgram(program) === undefined);
  if (missing.length > 0) {
    const programs = missing.map(({ program }) => program).join(' and ');
    const packages = missing.map(({ debianPackage }) => debianPackage).join(' ');
    throw failed(`cannot build ${name}: ${programs} not found; install it: apt-get install ${packages}`);
  }
  if (keyring === undefined) return { keyring: undefined };
  const found = keyring.paths.find((path) => existsSync(path));
  if (found !== undefined) return { keyring: found };
  const setUp = keyring.setUp === undefined ? '' : `, then ${keyring.setUp}`;
  const fix = keyring.debianPackage === '' ? '' : ` (Debian package ${keyring.debianPackage}${setUp})`;
  throw failed(
    `cannot build ${name}: there is no ${keyring.paths[0]}${fix}, which has the keys that sign it; --keyring FILE names another, --insecure checks none`,
  );
}

/** What lets mmdebstrap do without root: ids of this user's own, or programs that pretend. Undefined: nothing here does. */
export function modeWithoutRoot({
  etc = '/etc',
  user = userNames(),
  has = (program: string): boolean => lookUpProgram(program) !== undefined,
} = {}): 'unshare' | 'fakechroot' | undefined {
  const hasRange = (file: string): boolean =>
    existsSync(join(etc, file)) &&
    readFileSync(join(etc, file), 'utf8')
      .split('\n')
      .some((line) => user.includes(line.split(':')[0] ?? ''));
  if (hasRange('subuid') && hasRange('subgid') && has('newuidmap')) return 'unshare';
  return has('fakechroot') && has('fakeroot') ? 'fakechroot' : undefined;
}

function userNames(): string[] {
  const uid = String(process.getuid?.() ?? 0);
  try {
    return [userInfo().username, uid];
  } catch {
    // A number that /etc/passwd does not know.
    return [uid];
  }
}

function needsRoot(name: string, builder: string): Error {
  const [user = ''] = userNames();
  const fix =
    builder === 'mmdebstrap'
      ? `, or give this user ids of its own (package uidmap): usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user}`
      : '';
  return failed(
    `building ${name} by ${builder} needs root: it makes files of many users; run it with sudo${fix}`,
    ErrorCode.OPERATION_DENIED,
  );
}

interface Target {
  readonly key: string;
  readonly planKey: string;
  readonly keyring: string | undefined;
  readonly foreign: ForeignPlan;
}

async function carryOut(
  store: ImageStore,
  plan: BuildPlan,
  target: Target,
  options: BuildImageOptions,
): Promise<Image> {
  await using work = store.openWorkFolder();
  const tarball = tarballName(lookUpProgram('zstd') !== undefined);
  const paths = {
    root: join(work.path, 'root'),
    output: join(work.path, tarball),
    work: join(work.path, 'work'),
    keyring: target.keyring,
  };
  mkdirSync(paths.root, { mode: 0o755 });
  mkdirSync(paths.work, { mode: 0o755 });
  for (const [file, text] of Object.entries(plan.files)) writeFileSync(join(paths.work, file), fillIn(text, paths));
  for (const step of plan.steps) {
    const onLine = (line: string): void => options.onProgress?.({ title: step.title, line });
    const isForeign = target.foreign.kind === 'private';
    const own = Object.fromEntries(Object.entries(step.env ?? {}).map(([name, text]) => [name, fillIn(text, paths)]));
    const result = await runIsolated(
      {
        command: step.command,
        args: step.args.map((arg) => fillIn(arg, paths)),
        env: { ...builderEnvironment(paths.work), ...own },
        plain: process.getuid?.() !== 0,
        ...(isForeign && { ids: 'same' as const, binfmt: [target.foreign.line] }),
      },
      { signal: options.signal, onLine },
    );
    if (result.exitCode !== 0) throw buildError(plan, step.command, result);
  }
  return await store.publish(work.path, {
    key: target.key,
    planKey: target.planKey,
    name: plan.name,
    arch: plan.architecture.name,
    tarball,
    origin: `built by ${plan.builder}`,
  });
}

/** Builders find their tools, proxies and a place for temporary files, and speak English; nothing else of ours reaches them. */
function builderEnvironment(work: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) =>
    /^(PATH|HOME|USER|TMPDIR|NESTLING_TEST_RUN|(https?|ftp|no|all)_proxy)$/i.test(name),
  );
  // Other ids of an ordinary user cannot walk to its own folders.
  const temporary = process.getuid?.() === 0 ? { TMPDIR: work } : {};
  return { ...Object.fromEntries(kept), ...temporary, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' };
}

function buildError(
  { name, architecture }: BuildPlan,
  command: string,
  result: { exitCode?: number; signal?: string; words: string; stderrTail: string },
): Error {
  const { cause, fix } = explainBuilder(result.words);
  const end = result.exitCode === undefined ? `was ended by ${result.signal}` : `ended with status ${result.exitCode}`;
  return failed(
    `cannot build ${name} for ${architecture.name}: ${command} ${end}${cause === '' ? '' : `: ${cause}`}${fix === undefined ? '' : `; ${fix}`}`,
  );
}

/**
 * Fetches the distribution's kernel for virtual machines as a package and unpacks it into the cache. Nothing is installed and
 * `/boot` is not touched. Once cached, that kernel stays until the cache is removed (`./dev clean`): no network needed.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildOnce, cacheDirectory } from './cache.ts';

const run = promisify(execFile);
const ENTRY_PREFIX = 'kernel-';

export interface TestKernel {
  /** Package and version: enough to tell two kernels apart. */
  id: string;
  /** Path of the bootable image. */
  image: string;
  /** Directory of its modules (`lib/modules/VERSION`). */
  modules: string;
}

/** The kernel in the cache, else the one behind the distribution's package for virtual machines, downloaded by apt. */
export async function testKernel(): Promise<TestKernel> {
  return findCached() ?? (await fetchKernel());
}

function findCached(): TestKernel | undefined {
  if (!existsSync(cacheDirectory())) return undefined;
  const [entry] = readdirSync(cacheDirectory())
    .filter((name) => name.startsWith(ENTRY_PREFIX))
    .sort()
    .reverse();
  return entry === undefined ? undefined : describe(join(cacheDirectory(), entry), entry);
}

async function fetchKernel(): Promise<TestKernel> {
  const meta = await kernelMetaPackage();
  try {
    return await download(await packageBehind(meta));
  } catch (error) {
    // Missing and outdated package lists both look like "not found"; fresh ones settle it.
    await updatePackageLists(error);
    return await download(await packageBehind(meta));
  }
}

async function updatePackageLists(reason: unknown): Promise<void> {
  try {
    await run('apt-get', ['update', '-q']);
  } catch (error) {
    throw new Error(`fetch the test kernel: ${String(reason)}; then apt-get update failed too: ${String(error)}`, {
      cause: error,
    });
  }
}

async function kernelMetaPackage(): Promise<string> {
  const { stdout } = await run('dpkg', ['--print-architecture']);
  const ubuntu = /^ID(_LIKE)?=.*ubuntu/m.test(readFileSync('/etc/os-release', 'utf8'));
  return ubuntu ? 'linux-image-virtual' : `linux-image-cloud-${stdout.trim()}`;
}

/** The real package that a meta package such as `linux-image-cloud-amd64` stands for now. */
async function packageBehind(meta: string): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', '--no-recommends', '--no-suggests', meta]);
  const name = /Depends: (linux-image-\d\S+)/.exec(stdout)?.[1];
  if (name === undefined) throw new Error(`find the kernel package behind ${meta}: apt knows none; run apt-get update`);
  return name;
}

async function download(image: string): Promise<TestKernel> {
  // Ubuntu has the modules in a package of their own.
  const modules = image.replace('linux-image-', 'linux-modules-');
  const version = await candidateVersion(image);
  if (version === undefined) throw new Error(`download ${image}: apt has no version of it; run apt-get update`);
  const packages = (await candidateVersion(modules)) === undefined ? [image] : [image, modules];
  const key = `${ENTRY_PREFIX}${image}_${version}`.replaceAll(':', '-');
  const entry = await buildOnce(key, (into) => unpackPackages(packages, into));
  const kernel = describe(entry, key);
  if (!kernel) throw new Error(`unpack ${packages.join(' and ')}: no kernel image or no modules in them`);
  return kernel;
}

async function candidateVersion(name: string): Promise<string | undefined> {
  const { stdout } = await run('apt-cache', ['policy', name]);
  const version = /Candidate: (\S+)/.exec(stdout)?.[1];
  return version === '(none)' ? undefined : version;
}

async function unpackPackages(packages: string[], into: string): Promise<void> {
  const archives = await mkdtemp(join(cacheDirectory(), '.download-'));
  try {
    // As root, apt would download as the user _apt, who may not be able to write here.
    await run('apt-get', ['download', '-q', '-o', 'APT::Sandbox::User=root', ...packages], { cwd: archives });
    for (const archive of readdirSync(archives)) await run('dpkg-deb', ['-x', join(archives, archive), into]);
  } finally {
    await rm(archives, { recursive: true, force: true });
  }
}

function describe(directory: string, id: string): TestKernel | undefined {
  const boot = join(directory, 'boot');
  const image = existsSync(boot) ? readdirSync(boot).find((name) => name.startsWith('vmlinu')) : undefined;
  const trees = ['lib/modules', 'usr/lib/modules']
    .map((path) => join(directory, path))
    .filter((path) => existsSync(path));
  const [tree] = trees;
  const version = tree === undefined ? undefined : readdirSync(tree)[0];
  if (image === undefined || tree === undefined || version === undefined) return undefined;
  return { id, image: join(boot, image), modules: join(tree, version) };
}

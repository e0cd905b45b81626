/**
 * A disk image with this host's own Node, some tools and QEMU, and the libraries that they need, so that test guests run our code
 * without a network and without a distribution of their own. Read-only in use; cached by what is in it.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { cp, mkdir, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findProgram, lookUpProgram } from '../../../src/process/find-program.ts';
import { buildOnce } from './cache.ts';

const run = promisify(execFile);
const MODULES = fileURLToPath(new URL('../../../node_modules/', import.meta.url));

/** What busybox has not, or has without the options that matter. */
const TOOLS = ['unshare', 'nsenter', 'setpriv', 'taskset', 'prlimit', 'nice', 'env'];
const QEMU = 'qemu-system-x86_64';
/** Directories of firmware; QEMU's own holds links into the others. */
const FIRMWARE = ['/usr/share/seabios', '/usr/share/qemu'];
/** What q35 without graphics and network cards loads. */
const FIRMWARE_FILES = /^(bios.*|kvmvapic|linuxboot.*|vgabios-stdvga)\.bin$/;
/** npm packages that bundles keep as imports. */
const PACKAGES = ['koffi', '@koromix'];
/** Changes when the image is made otherwise from the same files. */
const IMAGE_VERSION = '1';

/** Programs that must be here to make images, with the packages that bring them. */
const IMAGE_TOOLS: Readonly<Record<string, string>> = { 'mkfs.ext4': 'e2fsprogs', ldd: 'libc-bin' };

export interface GuestNeeds {
  /** More programs, with the packages that bring them. */
  readonly tools?: Readonly<Record<string, string>>;
  /** Files of other owners are made. */
  readonly root?: boolean;
}

/** Why this host cannot make guests that run our programs; undefined: it can. Where all tests must run (CI) that is an error. */
export function whyNoProgramGuests({ tools = {}, root = false }: GuestNeeds = {}): string | undefined {
  const missing = Object.entries({ ...IMAGE_TOOLS, ...tools }).filter(([name]) => lookUpProgram(name) === undefined);
  const reasons = missing.map(([name, debianPackage]) => `${name} is not here: apt-get install ${debianPackage}`);
  if (process.arch !== 'x64') reasons.push(`the guests take this host's Node, which is for ${process.arch}`);
  if (root && process.getuid?.() !== 0) reasons.push('making the disk takes root');
  if (reasons.length === 0) return undefined;
  const why = reasons.join('; ');
  if (process.env['CI'] !== undefined) throw new Error(`make guests that run our programs: ${why}`);
  return why;
}

/**
 * Path of an ext4 image with `usr/bin/node`, tools (and more of them), QEMU (where installed) and `node_modules`. As in merged distributions, `bin`, `lib` and
 * `lib64` are links into `usr`.
 */
export async function nodeImage(tools: readonly string[] = []): Promise<string> {
  const files = await collectFiles([...TOOLS, ...tools]);
  const hash = createHash('sha256').update(IMAGE_VERSION);
  for (const [target, source] of files) {
    const { size, mtimeMs } = statSync(source);
    hash.update(`${target} ${size} ${mtimeMs}\n`);
  }
  hash.update(readFileSync(join(MODULES, 'koffi/package.json')));
  const entry = await buildOnce(`node-image-${hash.digest('hex').slice(0, 16)}`, async (into) => {
    const tree = join(into, 'tree');
    for (const [target, source] of files) {
      await mkdir(dirname(join(tree, target)), { recursive: true });
      await cp(source, join(tree, target), { dereference: true });
    }
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(tree, name));
    for (const name of PACKAGES) await cp(join(MODULES, name), join(tree, 'node_modules', name), { recursive: true });
    await makeExt4(tree, join(into, 'node.ext4'));
    await rm(tree, { recursive: true });
  });
  return join(entry, 'node.ext4');
}

/** Makes an ext4 image of a directory, with some room to spare. */
export async function makeExt4(tree: string, image: string): Promise<void> {
  const { stdout } = await run('du', ['-sk', '--apparent-size', tree]);
  const sizeKiB = Math.ceil(Number.parseInt(stdout, 10) * 1.15) + 16 * 1024;
  // Read-only in use: no journal, nothing reserved.
  const options = ['-q', '-F', '-m', '0', '-O', '^has_journal', '-E', 'lazy_itable_init=0,root_owner=0:0'];
  await run(findProgram('mkfs.ext4'), [...options, '-d', tree, image, `${sizeKiB}k`]);
}

/** Where each file goes in the image (without leading slash) and where it is here. */
async function collectFiles(tools: readonly string[]): Promise<Map<string, string>> {
  const programs = new Map([['usr/bin/node', realpathSync(process.execPath)], ...qemuPrograms()]);
  for (const tool of tools) programs.set(`usr/bin/${tool}`, findProgram(tool));
  const libraries = await librariesOf(programs.values());
  return new Map([
    ...programs,
    ...[...libraries].map((path): [string, string] => [merged(path), realpathSync(path)]),
    ...(programs.has(`usr/bin/${QEMU}`) ? firmware() : []),
  ]);
}

/** QEMU and its TCG accelerator, which is a module in some distributions. */
function qemuPrograms(): [string, string][] {
  const program = ['/usr/bin', '/usr/local/bin'].map((path) => join(path, QEMU)).find((path) => existsSync(path));
  if (program === undefined) return [];
  const modules = '/usr/lib/x86_64-linux-gnu/qemu';
  const accelerators = listDirectory(modules).filter((name) => name.startsWith('accel-tcg-x86'));
  return [
    [`usr/bin/${QEMU}`, realpathSync(program)],
    ...accelerators.map((name): [string, string] => [merged(join(modules, name)), join(modules, name)]),
  ];
}

function firmware(): [string, string][] {
  return FIRMWARE.flatMap((directory) =>
    listDirectory(directory)
      .filter((name) => FIRMWARE_FILES.test(name) && existsSync(join(directory, name)))
      .map((name): [string, string] => [merged(join(directory, name)), realpathSync(join(directory, name))]),
  );
}

function listDirectory(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

/** All libraries of these programs, the loader included. */
async function librariesOf(programs: Iterable<string>): Promise<Set<string>> {
  const libraries = new Set<string>();
  for (const program of programs) {
    const { stdout } = await run('ldd', [program]).catch((error: unknown) => {
      throw new Error(`list the libraries of ${program}: ${String(error)}`, { cause: error });
    });
    const missing = /^\s*(\S+) => not found/m.exec(stdout)?.[1];
    if (missing !== undefined) throw new Error(`list the libraries of ${program}: ${missing} is not here`);
    for (const [, path = ''] of stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)) libraries.add(path);
  }
  return libraries;
}

/** `/lib/x` and `/usr/lib/x` are one place. */
function merged(path: string): string {
  const relative = path.replace(/^\//, '');
  const [top = ''] = relative.split('/');
  if (!['lib', 'lib64', 'bin', 'sbin'].includes(top)) return relative;
  return `usr/${dirname(relative)}/${basename(relative)}`;
}

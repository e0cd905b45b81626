/**
 * The folder of images: one folder for each content key, with the tarball, what it is, and the unpacked tree that overlays share. A folder
 * appears under its key in one step. What is being made is in the ledger, so that a killed build leaves nothing.
 */
import {
  type Dirent,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { removeTree } from '../core/fs.ts';
import { prepareRuntimeDir } from '../core/fs-runtime-dir.ts';
import { Ledger } from '../core/ledger.ts';
import { acquireLockFile, LockedError } from '../core/lock-file.ts';
import { randomHex } from '../core/random.ts';
import { sha256Hex } from '../core/sha256.ts';
import { defaultCacheDir, writeCacheFile } from '../host/cache-file.ts';
import { lookUpArchitecture } from './architecture.ts';

/** What is known of an image; the file `image.json`. */
export interface Image {
  /** 32 hexadecimal digits. */
  readonly key: string;
  readonly name: string;
  /** Debian's name of it. */
  readonly arch: string;
  /** ISO 8601. */
  readonly made: string;
  /** Of the tarball. */
  readonly sizeBytes: number;
  /** The tarball's file name in the image's folder. */
  readonly tarball: string;
  /** `built`, `imported` or `saved`, and from what. */
  readonly origin: string;
  /** Of what it was built by, whatever the mirror had then. */
  readonly planKey?: string;
  /** What an OCI image says of its programs. */
  readonly config?: ImageConfig;
}

export interface ImageConfig {
  readonly env?: readonly string[];
  readonly cmd?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly user?: string;
  readonly workingDir?: string;
}

export interface ImageStoreOptions {
  /** Default: `images` in Nestling's cache folder. */
  readonly dir?: string | undefined;
  /** Default: the runtime folder's. */
  readonly ledgerDir?: string | undefined;
}

const KEY = /^[0-9a-f]{32}$/;
const DESCRIPTION = 'image.json';
const TREE = 'tree';
const OVERLAY = 'overlay-';

export class ImageStore {
  readonly dir: string;
  readonly ledgerDir: string;

  constructor({ dir, ledgerDir }: ImageStoreOptions = {}) {
    const cache = dir ?? defaultCacheDir();
    if (cache === undefined)
      throw failed('there is no home folder for images; set NESTLING_CACHE_DIR', ErrorCode.OPERATION_FAILED);
    this.dir = dir ?? join(cache, 'images');
    this.ledgerDir = ledgerDir ?? join(prepareRuntimeDir(), 'ledger');
  }

  /** Newest first. What is not an image is passed over. */
  list(): Image[] {
    const images = entriesOf(this.dir)
      .filter((entry) => entry.isDirectory() && KEY.test(entry.name))
      .flatMap(({ name }) => readImage(join(this.dir, name), name));
    return images.sort((one, other) => other.made.localeCompare(one.made));
  }

  /** The newest image of that name, or the one with that key (8 digits of it do). @throws VirtError NO_STORAGE_VOL */
  find(nameOrKey: string, arch?: string): Image {
    const wantedArch = arch === undefined ? undefined : (lookUpArchitecture(arch)?.name ?? arch);
    const all = this.list();
    const isKey = /^[0-9a-f]{8,32}$/.test(nameOrKey);
    const named = all.filter(({ name, key }) => name === nameOrKey || (isKey && key.startsWith(nameOrKey)));
    const found = named.find((image) => wantedArch === undefined || image.arch === wantedArch);
    if (found !== undefined) return found;
    const others = [...new Set(named.map((image) => image.arch))].join(', ');
    const why = others === '' ? '' : ` for ${wantedArch} (there is one for ${others})`;
    const isFolder = statSync(nameOrKey, { throwIfNoEntry: false })?.isDirectory() === true;
    const help = isFolder
      ? `if the folder is meant, write ./${nameOrKey}`
      : `'nestling image build' makes one, 'nestling image list' shows all`;
    throw failed(`there is no image '${nameOrKey}'${why}; ${help}`, ErrorCode.NO_STORAGE_VOL);
  }

  /** The image of that key, if there is one. */
  get(key: string): Image | undefined {
    return readImage(join(this.dir, key), key)[0];
  }

  tarballOf({ key, tarball }: Image): string {
    return join(this.dir, key, tarball);
  }

  /** Where the unpacked tree is, or will be. */
  treeOf({ key }: Image): string {
    return join(this.dir, key, TREE);
  }

  /**
   * One builder of a key at a time. @throws VirtError RESOURCE_BUSY when another makes it
   */
  lock(key: string): Disposable {
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    try {
      return acquireLockFile(join(this.dir, `${key}.lock`));
    } catch (cause) {
      if (!(cause instanceof LockedError)) throw cause;
      throw failed(
        `image ${key.slice(0, 12)} is being made by process ${cause.pid ?? 'of another container'}; wait for it`,
        ErrorCode.RESOURCE_BUSY,
        cause,
      );
    }
  }

  /** An empty folder on the images' file system that is gone with its owner, however that ends. */
  openWorkFolder(): WorkFolder {
    // Old set-user-id programs are nothing for the users of this host to reach.
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    const path = join(this.dir, `.work-${randomHex(8)}`);
    const ledger = Ledger.open(this.ledgerDir);
    const entry = ledger.record('directory', { path, root: this.dir });
    mkdirSync(path, { mode: 0o700 });
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        await removeTree(path, { root: this.dir });
        entry.done();
        ledger[Symbol.dispose]();
      },
    };
  }

  /** Makes `folder/TARBALL` an image: it is there as a whole, or not at all. An image of the same key is replaced. */
  async publish(folder: string, image: Omit<Image, 'sizeBytes' | 'made'>): Promise<Image> {
    const staged = join(folder, 'image');
    const full: Image = {
      ...image,
      made: new Date().toISOString(),
      sizeBytes: statSync(join(folder, image.tarball)).size,
    };
    mkdirSync(staged, { mode: 0o755 });
    renameSync(join(folder, image.tarball), join(staged, image.tarball));
    writeCacheFile(join(staged, DESCRIPTION), full);
    const final = join(this.dir, image.key);
    if (existsSync(final)) await this.remove(full);
    renameSync(staged, final);
    return full;
  }

  /** Says that this process uses an image's tree, so that nobody removes it. */
  hold({ key }: Image): Disposable {
    const folder = join(this.dir, key, 'uses');
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    return acquireLockFile(join(folder, randomHex(8)));
  }

  /** Says that the image's tree is needed for as long as `folder` is there: also while the overlay of it is not mounted. */
  keepFor({ key }: Image, folder: string): void {
    const uses = join(this.dir, key, 'uses');
    mkdirSync(uses, { recursive: true, mode: 0o755 });
    writeFileSync(join(uses, `${OVERLAY}${randomHex(8)}`), folder, { mode: 0o644 });
  }

  /** @throws VirtError RESOURCE_BUSY when something runs on it or has it mounted */
  async remove(image: Image): Promise<void> {
    const folder = join(this.dir, image.key);
    const user = this.#userOf(image);
    if (user !== undefined) {
      throw failed(
        `image ${image.name} (${image.key.slice(0, 12)}) is in use: ${user}; end or remove that first`,
        ErrorCode.RESOURCE_BUSY,
      );
    }
    // Under a name that is no key first: nobody finds half an image.
    const doomed = join(this.dir, `.work-${randomHex(8)}`);
    using ledger = Ledger.open(this.ledgerDir);
    const entry = ledger.record('directory', { path: doomed, root: this.dir });
    renameSync(folder, doomed);
    await removeTree(doomed, { root: this.dir });
    entry.done();
  }

  #userOf(image: Image): string | undefined {
    const uses = join(this.dir, image.key, 'uses');
    for (const { name } of entriesOf(uses)) {
      if (name.startsWith(OVERLAY)) {
        const folder = readFileSync(join(uses, name), 'utf8');
        if (existsSync(folder)) return `${folder} is what was changed of it, and nothing without it`;
      }
      if (!/^[0-9a-f]{16}$/.test(name)) continue;
      try {
        // One whose owner is dead can be had.
        acquireLockFile(join(uses, name))[Symbol.dispose]();
      } catch (error) {
        if (error instanceof LockedError) return `process ${error.pid ?? 'of another container'} runs on it`;
        throw error;
      }
    }
    const mounted = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((line) => line.includes(this.treeOf(image)));
    return mounted === undefined ? undefined : `${mounted.split(' ')[4]} is mounted over it`;
  }
}

export interface WorkFolder extends AsyncDisposable {
  readonly path: string;
}

/** Of an image that was not built here: the same content under two names is two images. */
export function keyOfContent(name: string, arch: string, hash: string): string {
  return sha256Hex(`${name} ${arch} ${hash}`).slice(0, 32);
}

/** Of a tarball that is being made: zstd packs ten times as fast as gzip, where it is installed. */
export function tarballName(hasZstd: boolean): string {
  return hasZstd ? 'root.tar.zst' : 'root.tar.gz';
}

function readImage(folder: string, key: string): Image[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(join(folder, DESCRIPTION), 'utf8'));
  } catch {
    // Not an image of ours, or a damaged one: to be built anew.
    return [];
  }
  if (!isImage(value) || !existsSync(join(folder, value.tarball))) return [];
  return [{ ...value, key }];
}

function isImage(value: unknown): value is Image {
  if (typeof value !== 'object' || value === null) return false;
  const texts = ['name', 'arch', 'made', 'tarball', 'origin'];
  const fields: Readonly<Record<string, unknown>> = { ...value };
  const tarball = fields['tarball'];
  return (
    texts.every((name) => typeof fields[name] === 'string') &&
    typeof fields['sizeBytes'] === 'number' &&
    typeof tarball === 'string' &&
    !tarball.includes('/')
  );
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** An error of this folder. */
export function failed(message: string, code: ErrorCode = ErrorCode.OPERATION_FAILED, cause?: unknown): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.LXC, ...(cause !== undefined && { cause }) });
}

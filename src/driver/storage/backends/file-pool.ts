/** Pools whose volumes are files of a folder: `dir`, and `fs` and `netfs`, whose folder is mounted first. */
import { type BigIntStats, promises as fs, lstatSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ErrorCode } from '../../../core/errors.ts';
import type { LedgerEntry } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import { findMount } from '../../../host/mounts.ts';
import type { PoolSource } from '../../../model/storage/pool.ts';
import type { VolumeRequest } from '../../../model/storage/volume.ts';
import { errnoOf } from '../../../process/process-error.ts';
import type { Waiting } from '../../driver.ts';
import type { PoolBuildOptions } from '../../storage-operations.ts';
import { isThere, requireEmpty } from '../device-volume.ts';
import { permissionsOf, readFileVolume } from '../file-volume.ts';
import {
  applyPermissions,
  existsAlready,
  extend,
  inputOf,
  makeVolumeFile,
  passphraseOf,
  reserve,
  UNFINISHED_FILE,
} from '../make-file.ts';
import { command } from '../plan/command.ts';
import { mountSource, planMakeFileSystem, planMount, planUnmount } from '../plan/file-system.ts';
import { planResize } from '../plan/qemu-img.ts';
import { plannedVolume } from '../planned-volume.ts';
import type {
  BackendHost,
  CreateVolumeOptions,
  NamedPool,
  PoolBackend,
  PoolContents,
  StoredVolume,
} from '../pool-backend.ts';
import { invalidOperation, noVolume, storageError, systemError } from '../storage-errors.ts';

const log = new LogSource('storage.storage_driver');

/** Others may pass through to what they may use, and see nothing. */
const POOL_MODE = 0o711;
/** Files read in one go before others get their turn. */
const SLICE = 256;

export class FilePool implements PoolBackend {
  readonly #host: BackendHost;
  /** Of the mounts that were made here, by pool. */
  readonly #mounts = new Map<string, LedgerEntry>();

  constructor(host: BackendHost) {
    this.#host = host;
  }

  async isUsable(pool: NamedPool): Promise<boolean> {
    if (pool.type !== 'dir' && !this.#isMounted(pool)) return false;
    return await isThere(pathOf(pool));
  }

  async start(pool: NamedPool, { signal }: Waiting): Promise<void> {
    if (pool.type === 'dir' || this.#isMounted(pool)) return;
    const path = pathOf(pool);
    const entry = this.#host.ledgerOf(pool).record('mount', { path, source: mountSource(pool) });
    try {
      await this.#host.run(planMount(pool), { signal });
      this.#mounts.set(pool.uuid, entry);
    } catch (error) {
      if (!this.#isMounted(pool)) entry.done();
      throw error;
    }
  }

  async stop(pool: NamedPool): Promise<void> {
    if (pool.type === 'dir') return;
    if (this.#isMounted(pool)) await this.#host.run(planUnmount(pool));
    this.#mounts.get(pool.uuid)?.done();
    this.#mounts.delete(pool.uuid);
  }

  async build(pool: NamedPool, { overwrite, noOverwrite, signal }: PoolBuildOptions & Waiting): Promise<void> {
    const path = pathOf(pool);
    const permissions = pool.target?.permissions;
    try {
      // Folders above are made as everybody's are; only the last one is the pool's.
      await fs.mkdir(dirname(path), { recursive: true });
      const made = await fs.mkdir(path, { mode: permissions?.mode ?? POOL_MODE }).then(
        () => true,
        (error: unknown) => {
          if (errnoOf(error) === 'EEXIST' && isDirectory(path)) return false;
          throw error;
        },
      );
      if (made || permissions !== undefined) {
        const { mode } = await fs.stat(path);
        await applyPermissions(path, permissions, made ? POOL_MODE : mode & 0o7777);
      }
    } catch (error) {
      throw systemError(`failed to create pool directory '${path}'`, error);
    }
    await this.#setCow(pool, signal);
    if (pool.type === 'fs' && (overwrite === true || noOverwrite === true)) {
      await this.#makeFileSystem(pool, overwrite === true, signal);
    }
  }

  async delete(pool: NamedPool): Promise<void> {
    try {
      await fs.rmdir(pathOf(pool));
    } catch (error) {
      throw systemError(`failed to remove pool '${pathOf(pool)}'`, error);
    }
  }

  async refresh(pool: NamedPool, known: ReadonlyMap<string, StoredVolume>, { signal }: Waiting): Promise<PoolContents> {
    const path = pathOf(pool);
    // Asked in another thread first: where a server does not answer, only this pool waits.
    const { capacity, available } = await readSpace(path);
    const names = await fs.readdir(path).catch((error: unknown) => {
      throw systemError(`cannot open directory '${path}'`, error);
    });
    const volumes: StoredVolume[] = [];
    for (const [index, name] of names.entries()) {
      if (index % SLICE === SLICE - 1) {
        await new Promise((resolve) => setImmediate(resolve));
        signal?.throwIfAborted();
      }
      if (!isVolumeName(name)) {
        log.warn('refresh', () => `${JSON.stringify(join(path, name))} is left out: its name is not one of a volume`);
        continue;
      }
      const volume = UNFINISHED_FILE.test(name) ? undefined : readFileVolume(`${path}/${name}`, name, known.get(name));
      if (volume !== undefined) volumes.push(volume);
    }
    const permissions = permissionsOf(await fs.stat(path, { bigint: true }));
    return { volumes, permissions, sizes: { capacity, available, allocation: capacity - available } };
  }

  plan(pool: NamedPool, request: VolumeRequest): StoredVolume {
    const { name, target } = request;
    if (name.includes('/')) throw invalidOperation(`volume name '${name}' cannot contain '/'`);
    const path = join(pathOf(pool), name);
    // Also refuses `.` and `..`.
    if (!isVolumeName(name)) throw invalidOperation(`volume name '${name}' has characters that no volume's may have`);
    if (UNFINISHED_FILE.test(name)) throw invalidOperation(`volume name '${name}' is one of unfinished volumes`);
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) throw existsAlready(path);
    return plannedVolume(path, target.format?.type === 'dir' ? 'dir' : 'file', request);
  }

  async create(
    pool: NamedPool,
    volume: StoredVolume,
    request: VolumeRequest,
    options: CreateVolumeOptions,
  ): Promise<void> {
    await makeVolumeFile(this.#host, this.#host.ledgerOf(pool), volume, request, options);
  }

  async refreshVolume(_pool: NamedPool, volume: StoredVolume): Promise<StoredVolume> {
    const found = readFileVolume(volume.path, volume.name, volume);
    if (found === undefined) throw noVolume(`path '${volume.path}': it is gone`);
    return found;
  }

  async remove(_pool: NamedPool, { path, type }: StoredVolume): Promise<void> {
    try {
      // Of a link the link: what it leads to is not the pool's.
      const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
      await (type === 'dir' && !isLink ? fs.rmdir(path) : fs.unlink(path));
    } catch (error) {
      // It is what was wanted.
      if (errnoOf(error) === 'ENOENT') return;
      throw systemError(`cannot unlink file '${path}'`, error);
    }
  }

  async resize(
    pool: NamedPool,
    volume: StoredVolume,
    capacity: bigint,
    { allocate, shrink, signal }: { readonly allocate: boolean; readonly shrink: boolean } & Waiting,
  ): Promise<void> {
    requireOwnFile(pool, volume);
    const { path, target } = volume;
    if (target.format?.type === 'raw' && target.encryption === undefined && volume.type === 'file') {
      await using file = await fs.open(path, 'r+').catch((error: unknown) => {
        throw systemError(`Failed to open storage volume with path '${path}'`, error);
      });
      if (allocate) await reserve(file, path, capacity, { signal });
      return await extend(file, path, capacity);
    }
    if (allocate) throw invalidOperation('preallocate is only supported for raw type volume');
    using passphrase = await passphraseOf(this.#host, target, `volume '${volume.name}'`);
    await this.#host.run(planResize(inputOf(volume, passphrase), capacity, { shrink }), { signal });
  }

  async findSources(source: PoolSource | undefined, { signal }: Waiting): Promise<readonly PoolSource[]> {
    const host = source?.hosts[0]?.name;
    if (host === undefined) {
      throw storageError('hostname must be specified for netfs sources', ErrorCode.INVALID_ARG);
    }
    const output = await this.#host
      .run(command('showmount', '--no-headers', '--exports', host), { signal })
      .catch((cause: unknown) => {
        signal?.throwIfAborted();
        const why = cause instanceof Error ? `: ${cause.message}` : '';
        throw storageError(`no storage pools were found on host '${host}'${why}`, ErrorCode.OPERATION_FAILED, cause);
      });
    return output.split('\n').flatMap((line) => {
      const path = line.trim().split(/\s+/)[0] ?? '';
      if (!path.startsWith('/')) return [];
      return [{ hosts: [{ name: host }], devices: [], dir: { path }, format: { type: 'nfs' } }];
    });
  }

  requireOwn(pool: NamedPool, volume: StoredVolume): void {
    requireOwnFile(pool, volume);
  }

  #isMounted(pool: NamedPool): boolean {
    const path = pathOf(pool);
    const source = mountSource(pool);
    const mount = findMount(path, this.#host.mountInfoPath);
    if (mount === undefined) return false;
    if (mount.source === source || sameDevice(mount.source, source)) return true;
    throw storageError(
      `Target '${path}' is already mounted: from ${mount.source}, not from ${source}`,
      ErrorCode.OPERATION_INVALID,
    );
  }

  /** `<cow state='no'/>`: only btrfs knows it. */
  async #setCow(pool: NamedPool, signal: AbortSignal | undefined): Promise<void> {
    const cow = pool.features?.cow?.state;
    if (cow === undefined) return;
    try {
      await this.#host.run(command('chattr', cow ? '-C' : '+C', pathOf(pool)), { signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw storageError(
        `unable to control COW flag on '${pathOf(pool)}': only btrfs has it`,
        ErrorCode.SYSTEM_ERROR,
        error,
      );
    }
  }

  async #makeFileSystem(pool: NamedPool, overwrite: boolean, signal: AbortSignal | undefined): Promise<void> {
    const device = pool.source?.devices[0]?.path ?? '';
    const format = pool.source?.format?.type ?? 'auto';
    if (format === 'auto') {
      throw storageError(
        "No source format specified for fs pool: say which file system is to be made, as <format type='ext4'/>",
        ErrorCode.OPERATION_INVALID,
      );
    }
    try {
      await fs.access(device);
    } catch (error) {
      throw systemError(`no file system is made on '${device}'`, error);
    }
    if (!overwrite) await requireEmpty(this.#host, device, signal);
    await this.#host.run(planMakeFileSystem(device, format), { signal });
  }
}

/** @throws VirtError where it would depend on where this process happens to be */
function pathOf(pool: NamedPool): string {
  const path = pool.target?.path ?? '';
  if (path.startsWith('/')) return path;
  throw storageError(
    `the target path '${path}' of storage pool '${pool.name}' is not absolute: begin it with /`,
    ErrorCode.INVALID_ARG,
  );
}

function isDirectory(path: string): boolean {
  try {
    return fsStat(path)?.isDirectory() === true;
  } catch {
    // Whatever is there cannot be looked at; the caller's own error says it.
    return false;
  }
}

function fsStat(path: string): BigIntStats | undefined {
  return lstatSync(realpathSync(path), { bigint: true, throwIfNoEntry: false });
}

async function readSpace(path: string): Promise<{ capacity: bigint; available: bigint }> {
  try {
    const { blocks, bfree, bsize } = await fs.statfs(path, { bigint: true });
    return { capacity: blocks * bsize, available: bfree * bsize };
  } catch (error) {
    throw systemError(`cannot open directory '${path}'`, error);
  }
}

/** What is not text, or would break a list of names. */
function isVolumeName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return name !== '' && name !== '.' && name !== '..' && !/[\u0000-\u001f\u007f\ufffd]/.test(name);
}

/** Names of one device: links of udev and the node that they lead to. */
function sameDevice(a: string, b: string): boolean {
  try {
    return a.startsWith('/') && b.startsWith('/') && realpathSync(a) === realpathSync(b);
  } catch {
    // One of them is gone: then they are not the same.
    return false;
  }
}

/**
 * What is about to be changed is the pool's: a link out of it to somebody's file could be anybody's doing, devices are linked to on purpose.
 * @throws VirtError OPERATION_DENIED
 */
function requireOwnFile(pool: NamedPool, { path, type, name }: StoredVolume): void {
  if (type !== 'file') return;
  let real: string;
  let root: string;
  try {
    real = realpathSync(path);
    root = realpathSync(pathOf(pool));
  } catch (error) {
    throw systemError(`Failed to open storage volume with path '${path}'`, error);
  }
  if (real.startsWith(`${root}/`)) return;
  throw storageError(
    `volume '${name}' is a link to ${real}, outside of pool '${pool.name}': nothing is written there`,
    ErrorCode.OPERATION_DENIED,
  );
}

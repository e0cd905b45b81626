/**
 * The directory tree of an embedded connection: libvirt's tree below a root of the caller's (kept), or below a private
 * temporary one (removed with the connection). Sockets live in a short runtime directory, because a socket's path must
 * fit in 107 bytes however long the root is. Holds the root's lock; knows nothing of guests.
 */

import { lstatSync, mkdirSync, readlinkSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { DisposalStack } from '../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { removeTree } from '../core/fs.ts';
import { prepareRuntimeDir } from '../core/fs-runtime-dir.ts';
import { Ledger } from '../core/ledger.ts';
import { collectGarbage } from '../core/ledger-gc.ts';
import { acquireLockFile, LockedError } from '../core/lock-file.ts';
import { randomHex } from '../core/random.ts';
import type { ObjectLedger } from '../driver/siblings.ts';
import type { DriverRoot, RootFolders } from './driver-root.ts';
import { GUEST_REMOVERS } from './removers.ts';

export interface EmbeddedRootOptions {
  /** Absolute path, kept afterwards. Default: a temporary one. */
  readonly root?: string | undefined;
  /** Default: `prepareRuntimeDir()`. */
  readonly runtimeDir?: string | undefined;
}

export class EmbeddedRoot implements DriverRoot {
  readonly path: string;
  readonly placement = 'embedded';
  readonly temporary: boolean;
  readonly folders: RootFolders;
  readonly ledger: Ledger;
  /** Folder of all ledgers, for the collector. */
  readonly ledgerDir: string;
  readonly #cleanup: DisposalStack;

  private constructor(init: {
    path: string;
    temporary: boolean;
    run: string;
    ledger: Ledger;
    ledgerDir: string;
    cleanup: DisposalStack;
  }) {
    this.path = init.path;
    this.temporary = init.temporary;
    this.ledger = init.ledger;
    this.ledgerDir = init.ledgerDir;
    this.folders = foldersBelow(init.path, init.run);
    this.#cleanup = init.cleanup;
  }

  /**
   * Makes or opens the tree.
   * @throws VirtError when the root is no usable directory, or another process has it open
   */
  static open(options: EmbeddedRootOptions = {}): EmbeddedRoot {
    const runtimeDir = options.runtimeDir ?? prepareRuntimeDir();
    const ledgerDir = join(runtimeDir, 'ledger');
    const ledger = Ledger.open(ledgerDir);
    const cleanup = new DisposalStack();
    cleanup.defer(() => ledger[Symbol.dispose]());
    try {
      const unique = randomHex(4);
      const run = makeRecorded(ledger, cleanup, join(runtimeDir, unique), runtimeDir);
      const path =
        options.root === undefined ? makeTemporaryRoot(ledger, cleanup, unique) : useRoot(options.root, cleanup);
      if (options.root !== undefined) linkRun(path, run, cleanup);
      return new EmbeddedRoot({ path, temporary: options.root === undefined, run, ledger, ledgerDir, cleanup });
    } catch (error) {
      // Only synchronous steps were pushed so far; their own failures would hide the reason.
      void cleanup[Symbol.asyncDispose]().catch(() => {});
      throw error;
    }
  }

  /** All guests share the connection's: it ends with them. */
  ledgerOf(): ObjectLedger {
    return { ledger: this.ledger, done: () => {} };
  }

  /** The collector has them all in one. */
  ledgers(): string[] {
    return [];
  }

  async collect(): Promise<string[]> {
    return [];
  }

  async collectDead(): Promise<string[]> {
    const { failed } = await collectGarbage({ dir: this.ledgerDir, removers: GUEST_REMOVERS });
    return failed.map(({ line }) => line);
  }

  /** Nobody comes after us: guests end with this process. */
  async keepStatus(): Promise<void> {}

  dropStatus(): void {}

  statusFiles(): string[] {
    return [];
  }

  /** Frees the lock and removes what is temporary. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup[Symbol.asyncDispose]();
  }
}

/** The tree that libvirt documents for embedded roots: state below `path`, sockets below `run`. */
export function foldersBelow(path: string, run: string): RootFolders {
  return { etc: `${path}/etc`, lib: `${path}/lib`, log: `${path}/log`, run };
}

function makeRecorded(ledger: Ledger, cleanup: DisposalStack, path: string, root: string): string {
  const entry = ledger.record('directory', { path, root });
  mkdirSync(path, { mode: 0o700 });
  cleanup.defer(async () => {
    await removeTree(path, { root, home: homedir() });
    entry.done();
  });
  return path;
}

/** Logs and disks' overlays may grow: not on tmpfs, but where temporary files belong. */
function makeTemporaryRoot(ledger: Ledger, cleanup: DisposalStack, unique: string): string {
  const failures: string[] = [];
  for (const parent of new Set([normalize(tmpdir()), '/var/tmp', '/tmp'])) {
    try {
      return makeRecorded(ledger, cleanup, join(parent, `nestling-${unique}`), parent);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new VirtError(`cannot make a temporary root: ${failures.join('; ')}; set TMPDIR or give a root`, {
    code: ErrorCode.SYSTEM_ERROR,
  });
}

function useRoot(root: string, cleanup: DisposalStack): string {
  const refuse = (why: string, code: ErrorCode, cause?: unknown): VirtError =>
    new VirtError(`cannot use ${root} as the root of an embedded connection: ${why}`, {
      code,
      domain: ErrorDomain.QEMU,
      cause,
    });
  if (!root.startsWith('/')) throw refuse('it is not an absolute path', ErrorCode.INVALID_ARG);
  const path = normalize(root).replace(/(?<=.)\/+$/, '');
  try {
    mkdirSync(join(path, 'run'), { recursive: true, mode: 0o700 });
    if (!statSync(path).isDirectory()) throw refuse('it is not a directory', ErrorCode.INVALID_ARG);
    const lock = acquireLockFile(join(path, 'run', 'driver.lock'));
    cleanup.defer(() => lock[Symbol.dispose]());
    return path;
  } catch (error) {
    if (error instanceof VirtError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw refuse(message, error instanceof LockedError ? ErrorCode.RESOURCE_BUSY : ErrorCode.SYSTEM_ERROR, error);
  }
}

/** `ROOT/run/qemu` and `ROOT/run/lxc` lead to the sockets, so that they are found where libvirt's documentation says. */
function linkRun(path: string, run: string, cleanup: DisposalStack): void {
  for (const driver of ['qemu', 'lxc']) {
    const link = join(path, 'run', driver);
    const target = join(run, driver);
    // A dead process's link, which the lock just taken makes ours.
    if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true) rmSync(link);
    symlinkSync(target, link);
    cleanup.defer(() => {
      if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true && readlinkSync(link) === target)
        rmSync(link);
    });
  }
}
